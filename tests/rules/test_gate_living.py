"""What the gate answers about VMs that are kept for their own sake: made, started, stopped, protected."""

import datetime as dt
from typing import Any

import pytest

from events.gate import BootOrdered, StopOrdered, WakeOrdered
from events.keep import VmCreated, VmProtected, VmUnprotected
from events.vm import VmBooted
from schemas.capacity import Size
from schemas.vm_intake import VmChange
from tests.given import NOW, ORG
from tests.keeping import GIB, ONE, SIX, Keeping

# --------------------------------------------------------------------------------------------------------- creating


def test_a_vm_that_is_created_has_its_name_its_disk_and_its_start_in_one_decision() -> None:
    past = Keeping().setting()
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
    past = Keeping().running()
    assert past.state_of() == "running"
    assert past.decide() is None


def test_a_guest_that_has_no_answer_to_give_runs_as_soon_as_its_waker_says_so() -> None:
    past = Keeping().setting()
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
    past = Keeping().setting()
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
    past = Keeping().setting()
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
    past = Keeping().setting()
    past.create(start=False)
    past.round()
    past.create()
    answer, orders = past.answer()
    assert (answer.code, orders) == ("NameTaken", ())


def test_a_scaled_pool_gives_no_vm_the_name_of_one_that_is_kept() -> None:
    past = Keeping().setting(vcpu=100)
    past.create("shop-1", start=False)
    past.round()
    past.pool("shop")
    past.scale("shop", add=1)
    _, (boot,) = past.answer()
    assert boot.vm == "shop-2"


def test_nobody_scales_a_pool_that_keeps_vms() -> None:
    past = Keeping().running()
    asked = [past.scale("apps", add=1), past.quiesce("apps"), past.stock("apps"), past.save("apps")]
    decided = past.round()
    assert [(one.request, one.code) for one in decided.answers] == [(one.id, "PoolKeeps") for one in asked]
    assert decided.orders == ()
    assert past.state_of() == "running"


def test_two_vms_that_fit_alone_and_not_together_are_one() -> None:
    past = Keeping().setting(vcpu=1)
    past.create("one")
    past.create("two")
    assert [past.answer()[0].code, past.answer()[0].code] == ["Granted", "CapExceeded"]


# -------------------------------------------------------------------------------------------------- start and stop


def test_a_vm_is_stopped_with_time_for_its_guest_and_counts_until_it_is_off() -> None:
    past = Keeping().running(grace_seconds=30)
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
    past = Keeping().running()
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
    past = Keeping().running(storage="ceph")
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
    past = Keeping().running(vcpu=1)
    past.change("stop")
    past.round()
    past.off()
    past.create("other")
    past.round()
    past.change("start")
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("refused", "CapExceeded", ())


def test_a_vm_that_was_found_awake_and_put_to_sleep_goes_on_where_it_was() -> None:
    past = Keeping().running()
    past.quiesced("db")
    past.change("start")
    _, (wake,) = past.answer()
    assert isinstance(wake, WakeOrdered)
    assert wake.purpose == "keep"


@pytest.mark.parametrize(
    ("change", "code"), [("start", "AlreadyDone"), ("stop", "Granted"), ("reboot", "Granted")]
)
def test_what_is_so_already_is_said_and_nothing_is_ordered(change: VmChange, code: str) -> None:
    past = Keeping().running()
    past.change(change)
    assert past.answer()[0].code == code


def test_a_vm_on_its_way_down_is_neither_started_nor_rebooted() -> None:
    past = Keeping().running()
    past.change("stop")
    past.round()
    for change in ("start", "stop", "reboot"):
        past.change(change)
        assert past.answer()[0].code == "VmBusy"


def test_protection_is_a_fact_and_lifting_it_another() -> None:
    past = Keeping().running()
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
    past = Keeping().setting()
    past.change("start", vm="ghost")
    assert past.answer()[0].code == "VmUnknown"
