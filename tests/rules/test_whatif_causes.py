"""What if: requests that lost their cause, and decisions that are in the ledger twice."""

import pytest

from events.gate import GateDecided
from replay.whatif.rules import ContractSet, PoolSet, Rules
from replay.whatif.wording import document
from schemas.contract.terms import Override
from tests.rules.retold import Told
from tests.rules.test_whatif import TWENTY, at_cap


def test_a_triggers_request_is_undecidable_once_another_number_of_vms_would_have_served() -> None:
    past = at_cap()
    past.scale(add=1)
    past.round()
    past.later(30)
    past.trigger()
    past.round()
    told = past.again(TWENTY)
    (lost,) = told.undecidable
    assert (lost.pool, lost.why) == ("web", "6 VMs would have served instead of 5")
    assert lost.then is not None
    assert lost.then.answer.code == "CapExceeded"
    assert [one.then.answer.request_seq for one in told.changed] == [past.first]


def test_what_is_undecidable_counts_neither_as_refused_then_nor_as_refused_now() -> None:
    past = at_cap()
    past.scale(add=1, origin="person")
    past.round()
    for _ in range(3):
        past.later(95)
        past.trigger()
        past.round()
    told = past.again(TWENTY)
    assert len(told.undecidable) == 3
    assert (told.answers, told.refused_then, told.refused_now, told.refused_apart) == (4, 1, 0, 3)


def test_a_triggers_request_is_decided_again_when_the_pool_has_served_alike_for_its_horizon() -> None:
    past = at_cap()
    past.pool("web", drain_seconds=1)
    past.answered(past.scale(add=1))
    past.later(30)
    past.answered(past.quiesce(count=1, origin="person"))
    told = past.again(TWENTY)
    assert [one.effect for one in told.changed] == ["refusal avoided"]
    # Then 4 serve and now 5: for good, so that no later trigger can be said to have asked.
    past.later(600)
    past.trigger()
    past.round()
    (lost,) = past.again(TWENTY).undecidable
    assert lost.why == "5 VMs would have served instead of 4"


@pytest.mark.parametrize(("signed", "lost"), [(None, 0), (900, 1)])
def test_a_measurement_is_fresh_for_the_horizon_that_the_contract_says(signed: int | None, lost: int) -> None:
    past = Told()
    past.contract(vcpu=2, pools={"web": Override(horizon_seconds=signed)} if signed else {})
    past.pool("web", min_vms=1, horizon_seconds=30).host().asleep("web", 4).serving("web", 1)
    past.begin()
    past.scale(add=1, origin="person")  # refused at the cap then, and granted now
    past.round()
    past.later(100)
    past.quiesce(count=5, origin="person")  # so that one more drains now
    past.round()
    past.later(110)
    past.scale(add=1, sample=past.measured(seconds_old=80), origin="trigger")
    past.round()
    told = past.again(Rules(contracts=(ContractSet("acme", quota={"vcpu": 4}),)))
    assert len(told.undecidable) == lost


@pytest.mark.parametrize(("cooldown_seconds", "lost"), [(60, []), (90, []), (150, [1]), (300, [1, 2])])
@pytest.mark.parametrize("before", [0, 1])
def test_what_a_trigger_asked_within_a_longer_cooldown_is_undecidable(
    cooldown_seconds: int, lost: list[int], before: int
) -> None:
    """A trigger keeps still by itself: it would not have asked, and the gate would not have refused."""
    past = Told()
    past.contract(vcpu=100).pool("web", cooldown_seconds=90).host().asleep("web", 4)
    places: list[int] = []
    for place in range(3):
        if place == before:  # what it asked before the window counts
            past.begin()
            past.later(-60)
        places.append(past.trigger().seq)
        for order in past.round().orders:
            past.served(order.vm, 1)
        past.later(94)
    told = past.again(Rules(pools=(PoolSet(None, "web", {"cooldown_seconds": cooldown_seconds}),)))
    held = [one.seq for one in told.undecidable if "kept still until" in one.why]
    assert held == [places[one] for one in lost]
    others = {one.why for one in told.undecidable if one.seq not in held}
    assert others <= {"1 VMs would have served instead of 2", "2 VMs would have served instead of 3"}
    assert told.changed == ()
    assert document(told, ())["notes"] != []


def test_requests_of_people_and_programs_are_taken_to_have_been_made_all_the_same() -> None:
    past = at_cap()
    past.scale(add=1)
    past.round()
    past.later(30)
    for origin in ("person", "program", "forecast"):
        past.scale(add=1, origin=origin)
        past.round()
    assert past.again(TWENTY).undecidable == ()


# ----------------------------------------------------------------------------------------------------------- copies


def stored_again(past: Told, rules: Rules | None = None) -> tuple[object, ...]:
    told = past.again(rules)
    counted = told.answers, told.refused_then, told.refused_now, told.unanswered, len(told.undecidable)
    return (
        told.rounds,
        told.same,
        told.unlike is None,
        counted,
        [one.effect for one in told.changed],
        told.now,
    )


@pytest.mark.parametrize("rules", [Rules(), TWENTY])
@pytest.mark.parametrize("later", [0, 1])
def test_a_copy_of_a_round_is_no_round(rules: Rules, later: int) -> None:
    """No fold takes it: it follows another decision than the last."""
    plain, copied = at_cap(), at_cap()
    for past in (plain, copied):
        rounds: list[GateDecided] = []
        for _ in range(2):
            past.scale(add=1, origin="person")
            rounds.append(past.round())
            past.later(30)
        past.happened(rounds[later] if past is copied else past.lines[0].fact)
        past.scale(add=1, origin="person")
        past.round()
        past.later(60)
        past.host("h2")
    assert stored_again(copied, rules) == stored_again(plain, rules)


@pytest.mark.parametrize("rules", [Rules(), TWENTY])
def test_a_copy_of_a_round_from_before_the_window_is_no_round(rules: Rules) -> None:
    plain, copied = at_cap(), at_cap()
    for past in (plain, copied):
        past.scale(add=1, origin="person")
        decided = past.round()
        past.later(30)
        past.scale(add=1, origin="person")
        past.round()
        past.begin()
        past.happened(decided if past is copied else past.lines[0].fact)
        past.scale(add=1, origin="person")
        past.round()
        past.later(60)
        past.host("h2")
    assert stored_again(copied, rules) == stored_again(plain, rules)
