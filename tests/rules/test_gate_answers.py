"""What stands in an answer: how many were asked for, whatever came of it, and the numbers of the limit that binds."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from events.gate import MOST_ANSWERS, MOST_BYTES, BootOrdered, DrainCancelled, DrainOrdered, WakeOrdered
from events.scale import Sample
from schemas.capacity import Capacity
from services.gate.decide import define
from tests.given import ORG, Past


def setting(vcpu: int = 20, **pool: Any) -> Past:
    return Past().contract(vcpu=vcpu).pool("web", **pool).host()


def old(past: Past) -> Sample:
    sample = past.measured()
    past.later(3600)
    return sample


def stale(past: Past) -> None:
    past.scale(add=7, origin="trigger", sample=old(past))


def cooling(past: Past) -> None:
    past.trigger(add=1)
    past.round()
    past.trigger(add=7)


def flapping(past: Past) -> None:
    past.quiesce(count=7)
    past.scale(want=0)


def stale_way_back(past: Past) -> None:
    past.quiesce(count=7, origin="forecast", sample=old(past))


def cooling_way_back(past: Past) -> None:
    past.quiesce(count=1)
    past.round()
    past.quiesce(count=7, origin="trigger")


def at_maximum(past: Past) -> None:
    past.pool("web", max_vms=3)
    past.scale(add=7)


def past_the_maximum(past: Past) -> None:
    past.pool("web", max_vms=4)
    past.scale(add=7)


def past_the_cap(past: Past) -> None:
    past.contract(vcpu=8)
    past.scale(add=7)


def on_full_hosts(past: Past) -> None:
    past.host("h1", 1600)
    past.scale(add=7)


def at_minimum(past: Past) -> None:
    past.pool("web", min_vms=3)
    past.quiesce(count=7)


def down_to_minimum(past: Past) -> None:
    past.pool("web", min_vms=1)
    past.quiesce(count=7)


@pytest.mark.parametrize(
    ("ask", "code", "granted"),
    [
        (stale, "SignalStale", 0),
        (cooling, "Cooldown", 0),
        (flapping, "AnticipatedFlapping", 0),
        (stale_way_back, "SignalStale", 0),
        (cooling_way_back, "Cooldown", 0),
        (at_maximum, "AlreadyAtMax", 0),
        (past_the_maximum, "PoolFull", 0),
        (past_the_cap, "CapExceeded", 0),
        (on_full_hosts, "HostsFull", 0),
        (at_minimum, "AlreadyAtMin", 0),
        (down_to_minimum, "AlreadyAtMin", 2),
    ],
)
def test_every_answer_says_how_many_were_asked_for(
    ask: Callable[[Past], None], code: str, granted: int
) -> None:
    past = setting().serving("web", 3)
    ask(past)
    (request, *_) = past.docket.pending(ORG)
    answer = past.round().answers[0]
    assert (answer.request, answer.request_seq, answer.pool) == (request.id, request.seq, "web")
    assert (answer.code, answer.asked, answer.granted) == (code, 7, granted)


def test_without_a_contract_too() -> None:
    past = Past().pool("web").host()
    past.scale(add=7)
    answer, _ = past.answer()
    assert (answer.code, answer.asked) == ("ContractMissing", 7)


def test_whoever_wants_none_gets_none() -> None:
    past = setting()
    past.scale(want=0)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.asked, orders) == ("unchanged", "AlreadyAtDesired", 0, ())


def test_no_more_leavers_come_back_than_are_asked_for() -> None:
    past = setting().serving("web", 3)
    past.quiesce(count=3)
    past.round()
    past.scale(add=1)
    answer, orders = past.answer()
    assert [type(order) for order in orders] == [DrainCancelled]
    assert [line.requested for line in answer.evidence] == [0, 0]


def test_no_more_vms_that_are_off_are_booted_than_are_asked_for() -> None:
    past = setting().asleep("web", 4)
    for vm in ("web-2", "web-3", "web-4"):
        past.quiesced_died(vm)
    past.scale(add=2)
    _, orders = past.answer()
    assert [(type(order), order.vm) for order in orders] == [(WakeOrdered, "web-1"), (BootOrdered, "web-2")]


def test_sixty_four_at_once_are_not_too_many_and_one_more_is_told_with_the_numbers() -> None:
    past = Past().contract(vcpu=1000).pool("web").host(memory_mib=1 << 20)
    past.scale(add=65)
    answer, _ = past.answer()
    assert (answer.code, answer.granted) == ("BatchTooLarge", 0)
    assert [(line.dimension, line.requested) for line in answer.evidence] == [
        ("vcpu", 130),
        ("memory_mib", 65 * 512),
    ]
    past.scale(add=64)
    answer, _ = past.answer()
    assert (answer.code, answer.granted) == ("Granted", 64)


def test_full_hosts_are_told_with_what_they_lacked() -> None:
    past = Past().contract(vcpu=100).pool("web").host(memory_mib=1024)
    past.scale(add=5)
    answer, _ = past.answer()
    line = answer.evidence[-1]
    assert (line.used, line.requested, line.projected, line.limit) == (0, 3 * 512, 3 * 512, 1024)


def test_two_who_shrink_a_pool_in_one_round_leave_its_minimum() -> None:
    past = setting(min_vms=2).serving("web", 5)
    past.quiesce(count=2)
    past.quiesce(count=2)
    decided = past.round()
    assert [(one.code, one.granted) for one in decided.answers] == [("Granted", 2), ("AlreadyAtMin", 1)]
    assert len({order.vm for order in decided.orders if isinstance(order, DrainOrdered)}) == 3


def test_the_evidence_of_a_decision_is_of_both_dimensions_with_their_quota() -> None:
    past = Past().contract(quota=Capacity(vcpu=10, memory_mib=4096)).pool("web").host().serving("web", 1)
    past.waking("web", 1)
    past.scale(add=1)
    answer, _ = past.answer()
    told = [
        (one.dimension, one.used, one.reserved, one.requested, one.projected, one.quota, one.limit)
        for one in answer.evidence
    ]
    assert told == [("vcpu", 2, 2, 2, 6, 10, 11), ("memory_mib", 512, 512, 512, 1536, 4096, 4505)]


def test_a_round_goes_on_until_it_holds_half_of_what_a_decision_may() -> None:
    past = Past().contract(vcpu=10_000).pool("web").host(memory_mib=1 << 30)
    for _ in range(60):
        past.scale(add=4)
    decided = past.round()
    assert MOST_BYTES // 2 < len(msgspec.json.encode(decided)) < MOST_BYTES // 2 + 3000
    assert len(decided.answers) < MOST_ANSWERS


def test_two_pools_are_defined_in_one_round_and_of_one_that_is_given_twice_the_first_holds() -> None:
    past = setting().pool("jobs", min_vms=1)
    web, jobs = past.fleet.pools[ORG, "web"], past.fleet.pools[ORG, "jobs"]
    anew = Past().contract()
    decision = define(ORG, [web, jobs, replace(web, min_vms=7)], anew.state, anew.now, "g1", anew.seq)
    assert decision is not None
    assert [getattr(fact, "definition", None) for fact in decision.facts] == [web, jobs]
    anew.stored(decision)
    again = [web, jobs, replace(web, min_vms=7)]
    assert define(ORG, again, anew.state, anew.now, "g1", anew.seq) is None
