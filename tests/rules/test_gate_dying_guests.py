"""A guest that ends between its start and its first answer has failed to wake, whoever tells it in whatever words."""

import pytest

from events.breaker import BreakerOpened
from events.gate import BootOrdered, WakeOrdered
from events.vm import VmBooted
from tests.given import ORG, Past
from tests.rules.failing import opened, setting, starts

CODES = {
    "crashed": "guest-died",
    "shut-down": "guest-died",
    "found": "guest-died",
    "paused": "guest-paused",
}


def ends(past: Past, vm: str, end: str) -> None:
    if end == "paused":
        past.found_paused(vm)
    else:
        past.died(vm, end)


@pytest.mark.parametrize("end", CODES)
def test_another_vm_takes_the_place_of_a_guest_that_died_before_it_answered_once(end: str) -> None:
    past = setting().asleep("web", 3)
    past.scale(want=1)
    past.round()
    ends(past, "web-1", end)
    assert starts(past.round()) == [(WakeOrdered, "web-2", "h1")]
    ends(past, "web-2", end)
    assert past.decide() is None


@pytest.mark.parametrize("end", CODES)
def test_three_guests_in_a_row_that_die_before_they_answer_open_the_breakers_of_host_and_template(
    end: str,
) -> None:
    past = setting()
    past.stock(vms=3)
    for order in past.answer()[1]:
        ends(past, order.vm, end)
    assert [(one.scope, one.failures, one.code) for one in opened(past)] == [
        ("host", 3, CODES[end]),
        ("template", 3, CODES[end]),
    ]
    past.scale(add=1)
    assert past.answer()[0].code == "BreakerOpen"


def test_whoever_asks_every_15_seconds_for_guests_that_die_starts_few_and_fewer() -> None:
    past = setting(vcpu=400)
    begun = 0
    for _ in range(240):
        past.scale(want=1, up_to=True, origin="forecast")
        while (decision := past.decide()) is not None:
            past.stored(decision)
            for order in decision.decided.orders:
                assert isinstance(order, BootOrdered)
                begun += 1
                past.happened(
                    VmBooted(
                        org=ORG,
                        vm=order.vm,
                        host=order.host,
                        reservation=order.id,
                        started_at=past.now,
                        booted_at=past.now,
                        attempts=1,
                    )
                )
                past.died(order.vm)
        past.later(15)
    assert begun <= 12, "an hour without a breaker begins 240"


def test_a_guest_that_dies_after_it_answered_is_no_failure_of_its_start() -> None:
    past = setting().asleep("web", 6)
    for _ in range(4):
        past.scale(add=1)
        (order,) = past.answer()[1]
        past.ready(order.vm)
        past.died(order.vm)
        assert past.decide() is None


def test_a_death_that_was_told_of_another_start_ends_none() -> None:
    past = setting().asleep("web", 2)
    past.scale(add=1)
    past.round()
    past.died("web-1")
    late = past.lines[-1].fact
    past.round()
    past.scale(want=2)
    past.round()
    past.happened(late)
    past.happened(late)
    assert [one for one in past.lines if isinstance(one.fact, BreakerOpened)] == []
    assert past.decide() is None


def test_a_guest_that_died_after_it_was_found_silent_is_lost_once() -> None:
    past = setting().asleep("web", 3)
    past.scale(want=1)
    past.round()
    past.unready("web-1")
    past.round()
    past.died("web-1")
    assert starts(past.round()) == [(WakeOrdered, "web-2", "h1")]
    assert past.decide() is None


def test_a_start_that_was_ended_by_order_is_no_failure() -> None:
    past = setting()
    for end in (past.stopped, past.quiesced) * 3:
        (vm,) = past.waking("web", 1)
        end(vm)
    assert past.decide() is None
    assert list(past.state.breakers.lost(ORG, past.now)) == []
