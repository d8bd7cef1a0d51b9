"""Sleepers go to disk a few at a time, so that demand finds the others; and where that fails, it is tried ever more seldom."""

import datetime as dt

import pytest

from events.gate import SaveOrdered, WakeOrdered
from events.host import HostAdmitted
from events.vm import VmSaveFailed
from schemas.names import PLATFORM
from services.gate.state import State
from services.gate.turns import Turns
from tests.given import ORG, Past


def saving(state: State, now: dt.datetime) -> list[str]:
    """Whom a gate that has just begun would look after."""
    return Turns(state).due(now, 0.0)


def setting() -> Past:
    return Past().contract(vcpu=10_000).pool("web").host(memory_mib=1 << 20)


def ordered(past: Past) -> list[str]:
    """Whom the gate saves next; it is in the ledger."""
    if past.decide() is None:
        return []
    orders = past.round().orders
    assert all(isinstance(one, SaveOrdered) for one in orders)
    return [one.vm for one in orders]


def test_a_host_saves_two_at_a_time_and_the_next_when_one_has_its_outcome() -> None:
    past = setting().asleep("web", 70)
    past.save(paused=1)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.asked, answer.granted) == ("admitted", "Granted", 69, 69)
    assert [one.vm for one in orders] == ["web-1", "web-2"]
    assert (ordered(past), list(saving(past.state, past.now))) == ([], [])
    past.saved("web-2")
    assert list(saving(past.state, past.now)) == [ORG]
    assert ordered(past) == ["web-3"]
    done = 1
    while saved := past.fleet.members(ORG, "web", "saving"):
        past.saved(next(iter(saved)))
        done += 1
        ordered(past)
    assert done == 69, "all that were granted"
    assert list(past.state.saves.orgs()) == []


def test_each_host_has_two_hands() -> None:
    past = setting().host("h2", 1 << 20).asleep("web", 4).asleep("web", 4, host="h2")
    past.save()
    assert sorted(one.vm for one in past.answer()[1]) == ["web-1", "web-2", "web-5", "web-6"]
    past.saved("web-5")
    assert ordered(past) == ["web-7"]


def test_pools_of_one_host_share_its_hands() -> None:
    past = setting().pool("jobs").asleep("web", 3).asleep("jobs", 3)
    past.save("web")
    past.save("jobs")
    decided = past.round()
    assert [(one.pool, one.granted) for one in decided.answers] == [("web", 3), ("jobs", 3)]
    assert [one.vm for one in decided.orders] == ["web-1", "web-2"]
    past.saved("web-1")
    past.saved("web-2")
    assert ordered(past) == ["web-3", "jobs-1"]


def test_demand_that_comes_back_finds_those_whose_turn_had_not_come_and_ends_the_request() -> None:
    past = setting().asleep("web", 64)
    past.save(origin="forecast")
    past.round()
    past.saved("web-1")
    past.saved("web-2")
    past.scale(want=32, up_to=True)
    answer, orders = past.answer()
    assert (answer.code, answer.granted, {type(one) for one in orders}) == ("Granted", 32, {WakeOrdered})
    assert len(past.fleet.members(ORG, "web", "quiesced")) == 30
    assert (ordered(past), list(past.state.saves.orgs())) == ([], [])


def test_a_newer_request_takes_the_place_of_the_one_before() -> None:
    past = setting().asleep("web", 10)
    past.save()
    past.round()
    past.save(paused=7)
    assert past.answer()[0].granted == 1
    past.saved("web-1")
    assert ordered(past) == ["web-3"]
    past.saved("web-2")
    past.saved("web-3")
    assert (ordered(past), len(past.fleet.members(ORG, "web", "quiesced"))) == ([], 7)


def test_who_falls_asleep_later_is_none_of_those_that_were_to_be_saved() -> None:
    past = setting().serving("web", 1).asleep("web", 3)
    past.save()
    past.round()
    past.quiesced("web-1")
    past.saved("web-2")
    assert ordered(past) == ["web-4"]
    past.saved("web-3")
    past.saved("web-4")
    assert ordered(past) == []


@pytest.mark.parametrize("why", ["frozen", "lost", "in memory"])
def test_what_holds_the_pool_still_holds_those_whose_turn_has_not_come(why: str) -> None:
    past = setting().asleep("web", 4)
    past.save(origin="forecast")
    past.round()
    match why:
        case "frozen":
            past.frozen("web")
        case "lost":
            past.lost()
        case _:
            past.pool("web", sleep="paused")
    past.saved("web-1")
    assert ordered(past) == []


def test_where_a_save_failed_nothing_is_saved_for_a_minute_and_twice_as_long_each_time_up_to_an_hour() -> (
    None
):
    past = setting().pool("jobs").asleep("web", 8).asleep("jobs", 1)
    lasted = []
    for _ in range(8):
        past.save()
        for order in past.answer()[1]:
            past.save_failed(order.vm)
        past.save("jobs")
        answer, orders = past.answer()
        assert (answer.outcome, answer.code, orders) == ("refused", "SaveHeldBack", ()), (
            "the disk is everybody's"
        )
        assert answer.retry_at is not None
        lasted.append((answer.retry_at - past.now).total_seconds())
        past.now = answer.retry_at
    assert lasted == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    past.save()
    past.round()
    past.saved(next(iter(past.fleet.members(ORG, "web", "saving"))))
    past.save_failed(next(iter(past.fleet.members(ORG, "web", "saving"))))
    past.save("jobs")
    assert past.answer()[0].retry_at is not None


def test_a_save_that_works_ends_the_waiting() -> None:
    past = setting().asleep("web", 8)
    for _ in range(3):
        past.save(paused=7)
        (order,) = past.answer()[1]
        past.save_failed(order.vm)
        past.later(3600)
    past.save(paused=7)
    (order,) = past.answer()[1]
    past.saved(order.vm)
    past.save(paused=6)
    (order,) = past.answer()[1]
    past.save_failed(order.vm)
    past.later(60)
    past.save(paused=6)
    assert past.answer()[0].code == "Granted", "it counts from one again"


def test_another_host_is_used_meanwhile_and_the_answer_says_what_is_held_back() -> None:
    past = setting().host("h2", 1 << 20).asleep("web", 2).asleep("web", 1, host="h2")
    past.save(paused=2)
    (order,) = past.answer()[1]
    assert isinstance(order, SaveOrdered)
    past.save_failed(order.vm)
    past.save()
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.asked) == ("partial", "SaveHeldBack", 3)
    assert {past.fleet.vms[ORG, one.vm].host for one in orders} == {"h1", "h2"} - {order.host}


@pytest.mark.parametrize("failed", ["before", "after"])
def test_what_failed_to_be_saved_on_a_host_that_died_holds_nothing_back_when_it_is_used_again(
    failed: str,
) -> None:
    past = setting().asleep("web", 4)
    past.save()
    order, _ = past.answer()[1]
    asleep_since = past.fleet.vms[ORG, order.vm].since_seq
    said = VmSaveFailed(ORG, order.vm, "h1", order.id, asleep_since, "disk-full", "no space", past.now)
    if failed == "before":
        past.happened(said)
    past.fenced("h1")
    past.happened(HostAdmitted(PLATFORM, "h1", "ops", "a new disk", past.now))
    if failed == "after":
        past.happened(said)
    past.asleep("web", 1)
    past.save()
    assert past.answer()[0].code == "Granted"


@pytest.mark.parametrize("last", ["wake", "save"])
def test_of_a_wake_and_a_save_that_one_round_answers_the_later_holds(last: str) -> None:
    past = setting().asleep("web", 8)
    if last == "wake":
        past.save()
    past.scale(add=1)
    if last == "save":
        past.save()
    decided = past.round()
    assert {one.code for one in decided.answers} == {"Granted"}
    saved = [one.vm for one in decided.orders if isinstance(one, SaveOrdered)]
    assert len(saved) == 2
    past.saved(saved[0])
    assert len(ordered(past)) == (0 if last == "wake" else 1)
    assert list(past.state.saves.orgs()) == ([] if last == "wake" else [ORG])


def test_a_gate_that_reads_everything_again_stands_as_before() -> None:
    past = setting().asleep("web", 9)
    past.save()
    past.round()
    past.save_failed("web-1")
    past.later(60)
    ordered(past)
    again = State()
    for line in past.lines:
        again.apply(line)
    assert vars(again.saves) == vars(past.state.saves)
