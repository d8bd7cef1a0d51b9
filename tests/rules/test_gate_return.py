"""What the gate orders on a VM's way back to sleep, and when demand returns meanwhile."""

from typing import Any

import msgspec
import pytest

from events.gate import (
    MOST_ANSWERS,
    MOST_BYTES,
    BootOrdered,
    DrainCancelled,
    DrainOrdered,
    StopOrdered,
    SuspendOrdered,
    WakeOrdered,
)
from events.ids import derive
from events.vm import VmAnnounceFailed, VmDrained, VmFoundAwake, VmUnready
from schemas.names import is_name
from schemas.pool import PoolError, read
from tests.given import ORG, SMALL, Past

POOL = """
org = "acme"
name = "{}"
template = "tiny"
size = {{name = "small", vcpu = 1, memory_mib = 128}}
"""


def setting(vcpu: int = 20, **pool: Any) -> Past:
    return Past().contract(vcpu=vcpu).pool("web", **pool).host()


def drain(past: Past, vm: str) -> None:
    """The VM's sessions have ended."""
    known = past.fleet.vms[ORG, vm]
    assert known.order is not None
    past.happened(
        VmDrained(
            org=ORG,
            vm=vm,
            reservation=past.reservation(vm),
            drain=known.order,
            sessions_cut=0,
            drained_at=past.now,
        )
    )


def unready(past: Past, vm: str) -> None:
    past.happened(
        VmUnready(
            org=ORG,
            vm=vm,
            reservation=past.reservation(vm),
            code="probe-timeout",
            text="no answer",
            observed_at=past.now,
            probes=9,
        )
    )


def found_awake(past: Past, vm: str) -> None:
    past.happened(
        VmFoundAwake(
            org=ORG,
            vm=vm,
            pool="web",
            host="h1",
            size=SMALL,
            reservation=derive("found", vm, past.seq),
            observed_at=past.now,
        )
    )


# ------------------------------------------------------------------------------------------------------ going back


def test_the_last_to_have_come_is_drained_first() -> None:
    past = setting().serving("web", 3)
    past.quiesce(count=2)
    answer, orders = past.answer()
    assert (answer.outcome, answer.granted) == ("admitted", 2)
    assert [(type(order), order.vm) for order in orders] == [(DrainOrdered, "web-3"), (DrainOrdered, "web-2")]


def test_a_pool_never_shrinks_below_its_minimum() -> None:
    past = setting(min_vms=2).serving("web", 3)
    past.quiesce(count=3)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.granted, len(orders)) == ("partial", "AlreadyAtMin", 1, 1)
    past.quiesce(count=1)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("unchanged", "AlreadyAtMin", ())


def test_where_nobody_serves_nobody_is_quiesced() -> None:
    past = setting().asleep("web", 3)
    past.quiesce(count=1)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("unchanged", "NothingServing", ())


def test_a_draining_vm_counts_until_it_sleeps() -> None:
    past = setting(vcpu=4).serving("web", 2)
    past.quiesce(count=1)
    past.round()
    drain(past, "web-2")
    assert isinstance(past.round().orders[0], SuspendOrdered)
    past.scale("web", want=3)
    assert past.answer()[0].code == "CapExceeded"
    past.quiesced("web-2")
    past.scale("web", want=2)
    assert past.answer()[0].outcome == "admitted"


def test_demand_that_comes_back_first_takes_a_leaver_back_even_at_the_cap() -> None:
    past = setting(vcpu=4).serving("web", 2)
    past.quiesce(count=1)
    past.round()
    past.scale(add=1)
    answer, (order,) = past.answer()
    assert (answer.outcome, answer.evidence[0].requested) == ("admitted", 0)
    assert isinstance(order, DrainCancelled)
    assert past.fleet.vms[ORG, "web-2"].state == "warm"


def test_the_drained_come_back_before_those_who_still_drain() -> None:
    past = setting().serving("web", 2)
    past.quiesce(count=2)
    past.round()
    drain(past, "web-2")
    past.scale(add=1)
    decided = past.round()
    assert [order.vm for order in decided.orders if isinstance(order, DrainCancelled)] == ["web-2"]


def test_a_leaver_that_came_back_is_not_suspended_in_the_same_round() -> None:
    past = setting().serving("web", 1)
    past.quiesce(count=1)
    past.round()
    drain(past, "web-1")
    past.scale(add=1)
    assert [type(order) for order in past.round().orders] == [DrainCancelled]
    assert past.decide() is None


# ------------------------------------------------------------------------------------------------------- next steps


def test_who_never_answered_is_stopped_and_counts_until_then() -> None:
    past = setting()
    (vm,) = past.waking("web", 1)
    unready(past, vm)
    (order,) = past.round().orders
    assert isinstance(order, StopOrdered)
    assert past.usage.reserved(ORG) == SMALL.compute
    assert past.decide() is None


def test_whom_the_balancer_does_not_take_is_suspended() -> None:
    past = setting()
    (vm,) = past.waking("web", 1)
    past.ready(vm)
    known = past.fleet.vms[ORG, vm]
    past.happened(
        VmAnnounceFailed(
            org=ORG,
            vm=vm,
            reservation=past.reservation(vm),
            order=known.order or "",
            code="balancer-refused",
            text="no",
            observed_at=past.now,
        )
    )
    (order,) = past.round().orders
    assert isinstance(order, SuspendOrdered)


def test_a_vm_awake_that_nobody_ordered_counts_stops_growth_and_is_suspended() -> None:
    past = setting().asleep("web", 3)
    found_awake(past, "web-1")
    past.scale(add=1)
    decided = past.round()
    assert decided.answers[0].code == "StrayAwake"
    assert [(type(order), order.vm) for order in decided.orders] == [(SuspendOrdered, "web-1")]
    assert past.usage.used(ORG) == SMALL.compute
    past.quiesced("web-1")
    past.scale(add=1)
    assert past.answer()[0].outcome == "admitted"


def test_a_stray_told_of_twice_is_counted_and_suspended_once() -> None:
    past = setting().asleep("web", 1)
    found_awake(past, "web-1")
    stray = past.lines[-1].fact
    past.round()
    past.happened(stray)
    past.quiesced("web-1")
    past.happened(stray)
    assert past.usage.holdings == {}
    assert past.fleet.vms[ORG, "web-1"].state == "quiesced"
    assert past.decide() is None


# ------------------------------------------------------------------------------------------------------------ stock


def test_stock_is_booted_counts_while_it_is_prepared_and_then_sleeps() -> None:
    past = setting(vcpu=6)
    past.stock(vms=3)
    answer, orders = past.answer()
    assert (answer.outcome, answer.granted) == ("admitted", 3)
    assert {(type(order), order.purpose) for order in orders if isinstance(order, BootOrdered)} == {
        (BootOrdered, "stock")
    }
    past.scale(add=1)
    assert past.answer()[0].code == "CapExceeded"
    for vm in ("web-1", "web-2", "web-3"):
        past.ready(vm)
    assert {type(order) for order in past.round().orders} == {SuspendOrdered}
    for vm in ("web-1", "web-2", "web-3"):
        past.quiesced(vm)
    past.scale(add=3)
    answer, orders = past.answer()
    assert (answer.outcome, [type(order) for order in orders]) == ("admitted", [WakeOrdered] * 3)


def test_stock_that_is_there_is_not_made_again() -> None:
    past = setting().asleep("web", 2).serving("web", 1)
    past.stock(vms=3)
    assert past.answer()[0].code == "AlreadyAtDesired"
    past.stock(vms=5)
    assert past.answer()[0].granted == 2


def test_stock_under_preparation_is_no_answer_to_demand() -> None:
    past = setting()
    past.stock(vms=2)
    past.round()
    past.scale(want=1)
    answer, (order,) = past.answer()
    assert answer.granted == 1
    assert isinstance(order, BootOrdered)
    assert (order.vm, order.purpose) == ("web-3", "serve")


@pytest.mark.parametrize(
    ("vcpu", "memory_mib", "code"), [(4, 1 << 16, "CapExceeded"), (100, 1024, "HostsFull")]
)
def test_stock_is_all_or_nothing(vcpu: int, memory_mib: int, code: str) -> None:
    past = Past().contract(vcpu=vcpu).pool("web").host(memory_mib=memory_mib)
    past.stock(vms=5)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("refused", code, ())


# --------------------------------------------------------------------------------------------------------- cooldown


def test_a_trigger_waits_out_the_cooldown_of_its_pool() -> None:
    past = setting(cooldown_seconds=90).asleep("web", 5)
    past.trigger()
    assert past.answer()[0].outcome == "admitted"
    past.later(89)
    past.trigger()
    assert past.answer()[0].code == "Cooldown"
    past.later(1)
    past.trigger()
    assert past.answer()[0].outcome == "admitted"


def test_two_triggers_of_one_round_are_one() -> None:
    past = setting().asleep("web", 5)
    past.trigger()
    past.trigger()
    first, second = past.round().answers
    assert (first.outcome, second.code) == ("admitted", "Cooldown")


def test_cooldown_never_holds_back_a_person_and_a_person_starts_none() -> None:
    past = setting().asleep("web", 5)
    past.scale(add=1)
    past.trigger()
    past.scale(add=1)
    assert [answer.outcome for answer in past.round().answers] == ["admitted"] * 3


def test_a_refused_trigger_starts_no_cooldown() -> None:
    past = setting(vcpu=2).serving("web", 1)
    past.trigger()
    assert past.answer()[0].code == "CapExceeded"
    past.quiesce()
    past.round()
    past.trigger()
    assert past.answer()[0].outcome == "admitted"


def test_cooldown_is_a_pools_own() -> None:
    past = setting().pool("jobs").asleep("web", 2).asleep("jobs", 2)
    past.trigger("web")
    past.trigger("jobs")
    assert [answer.outcome for answer in past.round().answers] == ["admitted"] * 2


# ---------------------------------------------------------------------------------------------------------- rounds


def test_nothing_to_say_is_not_said() -> None:
    assert setting().serving("web", 2).decide() is None


def test_a_round_covers_exactly_the_requests_it_answers() -> None:
    past = setting()
    for _ in range(MOST_ANSWERS + 6):
        past.scale(want=0)
    first = past.round()
    assert len(first.answers) == MOST_ANSWERS
    assert first.through == first.answers[-1].request_seq
    second = past.round()
    assert len(second.answers) == 6
    assert past.decide() is None


@pytest.mark.parametrize("length", [3, 32])
def test_a_round_stays_below_its_bytes_however_long_the_names(length: int) -> None:
    pool = "p" * length
    past = Past("o" * 40).contract(vcpu=100_000).pool(pool).host("h" * 40, 1 << 22)
    for _ in range(5):
        past.scale(pool, add=64)
        past.stock(pool, 1000)
    rounds = []
    while (decision := past.decide()) is not None:
        rounds.append(past.stored(decision))
    assert sum(len(decided.answers) for decided in rounds) == 10
    assert max(len(msgspec.json.encode(decided)) for decided in rounds) < MOST_BYTES


def test_every_name_the_gate_gives_can_be_read_back() -> None:
    pool = "p" * 32
    past = setting().pool(pool)
    past.waking(pool, 1)
    past.scale(pool, add=2)
    for order in past.answer()[1]:
        assert is_name(order.vm), order.vm
    with pytest.raises(PoolError, match="length <= 32"):
        read(POOL.format("p" * 33))
    assert read(POOL.format(pool)).name == pool
