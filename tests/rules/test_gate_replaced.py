"""Another VM takes the place of one that failed to wake, once."""

import pytest

from events.breaker import BreakerOpened
from events.freeze import FreezeRequested, ScalingFrozen
from events.gate import BootOrdered, StopOrdered, WakeOrdered
from events.ids import derive
from schemas.pool import Pool
from tests.given import ORG, SMALL
from tests.rules.failing import opened, setting, starts

POOL = Pool(org=ORG, name="web", size=SMALL, template="tiny")


def test_another_vm_takes_the_place_of_one_that_failed_to_wake() -> None:
    past = setting().asleep("web", 3)
    request = past.scale(add=2)
    first, second = past.answer()[1]
    past.wake_failed("web-1")
    decided = past.round()
    assert decided.answers == ()
    (order,) = decided.orders
    assert isinstance(order, WakeOrdered)
    assert (order.vm, order.request, order.purpose) == ("web-3", request.id, "serve")
    assert order.id == derive(request.id, derive(first.id, 2), "wake.ordered", "web-3")
    assert order.id not in {first.id, second.id}
    assert past.decide() is None


def test_what_took_the_place_is_not_replaced_when_it_fails_as_well() -> None:
    past = setting().asleep("web", 4)
    past.scale(add=1)
    past.round()
    past.wake_failed("web-1")
    assert starts(past.round()) == [(WakeOrdered, "web-2", "h1")]
    past.wake_failed("web-2")
    assert past.decide() is None


def test_two_that_failed_are_two_that_are_replaced() -> None:
    past = setting().asleep("web", 4)
    past.scale(add=2)
    past.round()
    past.wake_failed("web-1")
    past.wake_failed("web-2")
    decided = past.round()
    assert [vm for _, vm, _ in starts(decided)] == ["web-3", "web-4"]
    assert len({one.id for one in decided.orders}) == 2
    past.wake_failed("web-3")
    assert [type(fact) for fact in opened(past)] == [BreakerOpened]
    assert past.decide() is None, "one of the two has failed twice"


def test_a_wake_that_nobody_tried_is_no_failure() -> None:
    past = setting().asleep("web", 2)
    for _ in range(4):
        past.scale(add=1)
        (order,) = past.answer()[1]
        past.wake_failed(order.vm, "host-full")
        assert past.decide() is None


def test_a_wake_whose_turn_did_not_come_in_time_is_replaced_once_and_is_nobodys_failure() -> None:
    past = setting().asleep("web", 8)
    for number in range(4):
        past.scale(add=1)
        (order,) = past.answer()[1]
        past.later(POOL.order_seconds)
        past.wake_failed(order.vm, "order-expired")
        (again,) = past.round().orders
        assert (type(again), again.vm != order.vm) == (WakeOrdered, True), number
        past.later(POOL.order_seconds)
        past.wake_failed(again.vm, "order-expired")
        assert past.decide() is None


def test_a_wake_that_hung_before_its_host_said_that_it_came_too_late_is_not_replaced() -> None:
    past = setting().asleep("web", 2)
    past.scale(add=1)
    (order,) = past.answer()[1]
    past.later(POOL.order_seconds + POOL.readiness_seconds + 1)
    past.wake_failed(order.vm, "order-expired")
    assert past.decide() is None


def test_a_guest_that_does_not_answer_is_replaced_once_it_is_off_and_counts_no_more() -> None:
    past = setting(vcpu=2).asleep("web", 2)
    past.scale(add=1)
    past.round()
    past.unready("web-1")
    assert [type(one) for one in past.round().orders] == [StopOrdered]
    assert past.decide() is None
    past.stopped("web-1")
    assert starts(past.round()) == [(WakeOrdered, "web-2", "h1")], "even at the cap"
    assert past.usage.reserved(ORG) == SMALL.compute


@pytest.mark.parametrize("code", ["not-refreshed", "clock-off", "rebooted"])
def test_a_guest_that_woke_unfit_to_serve_boots_cold_and_is_not_its_hosts_failure(code: str) -> None:
    past = setting().asleep("web", 4)
    past.scale(add=3)
    past.round()
    for vm in ("web-1", "web-2", "web-3"):
        past.unready(vm, code)
    assert [(one.scope, one.code) for one in opened(past)] == [("template", code)]
    assert {type(one) for one in past.round().orders} == {StopOrdered}
    past.stopped("web-2")
    assert starts(past.round()) == [(BootOrdered, "web-2", "h1")]
    past.stopped("web-1")
    past.stopped("web-3")
    assert starts(past.round()) == [(BootOrdered, "web-1", "h1"), (BootOrdered, "web-3", "h1")]
    assert [key[2] for key in past.state.breakers.opened] == ["sleepers"]


def test_a_vm_whose_stop_has_no_outcome_is_waited_for_a_minute_and_then_another_comes() -> None:
    past = setting().asleep("web", 3)
    past.scale(want=1)
    past.round()
    past.unready("web-1")
    past.round()
    past.later(59.999_999)
    past.scale(want=1)
    assert past.answer()[0].code == "AlreadyAtDesired", "it will be replaced as soon as it is off"
    past.later(0.000_001)
    past.scale(want=1)
    assert starts(past.round()) == [(WakeOrdered, "web-2", "h1")]
    past.stopped("web-1")
    assert past.decide() is None, "another has its place already"


@pytest.mark.parametrize("proof", ["quiesced", "wake-failed"])
def test_a_failed_vm_that_turns_out_to_sleep_is_lost_like_one_that_is_off(proof: str) -> None:
    past = setting().asleep("web", 3)
    past.scale(want=1)
    past.round()
    past.unready("web-1")
    if proof == "quiesced":
        past.quiesced("web-1")
    else:
        past.wake_failed("web-1")
    assert starts(past.round()) == [(WakeOrdered, "web-2", "h1")]
    past.scale(want=1)
    assert past.answer()[0].code == "AlreadyAtDesired"
    past.scale(want=2)
    assert past.answer()[0].granted == 1


def test_no_more_than_16_breakers_are_switched_in_one_round() -> None:
    past = setting(vcpu=10_000)
    for number in range(9):
        past.pool(f"p{number}")
        past.scale(f"p{number}", add=3)
    for order in past.round().orders:
        past.wake_failed(order.vm, found="off")
    assert len(opened(past)) == 16
    assert len(opened(past)) == 2


def test_a_failed_wake_never_raises_usage() -> None:
    past = setting(vcpu=4).asleep("web", 4)
    past.scale(add=2)
    past.round()
    for vm in ("web-1", "web-2", "web-3", "web-4"):
        assert past.usage.reserved(ORG).vcpu <= 4
        if past.fleet.vms[ORG, vm].reservation is not None:
            past.wake_failed(vm)
        if past.decide() is not None:
            past.round()
    assert past.usage.reserved(ORG).vcpu <= 4


def test_stock_that_fails_is_not_replaced() -> None:
    past = setting()
    past.stock(vms=1)
    past.round()
    past.wake_failed("web-1", found="off")
    assert past.decide() is None


def test_nobody_comes_in_the_place_of_what_failed_a_minute_ago() -> None:
    past = setting().asleep("web", 2)
    past.scale(add=1)
    past.round()
    past.wake_failed("web-1")
    past.later(59.999_999)
    assert past.decide() is not None
    past.later(0.000_001)
    assert past.decide() is None
    assert list(past.state.breakers.needing(past.now)) == []


def test_who_wants_so_many_has_those_that_will_be_replaced() -> None:
    past = setting().asleep("web", 4)
    past.scale(want=2)
    past.round()
    past.unready("web-1")
    past.scale(want=2)
    assert past.answer()[0].code == "AlreadyAtDesired"
    past.stopped("web-1")
    past.scale(want=2)
    decided = past.round()
    assert [one.code for one in decided.answers] == ["AlreadyAtDesired"]
    assert [vm for _, vm, _ in starts(decided)] == ["web-3"]


def test_whoever_wants_fewer_meanwhile_has_nobody_come_in_its_place() -> None:
    past = setting().serving("web", 1).asleep("web", 3)
    past.scale(add=2)
    past.round()
    past.unready("web-2")
    past.quiesce(count=1)
    past.round()
    past.stopped("web-2")
    past.wake_failed("web-3")
    decided = past.round()
    assert len(starts(decided)) == 1, "that of the VM which failed afterwards"


def test_a_frozen_pool_stands_still_also_when_a_wake_failed() -> None:
    past = setting().asleep("web", 2)
    past.scale(add=1)
    past.round()
    past.frozen("web", 30)
    past.wake_failed("web-1")
    assert past.decide() is None
    past.later(31)
    assert starts(past.round()) == [(WakeOrdered, "web-2", "h1")]


def test_where_somebody_else_has_the_room_by_now_nobody_comes() -> None:
    past = setting(vcpu=4).pool("jobs").asleep("web", 2).asleep("jobs", 1)
    past.scale(add=2)
    past.round()
    past.wake_failed("web-1")
    decision = past.decide()
    assert decision is not None
    past.decided(past.wake("jobs-1"), answers=())
    assert past.decide() is None


def test_without_a_valid_contract_nobody_comes() -> None:
    past = setting().asleep("web", 2)
    past.scale(add=1)
    past.round()
    past.now = past.usage.contracts[ORG].valid_until
    past.wake_failed("web-1")
    assert past.decide() is None


def test_the_failed_one_is_not_tried_again_and_its_host_last() -> None:
    past = setting().host("h2").serving("web", 1).asleep("web", 1).asleep("web", 1, host="h2")
    past.scale(add=1)
    assert [one.vm for one in past.answer()[1]] == ["web-2"]
    past.wake_failed("web-2")
    assert starts(past.round()) == [(WakeOrdered, "web-3", "h2")]
    past = setting().host("h2").serving("web", 1).asleep("web", 1)
    past.scale(add=1)
    past.round()
    past.wake_failed("web-2")
    assert starts(past.round()) == [(BootOrdered, "web-3", "h2")]


def test_the_same_failure_told_twice_is_replaced_once() -> None:
    past = setting().asleep("web", 3)
    past.scale(add=1)
    past.round()
    past.wake_failed("web-1")
    failed = past.lines[-1].fact
    past.round()
    past.happened(failed)
    assert past.decide() is None


def test_what_failed_on_a_host_that_is_dead_since_is_replaced_elsewhere() -> None:
    past = setting().host("h2").asleep("web", 1).asleep("web", 1, host="h2")
    past.scale(add=1)
    past.round()
    past.wake_failed("web-1")
    past.fenced("h1")
    assert starts(past.round()) == [(WakeOrdered, "web-2", "h2")]


def test_who_hangs_on_its_way_off_a_host_that_died_is_not_waited_for() -> None:
    past = setting().host("h2").asleep("web", 1).asleep("web", 2, host="h2")
    past.scale(want=1)
    past.round()
    past.unready("web-1")
    past.round()
    past.scale(want=1)
    assert past.answer()[0].code == "AlreadyAtDesired", "it will be replaced as soon as it is off"
    past.fenced("h1")
    past.scale(want=1)
    answer, (order,) = past.answer()
    assert (answer.code, order.vm) == ("Granted", "web-2")
    assert past.decide() is None


def test_what_changes_the_rules_waits_until_those_who_failed_are_replaced_by_the_former_ones() -> None:
    past = setting().asleep("web", 3)
    past.scale(add=1)
    past.round()
    past.wake_failed("web-1")
    past.happened(
        FreezeRequested(
            org=ORG,
            pool="web",
            publisher="ops",
            key="k",
            actor="ops",
            reason="because",
            seconds=600,
            received_at=past.now,
        )
    )
    first = past.decide()
    assert first is not None
    assert (first.facts, first.decided.answers) == ((), ())
    assert starts(past.stored(first)) == [(WakeOrdered, "web-2", "h1")]
    second = past.decide()
    assert second is not None
    assert [type(fact) for fact in second.facts] == [ScalingFrozen]
    assert (second.decided.orders, [one.code for one in second.decided.answers]) == ((), ["Done"])
