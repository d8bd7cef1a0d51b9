"""Orders about kept VMs as they stand in the ledger, whole; and each reason for which there is none."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from events.envelope import Recorded
from events.gate import BootOrdered, GrowOrdered, PlugOrdered, RebootOrdered, StopOrdered, WakeOrdered
from events.ids import derive
from events.keep import VmCreated, VmProtected, VmResized, VmUnprotected
from schemas.capacity import Size
from tests.deleting import Deleting, running
from tests.given import ORG
from tests.keeping import GIB, ONE, SIX, TWO, named

OF = {"vm": "db", "pool": "apps", "host": "h1"}
WIDE = Size("own-1x65000", 1, 65_000)


def made(**terms: Any) -> Deleting:
    """VM db is made, and never ran."""
    past = Deleting()
    past.setting(**terms)
    past.create(start=False)
    past.round()
    return past


def booting() -> Deleting:
    past = Deleting()
    past.setting()
    past.create()
    past.round()
    return past


def stopping() -> Deleting:
    past = running()
    past.change("stop")
    past.round()
    return past


def off(**pool: Any) -> Deleting:
    past = running(**pool)
    past.change("stop")
    past.round()
    past.off()
    return past


def asleep(**pool: Any) -> Deleting:
    past = running(**pool)
    past.quiesced("db")
    return past


def copying() -> Deleting:
    past = running()
    past.copy()
    past.round()
    return past


# ------------------------------------------------------------------------------------------------------------- whole


def test_a_vm_is_made_as_was_asked() -> None:
    past = Deleting()
    past.setting(boot_seconds=50)
    asked = past.create(protected=True, actor="ann")
    decision = past.decide()
    assert decision is not None
    assert decision.facts == (
        VmCreated(
            org=ORG,
            vm="db",
            pool="apps",
            size=ONE,
            image="tiny",
            kind="lab",
            readiness="http",
            disk_bytes=10 * GIB,
            seed=None,
            protected=True,
            actor="ann",
            created_at=past.now,
        ),
    )
    assert decision.decided.orders == (
        BootOrdered(
            id=named(asked, "boot.ordered", "db"),
            size=ONE,
            template="tiny",
            request=asked.id,
            purpose="keep",
            begin_by=past.now + dt.timedelta(seconds=50),
            ready_seconds=50,
            **OF,
        ),
    )


def test_a_vm_that_sleeps_wakes_with_the_size_that_it_sleeps_with() -> None:
    past = asleep(order_seconds=7)
    past.resize(TWO)
    assert past.answer()[0].code == "AtNextBoot"
    asked = past.change("start")
    answer, orders = past.answer()
    assert orders == (
        WakeOrdered(
            id=named(asked, "wake.ordered", "db"),
            size=ONE,
            request=asked.id,
            purpose="keep",
            begin_by=past.now + dt.timedelta(seconds=7),
            ready_seconds=past.fleet.pools[ORG, "apps"].boot_seconds,
            **OF,
        ),
    )
    assert [(line.dimension, line.requested) for line in answer.evidence] == [
        ("vcpu", 1),
        ("memory_mib", 1024),
    ]


def test_a_vm_that_runs_is_stopped_because_of_the_request() -> None:
    past = running(grace_seconds=30)
    reservation = past.reservation("db")
    asked = past.change("stop")
    _, orders = past.answer()
    assert orders == (
        StopOrdered(
            id=derive(reservation, "stop", "db"),
            reservation=reservation,
            request=asked.id,
            grace_seconds=30,
            **OF,
        ),
    )


def test_a_resize_is_a_fact_and_a_reboot_with_the_new_size() -> None:
    past = running(grace_seconds=30, boot_seconds=50)
    former = past.reservation("db")
    asked = past.resize(TWO, actor="ann")
    decision = past.decide()
    assert decision is not None
    assert decision.facts == (
        VmResized(org=ORG, vm="db", pool="apps", size=TWO, actor="ann", resized_at=past.now),
    )
    assert decision.decided.orders == (
        RebootOrdered(
            id=named(asked, "reboot.ordered", "db"),
            size=TWO,
            template="tiny",
            former=former,
            request=asked.id,
            begin_by=past.now + dt.timedelta(seconds=50),
            ready_seconds=50,
            grace_seconds=30,
            **OF,
        ),
    )
    (answer,) = decision.decided.answers
    assert [(line.dimension, line.requested) for line in answer.evidence] == [
        ("vcpu", 1),
        ("memory_mib", 1024),
    ]


def test_vcpu_are_plugged_in_and_a_disk_grows_in_one_decision() -> None:
    past = running()
    reservation = past.reservation("db")
    more = Size("own-3x1024", 3, 1024)
    asked = past.resize(more, disk_gib=40, plug=True)
    answer, orders = past.answer()
    assert answer.code == "Granted"
    assert orders == (
        GrowOrdered(
            id=named(asked, "grow.ordered", "db"),
            volume="/disks/acme.db.qcow2",
            size_bytes=40 * GIB,
            request=asked.id,
            **OF,
        ),
        PlugOrdered(
            id=named(asked, "plug.ordered", "db"),
            size=more,
            reservation=reservation,
            request=asked.id,
            **OF,
        ),
    )
    assert {line.dimension: line.requested for line in answer.evidence} == {
        "vcpu": 2,
        "memory_mib": 0,
        "block_bytes": 30 * GIB,
    }


def test_a_disk_of_a_vm_that_is_off_grows_and_only_its_bytes_are_asked_for() -> None:
    past = off()
    past.resize(disk_gib=40)
    answer, (grow,) = past.answer()
    assert (answer.code, isinstance(grow, GrowOrdered)) == ("Granted", True)
    wanted = [(line.dimension, line.requested) for line in answer.evidence if line.requested]
    assert wanted == [("block_bytes", 30 * GIB)]


def test_protection_says_who_wanted_it_and_why() -> None:
    past = running()
    for change, fact in (("protect", VmProtected), ("unprotect", VmUnprotected)):
        past.change(change)  # type: ignore[arg-type]
        decision = past.decide()
        assert decision is not None
        assert decision.facts == (fact(ORG, "db", "apps", "kim", "because", past.now),)
        assert [one.code for one in decision.decided.answers] == ["Done"]
        past.stored(decision)


# ------------------------------------------------------------------------------------------------------------ nothing


@pytest.mark.parametrize(
    ("past", "ask", "code", "outcome"),
    [
        (made, lambda p: p.change("stop"), "AlreadyDone", "unchanged"),
        (off, lambda p: p.change("stop"), "AlreadyDone", "unchanged"),
        (asleep, lambda p: p.change("stop"), "AlreadyDone", "unchanged"),
        (booting, lambda p: p.change("start"), "AlreadyDone", "unchanged"),
        (running, lambda p: p.change("unprotect"), "AlreadyDone", "unchanged"),
        (running, lambda p: p.resize(ONE), "AlreadyDone", "unchanged"),
        (off, lambda p: p.resize(disk_gib=10), "AlreadyDone", "unchanged"),
        (made, lambda p: p.change("reboot"), "VmOff", "refused"),
        (off, lambda p: p.change("reboot"), "VmOff", "refused"),
        (asleep, lambda p: p.change("reboot", when="window"), "VmOff", "refused"),
        (booting, lambda p: p.change("reboot"), "VmBusy", "refused"),
        (stopping, lambda p: p.change("start"), "VmBusy", "refused"),
        (booting, lambda p: p.resize(TWO), "VmBusy", "refused"),
        (stopping, lambda p: p.resize(disk_gib=20), "VmBusy", "refused"),
        (made, lambda p: p.resize(disk_gib=20), "NoDisk", "refused"),
        (copying, lambda p: p.resize(disk_gib=20), "CopyUnderWay", "refused"),
        (running, lambda p: p.resize(Size("s", 65, 1024)), "VcpuTooMany", "refused"),
        (running, lambda p: p.resize(Size("s", 1, 16)), "MemoryTooSmall", "refused"),
        (running, lambda p: p.resize(TWO, publisher="shop"), "SudoSrvMissing", "refused"),
        (running, lambda p: p.resize(SIX), "CapExceeded", "refused"),
        (running, lambda p: p.resize(Size("own-1x65600", 1, 65_600)), "HostsFull", "refused"),
        (off, lambda p: p.resize(disk_gib=500), "CapExceeded", "refused"),
        (running, lambda p: p.resize(TWO, pool="web"), "VmUnknown", "refused"),
        (running, lambda p: p.change("stop", pool="web"), "VmUnknown", "refused"),
    ],
)
def test_nothing_is_ordered_where_there_is_nothing_to_do_or_it_may_not_be(
    past: Callable[[], Deleting], ask: Callable[[Deleting], Recorded], code: str, outcome: str
) -> None:
    there = past()
    ask(there)
    decision = there.decide()
    assert decision is not None
    assert (decision.facts, decision.decided.orders) == ((), ())
    (answer,) = decision.decided.answers
    assert (answer.outcome, answer.code, answer.asked, answer.granted) == (outcome, code, 1, 0)


@pytest.mark.parametrize(
    ("past", "ask", "code"),
    [
        (copying, lambda p: p.resize(TWO), "Granted"),
        (made, lambda p: p.resize(TWO), "AtNextBoot"),
        (booting, lambda p: p.change("stop"), "Granted"),
        (running, lambda p: p.resize(SIX, when="window", publisher="shop"), "Announced"),
        (off, lambda p: p.resize(SIX), "AtNextBoot"),
    ],
)
def test_what_stands_in_the_way_of_other_things_stands_not_in_the_way_of_this(
    past: Callable[[], Deleting], ask: Callable[[Deleting], Recorded], code: str
) -> None:
    there = past()
    ask(there)
    answer, _ = there.answer()
    assert (answer.outcome, answer.code) == ("admitted", code)


def test_a_refusal_has_the_numbers_that_decided_it() -> None:
    past = off(vcpu=1)
    past.create("other")
    past.round()
    past.change("start")
    answer, _ = past.answer()
    assert [
        (line.dimension, line.projected, line.limit)
        for line in answer.evidence
        if line.projected > line.limit
    ] == [("vcpu", 2, 1)]


def test_a_host_without_room_says_how_much_it_lends() -> None:
    past = off()
    past.create("other", size=WIDE)
    past.round()
    past.change("start")
    answer, orders = past.answer()
    assert (answer.code, orders) == ("HostsFull", ())
    line = answer.evidence[-1]
    assert (line.dimension, line.requested, line.limit) == ("host_memory_mib", 1024, 1 << 16)


def test_a_vm_that_runs_grows_by_what_it_has_more_and_no_host_is_asked_for_the_whole() -> None:
    past = running()
    past.resize(Size("own-1x40000", 1, 40_000))
    assert past.answer()[0].code == "Granted"
    past.runs()
    past.resize(Size("own-1x60000", 1, 60_000))
    assert past.answer()[0].code == "Granted"


def test_a_disk_below_todays_limits_keeps_no_vm_from_becoming_larger() -> None:
    past = Deleting()
    past.setting()
    past.create(kind="cloud-init", image="debian-12", readiness="none", size=Size("s", 1, 4096))
    past.round()
    past.runs()
    past.pool("apps", ONE, kind="kept", profile="platform")
    past.resize(Size("s", 2, 4096))
    assert past.answer()[0].code == "Granted"


def test_one_that_shall_have_other_memory_is_rebooted_and_what_can_be_plugged_in_is_not_plugged_beside_it() -> (
    None
):
    past = running(vcpu=8)
    past.resize(Size("own-1x2048", 1, 2048), plug=True)
    _, (reboot,) = past.answer()
    assert isinstance(reboot, RebootOrdered)


def test_a_reboot_with_a_size_that_does_not_fit_any_more_is_refused_with_its_numbers() -> None:
    past = running()
    past.resize(TWO, when="window")
    past.round()
    past.create("other", size=Size("own-3x1024", 3, 1024))
    past.round()
    past.change("reboot")
    answer, orders = past.answer()
    assert (answer.code, orders) == ("CapExceeded", ())
    assert [(line.dimension, line.projected) for line in answer.evidence if line.projected > line.limit] == [
        ("vcpu", 5)
    ]
