"""What holds for every what-if: over the ledgers of simulated worlds, in which everything that can go wrong does."""

import functools
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.envelope import Recorded, read
from events.gate import GateDecided
from projections.fleet.life import UNDER_ORDER
from projections.usage.fold import Usage
from replay.whatif.asking import WhatIf, retold
from replay.whatif.retelling import Retelling
from replay.whatif.rules import ContractSet, PoolSet, Rules
from replay.whatif.survey import Survey
from schemas.capacity import ENFORCED, Capacity, envelope
from schemas.contract.terms import Contract
from services.gate.state import State
from tests.simulation.run import run

SEEDS = range(16)


@functools.cache
def world(seed: int) -> tuple[Recorded, ...]:
    """The ledger of one simulated world."""
    done = run(seed)
    assert done.faults == (), done.faults
    return tuple(read(one.seq, one.stored_ns, one.payload, one.subject) for one in done.stored if one.id)


@functools.cache
def orgs(seed: int) -> tuple[str, ...]:
    return tuple(retold(world(seed), Rules()).contracts)


def rules_for(seed: int, contracts: int = 0) -> st.SearchStrategy[Rules]:
    """Anything set, for so many contracts at least."""
    org = st.sampled_from(orgs(seed) or ("acme",))
    contract = st.builds(
        ContractSet,
        org,
        st.sampled_from([None, 500, 2000]),
        st.dictionaries(st.just("vcpu"), st.integers(0, 64), max_size=1),
    )
    pool = st.builds(
        PoolSet,
        st.none() | org,
        st.just("web"),
        st.dictionaries(
            st.sampled_from(["cooldown_seconds", "horizon_seconds"]), st.integers(1, 600), max_size=2
        )
        | st.builds(lambda most: {"min_vms": 0, "max_vms": most}, st.integers(1, 20)),
    )
    return st.builds(
        Rules,
        st.lists(contract, min_size=contracts, max_size=2).map(tuple),
        st.lists(pool, max_size=2).map(tuple),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_a_what_if_with_the_ledgers_own_rules_gives_its_own_answers_byte_for_byte(seed: int) -> None:
    lines = world(seed)
    told = retold(lines, Rules())
    rounds = [line for line in lines if isinstance(line.fact, GateDecided)]
    assert told.unlike is None
    assert told.same == told.rounds
    assert told.rounds >= sum(
        bool(line.fact.answers) for line in rounds if isinstance(line.fact, GateDecided)
    )
    assert (told.changed, told.undecidable, told.models) == ((), (), {})
    assert told.then == told.now


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_it_does_so_from_any_place_of_the_ledger_on(seed: int, data: st.DataObject) -> None:
    lines = world(seed)
    first = data.draw(st.integers(1, len(lines)))
    told = retold(lines, Rules(), first)
    assert told.unlike is None
    assert told.same == told.rounds


def test_the_bytes_that_are_compared_are_those_that_the_ledger_holds() -> None:
    done = run(2)
    again = 0
    for stored in done.stored:
        line = read(stored.seq, stored.stored_ns, stored.payload, stored.subject)
        if isinstance(line.fact, GateDecided):
            data = msgspec.json.decode(stored.payload, type=dict[str, msgspec.Raw])["data"]
            assert msgspec.json.encode(line.fact) == bytes(data)
            again += 1
    assert again


def begun(lines: tuple[Recorded, ...], rules: Rules) -> Retelling:
    """Both courses, at the beginning of the ledger."""
    survey = Survey()
    for line in lines:
        survey.take(line)
    return Retelling(State(), survey, rules, 0)


def course(lines: tuple[Recorded, ...], rules: Rules) -> Retelling:
    """Both courses, to the end of the ledger."""
    again = begun(lines, rules)
    for line in lines:
        again.take(line)
    again.end()
    return again


def _settled(told: WhatIf) -> tuple[object, ...]:
    return told.changed, told.undecidable, told.models, told.then, told.now, told.refused_now


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_a_what_if_asked_twice_says_the_same(seed: int, data: st.DataObject) -> None:
    rules = data.draw(rules_for(seed))
    assert _settled(retold(world(seed), rules)) == _settled(retold(world(seed), rules))


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_every_answer_of_the_ledger_is_accounted_for_and_the_recorded_course_stays_as_it_was(
    seed: int, data: st.DataObject
) -> None:
    rules = data.draw(rules_for(seed))
    plain, told = retold(world(seed), Rules()), retold(world(seed), rules)
    assert told.then == plain.now
    assert told.refused_then + told.refused_apart == plain.refused_then
    effects = Counter(one.effect for one in told.changed)
    fewer = effects["refusal avoided"] - effects["newly refused"]
    otherwise = sum(
        (one.then.answer.outcome == "refused") - (one.now.answer.outcome == "refused")
        for one in told.changed
        if one.effect not in {"refusal avoided", "newly refused"}
    )
    assert told.refused_then - told.refused_now == fewer + otherwise
    assert told.answers == plain.answers
    lost = {one.seq for one in told.undecidable}
    assert not lost & {one.now.answer.request_seq for one in told.changed}


def set_limit(contract: Contract, rules: Rules) -> Capacity:
    """The signed limit with what is set in its place, reckoned without what is tested here."""
    quota, allowance_bp = dict(contract.quota.items()), contract.allowance_bp
    for one in rules.contracts:
        if one.org == contract.org:
            quota |= one.quota
            allowance_bp = one.allowance_bp or allowance_bp
    return envelope(Capacity(**quota), allowance_bp)


def counted(usage: Usage, org: str) -> Capacity:
    return usage.used(org) + usage.reserved(org)


def course_within_limits(lines: tuple[Recorded, ...], rules: Rules) -> Retelling:
    """Both courses to the end of the ledger, and nothing ever grew past a limit that is set."""
    again = begun(lines, rules)
    for line in lines:
        before = {org: counted(again.now.usage, org) for org in again.now.usage.contracts}
        again.take(line)
        assert again.then is not None
        for org, contract in again.then.usage.contracts.items():
            now, limit, was = counted(again.now.usage, org), set_limit(contract, rules), before.get(org)
            if was is not None and not again.now.usage.strays(org):
                for dimension in ENFORCED:
                    assert now.of(dimension) <= max(was.of(dimension), limit.of(dimension)), (line.seq, org)
    again.end()
    return again


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_the_new_course_never_grows_past_a_limit_that_is_set(seed: int, data: st.DataObject) -> None:
    rules = data.draw(rules_for(seed, contracts=1))
    again = course_within_limits(world(seed), rules)
    for one in again.answers.changed:
        answer, contract = one.now.answer, one.now.contract
        if answer.outcome == "admitted" and answer.granted:
            assert all(line.projected <= line.limit for line in answer.evidence if line.dimension in ENFORCED)
        for each in rules.contracts[-1:]:  # a document that is handed in is answered by its own numbers
            if contract is not None and answer.pool is not None and each.org == one.now.org:
                assert contract.allowance_bp == (each.allowance_bp or contract.allowance_bp)
                assert {line.quota for line in answer.evidence if line.dimension in each.quota} <= {
                    *each.quota.values()
                }


@pytest.mark.parametrize("seed", SEEDS)
def test_under_a_quota_of_nothing_nothing_is_granted(seed: int) -> None:
    """That the laws about limits can fail: what is set is looked at in every world in which anything was granted."""
    rules = Rules(tuple(ContractSet(org, quota={"vcpu": 0, "memory_mib": 0}) for org in orgs(seed)))
    again = course_within_limits(world(seed), rules)
    awake = {org for org, _ in again.now.usage.holdings} & {*orgs(seed)}
    assert all(again.now.usage.strays(org) for org in awake)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_rules_that_say_what_is_said_already_change_nothing(seed: int, data: st.DataObject) -> None:
    state = State()
    for line in world(seed):
        state.apply(line)
    pools = data.draw(st.lists(st.sampled_from(sorted(state.fleet.pools)), unique=True))
    same = tuple(
        PoolSet(org, name, {"cooldown_seconds": state.fleet.pools[org, name].cooldown_seconds})
        for org, name in pools
    )
    told = retold(world(seed), Rules(pools=same))
    assert told.same == told.rounds
    assert told.then == told.now


def test_a_survey_knows_each_round_before_its_place_comes() -> None:
    survey = Survey()
    for line in world(2):
        survey.take(line)
    assert all(one.state_seq < one.seq for one in survey.rounds)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(SEEDS), st.data())
def test_the_new_course_comes_to_rest_as_the_recorded_one_does(seed: int, data: st.DataObject) -> None:
    """No VM waits for ever for an outcome that was recorded for another, or for a round that no gate gave."""
    again = course(world(seed), data.draw(rules_for(seed)))
    again.pass_time(again.at_ns + 86_400 * 10**9)
    waiting = [vm for vm in again.now.fleet.vms.values() if vm.state in UNDER_ORDER]
    assert waiting == []
    assert list(again.now.fleet.needing()) == []
    for key, vm in again.now.fleet.vms.items():
        held = again.now.usage.holdings.get(key)
        assert (held.reservation if held else None) == vm.reservation
