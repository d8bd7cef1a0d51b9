"""What the gate answers to who wants a kept VM to start anew, or to have another size."""

from typing import Any

import pytest

from events.gate import BootOrdered, GrowOrdered, PlugOrdered, RebootOrdered
from events.keep import VmResized
from events.vm import VmPlugFailed, VmPlugged, VmStopped, VmWakeFailed
from events.volume import VolumeGrowFailed, VolumeGrown
from schemas.capacity import Size
from tests.given import ORG
from tests.keeping import GIB, ONE, SIX, TWO, Keeping


def test_a_reboot_is_a_new_reservation_and_the_old_ones_end_changes_nothing() -> None:
    past = Keeping().running()
    old = past.reservation("db")
    past.change("reboot")
    _, (reboot,) = past.answer()
    assert isinstance(reboot, RebootOrdered)
    assert (reboot.former, past.reservation("db"), past.state_of()) == (old, reboot.id, "booting")
    past.happened(
        VmStopped(
            org=ORG,
            vm="db",
            host="h1",
            reservation=old,
            asleep_since=None,
            cause="shut-down",
            found="off",
            stopped_at=past.now,
        )
    )
    assert (past.state_of(), past.used) == ("booting", (1, 10))
    past.runs()
    assert (past.state_of(), past.used) == ("running", (1, 10))


def test_only_who_has_the_permission_reboots_at_once_and_the_refusal_is_in_the_ledger() -> None:
    past = Keeping().running()
    past.change("reboot", publisher="shop")
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("refused", "SudoSrvMissing", ())


@pytest.mark.parametrize("size", [TWO, Size("own-1x2048", 1, 2048)])
def test_who_may_not_reboot_at_once_does_not_by_asking_to_plug_in_what_cannot_be(size: Size) -> None:
    past = Keeping().running()
    past.resize(size, plug=True, publisher="shop")
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("refused", "SudoSrvMissing", ())
    past.resize(size, plug=True, publisher="shop", when="window")
    answer, orders = past.answer()
    assert (answer.code, orders) == ("Announced", ())


def test_a_reboot_in_the_next_window_is_noted_and_nothing_is_ordered() -> None:
    past = Keeping().running()
    past.change("reboot", publisher="shop", when="window")
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("admitted", "Announced", ())
    assert past.state_of() == "running"


def test_while_a_vm_becomes_larger_or_smaller_the_larger_size_counts() -> None:
    past = Keeping().running()
    past.resize(TWO)
    decision = past.decide()
    assert decision is not None
    assert [type(fact) for fact in decision.facts] == [VmResized]
    past.stored(decision)
    assert past.used == (2, 10)
    past.runs()
    assert past.used == (2, 10)
    past.resize(ONE)
    past.round()
    assert past.used == (2, 10)
    past.runs()
    assert past.used == (1, 10)


def test_a_reboot_that_did_not_come_up_counts_nothing() -> None:
    past = Keeping().running()
    past.resize(TWO)
    past.round()
    past.happened(
        VmWakeFailed(
            org=ORG,
            vm="db",
            host="h1",
            reservation=past.reservation("db"),
            code="wake-refused",
            text="no",
            found="off",
            observed_at=past.now,
        )
    )
    assert (past.state_of(), past.used) == ("stopped", (0, 10))


def test_a_size_past_the_cap_is_refused_and_the_vm_keeps_the_size_it_shall_have() -> None:
    past = Keeping().running()
    past.resize(SIX)
    assert past.answer()[0].code == "CapExceeded"
    kept = past.state.directory.get(ORG, "db")
    assert kept is not None
    assert kept.size == ONE


def test_a_size_for_the_next_window_is_asked_of_the_envelope_only_then() -> None:
    past = Keeping().running()
    past.resize(SIX, when="window")
    answer, orders = past.answer()
    assert (answer.code, orders, past.used) == ("Announced", (), (1, 10))
    past.resize(ONE, when="window")
    past.round()
    kept = past.state.directory.get(ORG, "db")
    assert kept is not None
    assert kept.size == past.fleet.vms[ORG, "db"].size


def test_a_vm_that_is_off_has_its_new_size_when_it_starts() -> None:
    past = Keeping().running()
    past.change("stop")
    past.round()
    past.off()
    past.resize(TWO)
    assert past.answer()[0].code == "AtNextBoot"
    past.change("start")
    _, (boot,) = past.answer()
    assert isinstance(boot, BootOrdered)
    assert boot.size == TWO


def test_vcpu_are_plugged_into_a_vm_that_runs_and_never_taken_out() -> None:
    past = Keeping().running()
    more = Size("own-3x1024", 3, 1024)
    past.resize(more, plug=True)
    _, (plug,) = past.answer()
    assert isinstance(plug, PlugOrdered)
    assert (past.used, past.state_of()) == ((3, 10), "running")
    who: dict[str, Any] = {"org": ORG, "vm": "db", "host": "h1", "reservation": plug.reservation}
    past.happened(VmPlugFailed(**who, order=plug.id, code="plug-refused", text="no", observed_at=past.now))
    assert past.used == (1, 10)
    past.happened(VmPlugged(**who, order=plug.id, size=more, plugged_at=past.now))
    assert past.used == (1, 10), "an order has one outcome"


@pytest.mark.parametrize("failed", [True, False])
def test_what_is_told_late_of_vcpu_that_were_to_be_plugged_in_says_nothing_of_the_life_after_a_reboot(
    *, failed: bool
) -> None:
    past = Keeping().running()
    more, less = Size("own-3x1024", 3, 1024), Size("own-2x1024", 2, 1024)
    past.resize(more, plug=True)
    _, (plug,) = past.answer()
    assert isinstance(plug, PlugOrdered)
    past.resize(less)
    _, (reboot,) = past.answer()
    assert isinstance(reboot, RebootOrdered)
    assert past.used[0] == 3, "it may have them until it is started anew"
    past.runs()
    assert past.used[0] == 2
    who: dict[str, Any] = {"org": ORG, "vm": "db", "host": "h1", "reservation": plug.reservation}
    past.happened(
        VmPlugFailed(**who, order=plug.id, code="plug-refused", text="another life", observed_at=past.now)
        if failed
        else VmPlugged(**who, order=plug.id, size=more, plugged_at=past.now)
    )
    assert past.used[0] == 2


def test_a_disk_that_grows_already_counts_once_for_who_wants_it_larger_still() -> None:
    past = Keeping().running()
    past.resize(disk_gib=40)
    past.answer()
    past.resize(disk_gib=100)
    assert past.answer()[0].code == "Granted"
    assert past.used == (1, 100)


def test_a_disk_grows_at_once_and_counts_what_it_shall_have_until_it_has_it() -> None:
    past = Keeping().running()
    past.resize(disk_gib=40)
    _, (grow,) = past.answer()
    assert isinstance(grow, GrowOrdered)
    assert (grow.size_bytes, grow.volume, past.used) == (40 * GIB, "/disks/acme.db.qcow2", (1, 40))
    who: dict[str, Any] = {"org": ORG, "vm": "db", "host": "h1", "volume": grow.volume, "order": grow.id}
    failed = VolumeGrowFailed(
        **who, size_bytes=10 * GIB, code="volume-refused", text="full", observed_at=past.now
    )
    past.happened(failed)
    assert past.used == (1, 10)
    past.happened(VolumeGrown(**who, size_bytes=40 * GIB, grown_at=past.now))
    assert past.used == (1, 40)


@pytest.mark.parametrize(("gib", "code"), [(5, "DiskShrinks"), (10, "AlreadyDone"), (200, "CapExceeded")])
def test_a_disk_never_shrinks_nor_grows_past_the_cap(gib: int, code: str) -> None:
    past = Keeping().running()
    past.resize(disk_gib=gib)
    answer, orders = past.answer()
    assert (answer.code, orders, past.used) == (code, (), (1, 10))
