"""What the gate answers about VMs that are kept for their own sake."""

import datetime as dt
from typing import Any

import pytest

from events.gate import BootOrdered, GrowOrdered, PlugOrdered, RebootOrdered, StopOrdered, WakeOrdered
from events.keep import (
    VmCreated,
    VmProtected,
    VmResized,
    VmUnprotected,
)
from events.vm import VmBooted, VmPlugFailed, VmPlugged, VmStopped, VmWakeFailed
from events.volume import VolumeGrowFailed, VolumeGrown
from schemas.capacity import Size
from schemas.vm_intake import VmChange
from tests.given import NOW, ORG
from tests.keeping import GIB, ONE, SIX, TWO, Keeping


def keeping() -> Keeping:
    return Keeping()


# --------------------------------------------------------------------------------------------------------- creating


def test_a_vm_that_is_created_has_its_name_its_disk_and_its_start_in_one_decision() -> None:
    past = keeping().setting()
    past.create()
    decision = past.decide()
    assert decision is not None
    (made,) = decision.facts
    assert isinstance(made, VmCreated)
    assert (made.vm, made.pool, made.disk_bytes, made.actor) == ("db", "apps", 10 * GIB, "kim")
    (boot,) = decision.decided.orders
    assert isinstance(boot, BootOrdered)
    assert (boot.vm, boot.host, boot.purpose, boot.template, boot.size) == ("db", "h1", "keep", "tiny", ONE)
    (answer,) = decision.decided.answers
    assert (answer.outcome, answer.code) == ("admitted", "Granted")
    assert [line.dimension for line in answer.evidence] == ["vcpu", "memory_mib", "block_bytes"]
    past.stored(decision)
    assert past.state_of() == "booting"
    assert past.used == (1, 10)
    assert past.decide() is None


def test_a_vm_that_answered_runs_and_is_nobodys_to_announce_suspend_or_stop() -> None:
    past = keeping().running()
    assert past.state_of() == "running"
    assert past.decide() is None


def test_a_guest_that_has_no_answer_to_give_runs_as_soon_as_its_waker_says_so() -> None:
    past = keeping().setting()
    past.create(readiness="none", kind="cloud-init", image="debian-12", size=Size("s", 1, 4096))
    _, (boot,) = past.answer()
    assert isinstance(boot, BootOrdered)
    assert boot.ready_seconds == 0
    past.happened(
        VmBooted(
            org=ORG,
            vm="db",
            host="h1",
            reservation=boot.id,
            started_at=NOW,
            booted_at=NOW,
            attempts=1,
        )
    )
    assert past.state_of() == "running"


def test_a_vm_that_shall_not_start_counts_its_disk_alone() -> None:
    past = keeping().setting()
    past.create(start=False)
    answer, orders = past.answer()
    assert (answer.code, orders) == ("Granted", ())
    assert past.used == (0, 10)


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"size": SIX}, "CapExceeded"),
        ({"disk_bytes": 200 * GIB}, "CapExceeded"),
        ({"pool": "web"}, "PoolUnknown"),
        ({"pool": "shop"}, "PoolScales"),
        ({"vm": "shop-7"}, "NameTaken"),
        ({"vm": "my-shop-7"}, "NameTaken"),
        ({"size": Size("s", 65, 1024)}, "VcpuTooMany"),
        ({"size": Size("s", 1, 1 << 17)}, "HostsFull"),
    ],
)
def test_what_may_not_be_is_refused_and_nothing_is_left_of_it(terms: dict[str, Any], code: str) -> None:
    past = keeping().setting()
    past.pool("shop")
    past.pool("my-shop")
    past.create(**terms)
    decision = past.decide()
    assert decision is not None
    assert (decision.facts, decision.decided.orders) == ((), ())
    assert [answer.code for answer in decision.decided.answers] == [code]
    past.stored(decision)
    assert past.used == (0, 0)


def test_a_name_is_given_once_also_while_its_vm_is_off() -> None:
    past = keeping().setting()
    past.create(start=False)
    past.round()
    past.create()
    answer, orders = past.answer()
    assert (answer.code, orders) == ("NameTaken", ())


def test_a_scaled_pool_gives_no_vm_the_name_of_one_that_is_kept() -> None:
    past = keeping().setting(vcpu=100)
    past.create("shop-1", start=False)
    past.round()
    past.pool("shop")
    past.scale("shop", add=1)
    _, (boot,) = past.answer()
    assert boot.vm == "shop-2"


def test_nobody_scales_a_pool_that_keeps_vms() -> None:
    past = keeping().running()
    asked = [past.scale("apps", add=1), past.quiesce("apps"), past.stock("apps"), past.save("apps")]
    decided = past.round()
    assert [(one.request, one.code) for one in decided.answers] == [(one.id, "PoolKeeps") for one in asked]
    assert decided.orders == ()
    assert past.state_of() == "running"


def test_two_vms_that_fit_alone_and_not_together_are_one() -> None:
    past = keeping().setting(vcpu=1)
    past.create("one")
    past.create("two")
    assert [past.answer()[0].code, past.answer()[0].code] == ["Granted", "CapExceeded"]


# -------------------------------------------------------------------------------------------------- start and stop


def test_a_vm_is_stopped_with_time_for_its_guest_and_counts_until_it_is_off() -> None:
    past = keeping().running(grace_seconds=30)
    past.change("stop")
    _, (stop,) = past.answer()
    assert isinstance(stop, StopOrdered)
    assert stop.grace_seconds == 30
    assert (past.state_of(), past.used) == ("stopping", (1, 10))
    due = past.fleet.vms[ORG, "db"].due_at
    assert due == past.now + dt.timedelta(seconds=90)
    past.off()
    assert (past.state_of(), past.used) == ("stopped", (0, 10))


def test_a_vm_starts_again_where_its_disk_is_and_nowhere_else() -> None:
    past = keeping().running()
    past.host("h2")
    past.change("stop")
    past.round()
    past.off()
    past.cordoned("h1")
    past.change("start")
    assert past.answer()[0].code == "HostGone"
    past.host("h1")
    past.change("start")
    assert past.answer()[0].code == "HostGone"  # still cordoned


def test_a_vm_whose_disk_every_host_reaches_starts_where_there_is_room() -> None:
    past = keeping().running(storage="ceph")
    past.host("h2")
    past.change("stop")
    past.round()
    past.off()
    past.cordoned("h1")
    past.change("start")
    _, (boot,) = past.answer()
    assert isinstance(boot, BootOrdered)
    assert boot.host == "h2"


def test_a_start_past_the_cap_is_refused_and_the_vm_stays_off() -> None:
    past = keeping().running(vcpu=1)
    past.change("stop")
    past.round()
    past.off()
    past.create("other")
    past.round()
    past.change("start")
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("refused", "CapExceeded", ())


def test_a_vm_that_was_found_awake_and_put_to_sleep_goes_on_where_it_was() -> None:
    past = keeping().running()
    past.quiesced("db")
    past.change("start")
    _, (wake,) = past.answer()
    assert isinstance(wake, WakeOrdered)
    assert wake.purpose == "keep"


@pytest.mark.parametrize(
    ("change", "code"), [("start", "AlreadyDone"), ("stop", "Granted"), ("reboot", "Granted")]
)
def test_what_is_so_already_is_said_and_nothing_is_ordered(change: VmChange, code: str) -> None:
    past = keeping().running()
    past.change(change)
    assert past.answer()[0].code == code


def test_a_vm_on_its_way_down_is_neither_started_nor_rebooted() -> None:
    past = keeping().running()
    past.change("stop")
    past.round()
    for change in ("start", "stop", "reboot"):
        past.change(change)
        assert past.answer()[0].code == "VmBusy"


# --------------------------------------------------------------------------------------------------- reboot, resize


def test_a_reboot_is_a_new_reservation_and_the_old_ones_end_changes_nothing() -> None:
    past = keeping().running()
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
    past = keeping().running()
    past.change("reboot", publisher="shop")
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("refused", "SudoSrvMissing", ())


@pytest.mark.parametrize("size", [TWO, Size("own-1x2048", 1, 2048)])
def test_who_may_not_reboot_at_once_does_not_by_asking_to_plug_in_what_cannot_be(size: Size) -> None:
    past = keeping().running()
    past.resize(size, plug=True, publisher="shop")
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("refused", "SudoSrvMissing", ())
    past.resize(size, plug=True, publisher="shop", when="window")
    answer, orders = past.answer()
    assert (answer.code, orders) == ("Announced", ())


def test_a_reboot_in_the_next_window_is_noted_and_nothing_is_ordered() -> None:
    past = keeping().running()
    past.change("reboot", publisher="shop", when="window")
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("admitted", "Announced", ())
    assert past.state_of() == "running"


def test_while_a_vm_becomes_larger_or_smaller_the_larger_size_counts() -> None:
    past = keeping().running()
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
    past = keeping().running()
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
    past = keeping().running()
    past.resize(SIX)
    assert past.answer()[0].code == "CapExceeded"
    kept = past.state.directory.get(ORG, "db")
    assert kept is not None
    assert kept.size == ONE


def test_a_size_for_the_next_window_is_asked_of_the_envelope_only_then() -> None:
    past = keeping().running()
    past.resize(SIX, when="window")
    answer, orders = past.answer()
    assert (answer.code, orders, past.used) == ("Announced", (), (1, 10))
    past.resize(ONE, when="window")
    past.round()
    kept = past.state.directory.get(ORG, "db")
    assert kept is not None
    assert kept.size == past.fleet.vms[ORG, "db"].size


def test_a_vm_that_is_off_has_its_new_size_when_it_starts() -> None:
    past = keeping().running()
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
    past = keeping().running()
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
    past = keeping().running()
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
    past = keeping().running()
    past.resize(disk_gib=40)
    past.answer()
    past.resize(disk_gib=100)
    assert past.answer()[0].code == "Granted"
    assert past.used == (1, 100)


def test_a_disk_grows_at_once_and_counts_what_it_shall_have_until_it_has_it() -> None:
    past = keeping().running()
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
    past = keeping().running()
    past.resize(disk_gib=gib)
    answer, orders = past.answer()
    assert (answer.code, orders, past.used) == (code, (), (1, 10))


def test_protection_is_a_fact_and_lifting_it_another() -> None:
    past = keeping().running()
    past.change("protect")
    decision = past.decide()
    assert decision is not None
    assert [type(fact) for fact in decision.facts] == [VmProtected]
    past.stored(decision)
    past.change("protect")
    assert past.answer()[0].code == "AlreadyDone"
    past.change("unprotect")
    decision = past.decide()
    assert decision is not None
    assert [type(fact) for fact in decision.facts] == [VmUnprotected]


def test_nobody_changes_a_vm_that_is_not_kept() -> None:
    past = keeping().setting()
    past.change("start", vm="ghost")
    assert past.answer()[0].code == "VmUnknown"
