"""What becomes of requests that wait at the same time: one round answers them as if they had come one after another."""

import datetime as dt
from typing import Any

import pytest

from events.contract import ContractTookEffect, ContractVoided
from events.freeze import FreezeRequested, ScalingFrozen
from events.gate import MOST_ANSWERS, DrainCancelled
from events.host import HostChangeRequested
from events.key import KeyRevoked
from events.scale import Origin
from schemas.contract.terms import canonical, fingerprint
from schemas.names import PLATFORM
from services.gate.decide import RULES, define
from services.gate.state import State
from tests import papers
from tests.given import NOW, ORG, SMALL, Past


def setting(vcpu: int = 20, **pool: Any) -> Past:
    return Past().contract(vcpu=vcpu).pool("web", **pool).host()


def freeze(past: Past, pool: str | None = "web") -> None:
    past.happened(
        FreezeRequested(
            org=ORG,
            pool=pool,
            publisher="operator",
            key=str(past.seq),
            actor="ops",
            reason="audit",
            seconds=60,
            received_at=past.now,
        )
    )


# ------------------------------------------------------------------------------------------------- simultaneous wishes


def test_two_who_want_as_many_as_are_enough_for_both_get_them_once() -> None:
    past = setting().asleep("web", 8)
    past.scale(want=3)
    past.scale(want=3)
    past.scale(want=5)
    first, second, third = past.round().answers
    assert (first.asked, first.granted) == (3, 3)
    assert (second.outcome, second.code, second.asked, second.granted) == (
        "unchanged",
        "AlreadyAtDesired",
        0,
        0,
    )
    assert (third.asked, third.granted) == (2, 2)
    assert third.evidence[0].reserved == 6
    assert past.usage.reserved(ORG) == SMALL.compute * 5


def test_of_two_triggers_at_the_same_time_the_second_is_told_when_to_come_back() -> None:
    past = setting().asleep("web", 8)
    past.trigger(add=2)
    past.trigger(add=2)
    first, second = past.round().answers
    assert (first.code, first.granted) == ("Granted", 2)
    assert (second.code, second.retry_at) == ("Cooldown", past.now + dt.timedelta(seconds=90))


def test_a_trigger_that_got_nothing_leaves_the_next_one_its_turn() -> None:
    past = setting(vcpu=4)
    past.trigger(add=9)
    past.trigger(add=1)
    first, second = past.round().answers
    assert (first.code, second.code) == ("CapExceeded", "Granted")


def test_two_who_want_the_same_stock_get_it_once() -> None:
    past = setting().asleep("web", 1)
    past.stock(vms=3)
    past.stock(vms=3)
    past.stock(vms=4)
    first, second, third = past.round().answers
    assert (first.code, first.granted) == ("Granted", 2)
    assert (second.outcome, second.code, second.asked) == ("unchanged", "AlreadyAtDesired", 0)
    assert (third.code, third.granted) == ("Granted", 1)
    assert [line.requested for line in third.evidence] == [2, 512]
    assert [line.reserved for line in third.evidence] == [4, 1024]


def test_what_boots_to_serve_is_part_of_the_stock() -> None:
    past = setting()
    past.scale(add=2)
    past.stock(vms=2)
    past.scale("web", add=1)
    assert [one.code for one in past.round().answers] == ["Granted", "AlreadyAtDesired", "Granted"]


def test_a_woken_sleeper_is_no_second_vm_of_the_stock() -> None:
    past = setting().asleep("web", 2)
    past.scale(add=2)
    past.stock(vms=3)
    _, stock = past.round().answers
    assert (stock.asked, stock.granted) == (1, 1)


@pytest.mark.parametrize("origin", ["trigger", "forecast"])
def test_two_who_would_shrink_a_pool_by_themselves_at_the_same_time_shrink_it_once(origin: Origin) -> None:
    past = setting().serving("web", 6)
    past.quiesce(count=2, origin=origin)
    past.quiesce(count=2, origin=origin)
    first, second = past.round().answers
    assert (first.code, first.granted) == ("Granted", 2)
    assert (second.code, second.retry_at) == ("Cooldown", past.now + dt.timedelta(seconds=90))


def test_a_pool_that_could_not_shrink_has_not_moved() -> None:
    past = setting(min_vms=2).serving("web", 2)
    past.quiesce(origin="forecast")
    past.quiesce(origin="forecast")
    assert [one.code for one in past.round().answers] == ["AlreadyAtMin", "AlreadyAtMin"]


@pytest.mark.parametrize("origin", ["program", "trigger", "forecast"])
def test_nobody_shrinks_a_pool_for_which_somebody_else_asks_more(origin: Origin) -> None:
    past = setting().serving("web", 3)
    past.quiesce(origin=origin)
    past.scale(add=1)
    shrink, grow = past.round().answers
    assert (shrink.outcome, shrink.code, shrink.granted) == ("refused", "AnticipatedFlapping", 0)
    assert grow.code == "Granted"


def test_a_person_shrinks_a_pool_even_so_and_the_demand_gets_its_vm_back_a_round_later_at_the_cap() -> None:
    past = setting(vcpu=10).serving("web", 5)
    past.quiesce(origin="person")
    past.scale(add=1)
    first = past.round()
    assert [one.code for one in first.answers] == ["Granted"]
    second = past.round()
    assert [(one.code, one.granted) for one in second.answers] == [("Granted", 1)]
    (back,) = second.orders
    assert isinstance(back, DrainCancelled)
    assert back.drain == first.orders[0].id
    assert past.usage.used(ORG) == SMALL.compute * 5


def test_a_request_for_another_pool_does_not_wait_for_the_leavers_of_this_one() -> None:
    past = setting().pool("jobs").serving("web", 2)
    past.quiesce(origin="person")
    past.scale("jobs", add=1)
    assert [one.code for one in past.round().answers] == ["Granted", "Granted"]


def test_demand_for_another_pool_does_not_keep_this_one_from_shrinking() -> None:
    past = setting().pool("jobs").serving("web", 2)
    past.quiesce(origin="program")
    past.scale("jobs", add=1)
    assert [one.code for one in past.round().answers] == ["Granted", "Granted"]


def test_a_full_round_leaves_the_rest_to_the_next_in_order() -> None:
    past = setting()
    wishes = [past.scale(want=0).seq for _ in range(MOST_ANSWERS + 3)]
    first, second = past.round(), past.round()
    assert [one.request_seq for one in (*first.answers, *second.answers)] == wishes
    assert (len(first.answers), first.through, second.through) == (
        MOST_ANSWERS,
        wishes[MOST_ANSWERS - 1],
        wishes[-1],
    )
    assert past.decide() is None


def test_a_decision_says_what_it_saw() -> None:
    past = setting()
    assert define(ORG, [], past.state, past.now, "g1", past.seq) is None
    past.scale(add=1)
    seq = past.seq
    first = past.round()
    assert (first.gate, first.state_seq, first.follows, first.now, first.rules) == (
        "g1",
        seq,
        0,
        past.now,
        RULES,
    )
    assert first.contract is not None
    assert (first.contract.id, first.contract.version, first.contract.allowance_bp) == ("acme-2026", 1, 1000)
    past.scale(add=1)
    assert past.round().follows == seq + 1


def test_pools_are_defined_once_and_again_only_when_they_changed() -> None:
    past = Past()
    pools = list(setting().fleet.pools.values())
    decision = define(ORG, pools, past.state, past.now, "g1", past.seq)
    assert decision is not None
    decided = past.stored(decision)
    assert (decided.through, decided.answers, decided.contract, decided.rules) == (0, (), None, RULES)
    assert (decided.org, decided.gate, decided.now) == (ORG, "g1", past.now)
    assert past.fleet.pools == {(ORG, "web"): pools[0]}
    assert define(ORG, pools, past.state, past.now, "g1", past.seq) is None


def test_a_definition_answers_nobody() -> None:
    past = setting()
    past.scale(add=1)
    past.round()
    past.scale(add=1)
    through = past.docket.through(ORG)
    pools = [*setting(min_vms=1).fleet.pools.values(), *setting().fleet.pools.values()]
    decision = define(ORG, pools, past.state, past.now, "g1", past.seq)
    assert decision is not None
    assert (len(decision.facts), decision.decided.through, decision.decided.state_seq) == (
        1,
        through,
        past.seq,
    )


def test_who_has_never_been_heard_of_is_told_nothing() -> None:
    past = Past()
    assert past.decide() is None
    assert State().docket.through("nobody") == 0


# --------------------------------------------------------------------------------------------- a round of its own


def test_a_change_of_the_rules_waits_until_those_before_it_are_answered() -> None:
    past = setting()
    past.scale(add=1)
    freeze(past)
    past.scale(add=1)
    before = past.decide()
    assert before is not None
    assert before.facts == ()
    assert [one.code for one in past.stored(before).answers] == ["Granted"]
    change = past.decide()
    assert change is not None
    assert [type(fact) for fact in change.facts] == [ScalingFrozen]
    assert [one.code for one in past.stored(change).answers] == ["Done"]
    assert [one.code for one in past.round().answers] == ["Frozen"]


def test_no_answer_and_no_order_stands_beside_a_change_of_the_rules() -> None:
    past = setting().asleep("web", 1)
    freeze(past)
    past.scale(add=1)
    freeze(past, None)
    for _ in range(3):
        decision = past.decide()
        assert decision is not None
        decided = past.stored(decision)
        assert len(decided.answers) == 1
        assert not (decision.facts and decided.orders)


def test_a_change_that_was_refused_changes_nothing_for_those_behind_it() -> None:
    past = setting()
    freeze(past, "nosuch")
    past.scale(add=1)
    assert [one.code for one in past.round().answers] == ["PoolUnknown", "Granted"]


def test_an_addendum_whose_day_has_come_takes_effect_before_anybody_is_answered() -> None:
    past = setting(vcpu=10)
    before = papers.terms(ORG, 10)
    day = NOW + dt.timedelta(hours=1)
    past.happened(papers.accepted(papers.addendum(before, day, quota=papers.terms(ORG, 2).quota), past.now))
    past.scale(add=1)
    past.now = day - dt.timedelta(microseconds=1)
    assert past.round().answers[0].code == "Granted"
    past.now = day
    past.scale(add=1)
    decision = past.decide()
    assert decision is not None
    (effect,) = decision.facts
    assert isinstance(effect, ContractTookEffect)
    assert effect.took_effect_at == day
    ripened = past.stored(decision)
    assert (ripened.answers, ripened.orders, ripened.through) == ((), (), past.docket.through(ORG))
    assert ripened.contract is not None
    assert ripened.contract.version == 1, "the round was decided by the terms before it"
    answered = past.round()
    assert answered.answers[0].code == "CapExceeded"
    assert answered.contract is not None
    assert answered.contract.version == 2


def test_two_addenda_that_are_due_take_effect_one_after_the_other() -> None:
    past = setting(vcpu=10)
    first = papers.addendum(
        papers.terms(ORG, 10), NOW + dt.timedelta(hours=1), quota=papers.terms(ORG, 4).quota
    )
    second = papers.addendum(first, NOW + dt.timedelta(hours=1), quota=papers.terms(ORG, 8).quota)
    past.happened(papers.accepted(first, past.now))
    past.happened(papers.accepted(second, past.now))
    past.later(3600)
    past.scale(add=4)
    assert [past.round().answers, past.round().answers] == [(), ()]
    answer, _ = past.answer()
    assert (answer.code, answer.evidence[0].limit) == ("Granted", 8)


def test_an_addendum_signed_by_a_key_that_was_revoked_since_is_void_with_all_that_build_on_it() -> None:
    past = setting(vcpu=10).keys()
    first = papers.addendum(papers.terms(ORG, 10), NOW + dt.timedelta(hours=1))
    second = papers.addendum(first, NOW + dt.timedelta(hours=2))
    past.happened(papers.accepted(first, past.now))
    past.happened(papers.accepted(second, past.now))
    past.happened(
        KeyRevoked(
            org=PLATFORM,
            public_key=papers.public_key(PLATFORM),
            actor="ops",
            reason="lost",
            revoked_at=past.now,
        )
    )
    past.later(7200)
    past.scale(add=1)
    decision = past.decide()
    assert decision is not None
    assert decision.facts == tuple(
        ContractVoided(
            org=ORG,
            fingerprint=fingerprint(canonical(one)),
            contract="acme-2026",
            version=one.version,
            code="KeyRevoked",
            voided_at=past.now,
        )
        for one in (first, second)
    )
    assert past.stored(decision).answers == ()
    assert past.state.contracts.to_come(ORG) == ()
    assert past.answer()[0].code == "Granted", "what is in force stays in force"


def test_a_host_that_changes_is_asked_for_under_the_platforms_fence_alone() -> None:
    past = setting()
    past.happened(
        HostChangeRequested(
            org=ORG,
            host="h1",
            change="fence",
            publisher="operator",
            key="k",
            actor="ops",
            reason="dead",
            received_at=past.now,
        )
    )
    answer, _ = past.answer()
    assert (answer.outcome, answer.code, answer.pool) == ("refused", "HostUnknown", None)


def test_leavers_that_one_request_brings_back_are_there_for_the_next() -> None:
    past = setting().serving("web", 3)
    past.quiesce(count=2)
    past.round()
    past.scale(want=3)
    past.scale(want=3)
    past.scale(want=4)
    first, second, third = past.round().answers
    assert (first.code, first.granted) == ("Granted", 2)
    assert (second.code, second.granted) == ("AlreadyAtDesired", 0)
    assert (third.code, third.granted) == ("Granted", 1)
