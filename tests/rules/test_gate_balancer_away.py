"""While the load balancer takes none of a pool's VMs, none is started to wait for it: they are tried again after a while."""

import datetime as dt
from collections import Counter

import pytest
from msgspec.structs import replace

from events.breaker import BreakerClosed, BreakerOpened
from events.gate import BootOrdered, DrainCancelled, SuspendOrdered, WakeOrdered
from events.pool import PoolDefined
from events.vm import VmAnnounceFailed
from projections.fleet.known import Vm
from replay.why.ahead import of_readiness
from tests.given import ORG, Past
from tests.rules.failing import opened, setting, untaken


def rise(past: Past, vms: int, code: str = "balancer-unreachable") -> None:
    """So many are asked for, answer, and are taken by no balancer."""
    past.scale(add=vms)
    orders = past.answer()[1]
    assert len(orders) == vms
    for order in orders:
        past.ready(order.vm)
    for order in orders:
        untaken(past, order.vm, code)


def rested(past: Past) -> None:
    """Whoever the gate sends to sleep sleeps."""
    while (decision := past.decide()) is not None:
        past.stored(decision)
        for order in decision.decided.orders:
            assert isinstance(order, SuspendOrdered)
            past.quiesced(order.vm)


@pytest.mark.parametrize("code", ["balancer-unreachable", "balancer-refused"])
def test_three_in_a_row_that_the_balancer_did_not_take_hold_their_pool_and_no_other(code: str) -> None:
    past = setting(vcpu=400).pool("jobs").asleep("web", 4).asleep("jobs", 1)
    rise(past, 3, code)
    (breaker,) = opened(past)
    assert breaker == BreakerOpened(
        org=ORG,
        pool="web",
        scope="template",
        name="web",
        failures=3,
        code=code,
        opened_at=past.now,
        until=past.now + dt.timedelta(seconds=60),
    )
    assert "the load balancer takes none" in (of_readiness(breaker) or "")
    rested(past)
    past.scale(add=1)
    past.scale(want=9, up_to=True)
    past.scale("jobs", add=1)
    answers = past.round().answers
    assert [(one.code, one.granted, one.retry_at) for one in answers] == [
        ("BreakerOpen", 0, breaker.until),
        ("BreakerOpen", 0, breaker.until),
        ("Granted", 1, None),
    ]
    past.now = breaker.until
    past.scale(add=1)
    assert past.answer()[0].code == "Granted", "it is tried again"


def test_nobody_takes_the_place_of_a_vm_that_the_balancer_did_not_take() -> None:
    past = setting().asleep("web", 3)
    rise(past, 1)
    assert {type(one) for one in past.round().orders} == {SuspendOrdered}
    assert past.decide() is None


def test_an_hour_without_a_balancer_starts_some_vms_and_no_hundreds() -> None:
    past = setting(vcpu=400).asleep("web", 8)
    wakes: Counter[str] = Counter()
    since: dict[str, int] = {}
    for tick in range(240):
        if past.fleet.staying(ORG, "web") < 8:
            past.scale(want=8, up_to=True, origin="forecast")
            for order in past.answer()[1]:
                past.ready(order.vm)
                wakes[order.vm] += 1
                since[order.vm] = tick
        for vm in [one for one in past.fleet.members(ORG, "web", "warm") if tick >= since[one] + 1]:
            untaken(past, vm)
        rested_and_said(past)
        past.later(15)
    lasted = [
        (one.fact.until - one.fact.opened_at).total_seconds()
        for one in past.lines
        if isinstance(one.fact, BreakerOpened)
    ]
    assert lasted[:5] == [60, 120, 240, 300, 300], "so that a balancer that is back is soon found"
    assert wakes.total() <= 8 * 15, "without a pause there are 640"


def rested_and_said(past: Past) -> None:
    while (decision := past.decide()) is not None:
        past.stored(decision)
        for order in decision.decided.orders:
            if isinstance(order, SuspendOrdered):
                past.quiesced(order.vm)


def test_the_first_vm_that_the_balancer_takes_ends_it_whenever_that_was_started() -> None:
    past = setting(vcpu=400).asleep("web", 6)
    past.scale(add=4)
    orders = past.answer()[1]
    for order in orders:
        past.ready(order.vm)
    for order in orders[:3]:
        untaken(past, order.vm)
    assert [one.code for one in opened(past)] == ["balancer-unreachable"]
    past.announced(orders[3].vm)
    decision = past.decide()
    assert decision is not None
    (closed,) = past.stored(decision) and decision.facts
    assert isinstance(closed, BreakerClosed)
    assert of_readiness(closed) == f"VMs of {ORG}/web are started again"
    rested(past)
    past.scale(add=1)
    assert past.answer()[0].code == "Granted"


def test_one_that_is_taken_in_between_begins_the_row_anew() -> None:
    past = setting(vcpu=400).asleep("web", 8)
    rise(past, 2)
    rested(past)
    past.scale(add=1)
    (order,) = past.answer()[1]
    past.ready(order.vm)
    past.announced(order.vm)
    rise(past, 2)
    assert past.state.breakers.opened == {}
    assert not list(past.state.breakers.due(ORG, past.now))


def test_what_was_started_before_it_opened_and_fails_then_says_nothing_new() -> None:
    past = setting(vcpu=400).asleep("web", 8)
    rise(past, 8)
    assert len(opened(past)) == 1
    rested(past)
    assert len(past.state.breakers.opened) == 1
    assert not list(past.state.breakers.due(ORG, past.now))


def test_whoever_is_on_the_way_out_may_come_back_meanwhile_and_stock_may_be_prepared() -> None:
    past = setting(vcpu=400).serving("web", 1).asleep("web", 3)
    rise(past, 3)
    opened(past)
    rested(past)
    past.quiesce()
    past.round()
    past.scale(add=2, up_to=True)
    answer, orders = past.answer()
    assert (answer.code, answer.granted) == ("BreakerOpen", 1)
    assert [type(one) for one in orders] == [DrainCancelled]
    past.stock(vms=5)
    assert [type(one) for one in past.answer()[1]] == [BootOrdered]


def test_its_failures_are_no_hosts_and_no_templates() -> None:
    past = setting(vcpu=400).host("h2")
    rise(past, 3)
    assert [(one.scope, one.name) for one in opened(past)] == [("template", "web")]
    assert [key[2:] for key in past.state.breakers.opened] == [("balancer", "web")]


def test_a_pool_that_is_defined_with_another_template_is_held_all_the_same() -> None:
    past = setting(vcpu=400).asleep("web", 4)
    rise(past, 3)
    opened(past)
    rested(past)
    newer = replace(past.fleet.pools[ORG, "web"], template="newer")
    past.happened(PoolDefined(org=ORG, pool="web", definition=newer))
    past.scale(add=1)
    assert past.answer()[0].code == "BreakerOpen"
    past.later(60)
    past.scale(add=1)
    assert [type(one) for one in past.answer()[1]] == [WakeOrdered]


def test_who_came_back_from_the_way_out_and_is_not_taken_says_nothing_of_those_that_start() -> None:
    past = setting(vcpu=400).serving("web", 3)
    past.quiesce(count=3)
    past.round()
    past.scale(add=3)
    assert {type(one) for one in past.answer()[1]} == {DrainCancelled}
    for vm in ("web-1", "web-2", "web-3"):
        untaken(past, vm)
    assert not list(past.state.breakers.due(ORG, past.now))


@pytest.mark.parametrize("why", ["told again", "of a dead host", "of one that ended", "of another kind"])
def test_what_says_nothing_of_the_balancer_now_is_not_counted(why: str) -> None:
    past = setting(vcpu=400).host("h2").asleep("web", 6)
    rise(past, 2)
    told = past.lines[-1].fact
    rested(past)
    assert isinstance(told, VmAnnounceFailed)
    past.scale(add=6)
    orders = past.answer()[1]
    for order in orders:
        past.ready(order.vm)
    ways = {one.vm: past.fleet.vms[ORG, one.vm] for one in orders}
    match why:
        case "told again":
            past.happened(told)
        case "of a dead host":
            past.fenced("h1")
            past.happened(late(past, ways["web-3"]))
        case "of one that ended":
            past.died("web-3")
            past.happened(late(past, ways["web-3"]))
        case _:
            for order in orders[:4]:
                untaken(past, order.vm, "no-address")
    assert not list(past.state.breakers.due(ORG, past.now))


def late(past: Past, vm: Vm) -> VmAnnounceFailed:
    """What the announcer says of a VM that it still holds for what it was."""
    assert vm.reservation is not None
    assert vm.order is not None
    return VmAnnounceFailed(
        org=ORG,
        vm=vm.name,
        reservation=vm.reservation,
        order=vm.order,
        code="balancer-unreachable",
        text="no answer",
        observed_at=past.now,
    )


def test_meanwhile_nobody_takes_the_place_of_one_that_failed_to_wake_either() -> None:
    past = setting(vcpu=400).asleep("web", 8)
    past.scale(add=4)
    orders = past.answer()[1]
    for order in orders[:3]:
        past.ready(order.vm)
        untaken(past, order.vm)
    opened(past)
    rested(past)
    past.wake_failed(orders[3].vm)
    assert past.decide() is None


def test_who_is_on_the_way_out_and_is_enough_is_all_that_was_asked_for() -> None:
    past = setting(vcpu=400).serving("web", 1).asleep("web", 3)
    rise(past, 3)
    opened(past)
    rested(past)
    past.quiesce()
    past.round()
    past.scale(add=1)
    assert past.answer()[0].code == "Granted"
