"""Sleepers that wake unfit to serve are left alone for a while, and new VMs are booted instead."""

import datetime as dt

from events.breaker import BreakerClosed
from events.gate import BootOrdered, WakeOrdered
from schemas.pool import read, says_refresh
from services.gate.decide import define
from tests.given import ORG, Past
from tests.rules.failing import opened, setting, starts


def unfit(past: Past, times: int, code: str = "not-refreshed") -> None:
    """So many sleepers in a row wake unfit, are switched off, and boot cold in their own place."""
    for _ in range(times):
        past.scale(add=1)
        (order,) = past.answer()[1]
        assert isinstance(order, WakeOrdered)
        past.unready(order.vm, code)
        if len(past.state.breakers.opened) == 0 and past.state.breakers.may_need("acme"):
            return
        past.round()
        past.stopped(order.vm)
        (again,) = past.round().orders
        past.ready(again.vm)
        past.announced(again.vm)
        past.later(60)


def tired(past: Past) -> dt.datetime:
    """Three woke unfit, and the gate has said so; until when."""
    unfit(past, 3)
    (breaker,) = opened(past)
    assert (breaker.scope, breaker.name, breaker.failures, breaker.code) == (
        "template",
        "tiny",
        3,
        "not-refreshed",
    )
    (last,) = past.round().orders
    past.stopped(last.vm)
    past.round()
    return breaker.until


def test_three_sleepers_in_a_row_that_wake_unfit_are_said_and_new_vms_boot_instead() -> None:
    past = setting(vcpu=400).asleep("web", 20)
    until = tired(past)
    past.scale(add=3)
    assert [one for one, _, _ in starts(past.round())] == [BootOrdered] * 3
    past.now = until
    past.scale(add=3)
    assert [one for one, _, _ in starts(past.round())] == [WakeOrdered, BootOrdered, BootOrdered], (
        "one to try"
    )


def test_boots_that_answer_in_between_say_nothing_of_those_that_sleep() -> None:
    past = setting(vcpu=400).asleep("web", 20)
    unfit(past, 2)
    past.stock(vms=21)
    (boot,) = past.answer()[1]
    past.ready(boot.vm)
    past.round()
    unfit(past, 1)
    assert [(one.scope, one.code) for one in opened(past)] == [("template", "not-refreshed")]


def test_a_sleeper_that_wakes_fit_ends_it() -> None:
    past = setting(vcpu=400).asleep("web", 20)
    past.now = tired(past)
    past.scale(add=1)
    (order,) = past.answer()[1]
    past.ready(order.vm)
    decision = past.decide()
    assert decision is not None
    past.stored(decision)
    assert [type(one) for one in decision.facts] == [BreakerClosed]
    assert past.state.breakers.opened == {}
    past.scale(add=3)
    assert [one for one, _, _ in starts(past.round())] == [WakeOrdered] * 3


def test_where_no_host_has_room_for_another_vm_a_sleeper_is_better_than_none() -> None:
    past = Past().contract(vcpu=400).pool("web").host(memory_mib=20 * 512).asleep("web", 20)
    tired(past)
    past.scale(add=1)
    assert [one for one, _, _ in starts(past.round())] == [WakeOrdered]


FILE = f"""
org = "{ORG}"
name = "web"
size = {{name = "small", vcpu = 2, memory_mib = 512}}
template = "tiny"
"""


def test_a_pool_file_of_before_there_was_a_refresh_changes_nothing_at_the_first_start_after_an_upgrade() -> (
    None
):
    past = Past().contract().pool("web", refresh="none", sleep="auto").host()
    assert not says_refresh(FILE)
    assert define(ORG, [read(FILE)], past.state, past.now, "g1", past.seq, {"web"}) is None
    told = FILE + 'refresh = "agent"\n'
    assert says_refresh(told)
    decision = define(ORG, [read(told)], past.state, past.now, "g1", past.seq)
    assert decision is not None
    past.stored(decision)
    assert past.fleet.pools[ORG, "web"].refresh == "agent"
    assert define(ORG, [read(FILE)], past.state, past.now, "g1", past.seq, {"web"}) is None, "it is the usual"


def test_a_new_pool_whose_file_does_not_say_is_refreshed() -> None:
    past = Past().contract().host()
    decision = define(ORG, [read(FILE)], past.state, past.now, "g1", past.seq, {"web"})
    assert decision is not None
    past.stored(decision)
    assert past.fleet.pools[ORG, "web"].refresh == "agent"
