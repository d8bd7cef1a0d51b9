"""The arithmetic of the cap: whole numbers, rounded down in each dimension, over all pools of the org."""

from dataclasses import dataclass
from fractions import Fraction
from typing import get_args

from hypothesis import assume, given
from hypothesis import strategies as st

from events.gate import Answer, BootOrdered, DrainCancelled, Order, WakeOrdered
from schemas.capacity import DIMENSIONS, ENFORCED, NOTHING, Capacity, Size, envelope
from schemas.contract.terms import MOST_QUOTA, Allowance
from services.gate.draft import MOST_MOVES
from tests.given import ORG, Past
from tests.laws.strength import examples

AMOUNTS = st.integers(0, MOST_QUOTA) | st.integers(0, 200)
ALLOWANCES = st.sampled_from(get_args(Allowance))
CAPACITIES = st.builds(Capacity, AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS)
SIZES = st.builds(Size, st.just("any"), st.integers(1, 7), st.integers(32, 999))


# ------------------------------------------------------------------------------------------------------ the envelope


@given(CAPACITIES, ALLOWANCES)
@examples(300)
def test_the_envelope_is_quota_plus_allowance_rounded_down_in_each_dimension(
    quota: Capacity, bp: int
) -> None:
    limit = envelope(quota, bp)
    for dimension in DIMENSIONS:
        exact = Fraction(quota.of(dimension)) * (10_000 + bp) / 10_000
        assert limit.of(dimension) <= exact < limit.of(dimension) + 1


@given(CAPACITIES, CAPACITIES, ALLOWANCES, ALLOWANCES)
@examples(300)
def test_more_quota_or_allowance_never_makes_the_envelope_smaller(
    quota: Capacity, more: Capacity, bp: int, other_bp: int
) -> None:
    least, most = sorted((bp, other_bp))
    small, large = envelope(quota, least), envelope(quota + more, most)
    for dimension in DIMENSIONS:
        assert quota.of(dimension) <= small.of(dimension) <= large.of(dimension)


@given(CAPACITIES, CAPACITIES, ALLOWANCES)
@examples(200)
def test_splitting_a_quota_never_gains_anything(one: Capacity, other: Capacity, bp: int) -> None:
    whole, parts = envelope(one + other, bp), envelope(one, bp) + envelope(other, bp)
    assert all(parts.of(dimension) <= whole.of(dimension) for dimension in DIMENSIONS)


# ------------------------------------------------------------------------------------------------------ the decision


@dataclass(frozen=True)
class Setting:
    """An org with two pools, each with some VMs serving, some on their way, some asleep, and a request about to come."""

    past: Past
    limit: Capacity
    size: Size


@st.composite
def settings_of_two_pools(draw: st.DrawFn) -> Setting:
    size, other = draw(SIZES), draw(SIZES)
    quota = Capacity(vcpu=draw(st.integers(0, 60)), memory_mib=draw(st.integers(0, 9_000)))
    bp = draw(ALLOWANCES)
    past = Past().contract(quota=quota, allowance_bp=bp).host(memory_mib=1 << 30)
    past.pool("web", size, max_vms=draw(st.integers(1, 40))).pool("jobs", other)
    for pool in ("web", "jobs"):
        past.serving(pool, draw(st.integers(0, 4))).asleep(pool, draw(st.integers(0, 4)))
        past.waking(pool, draw(st.integers(0, 3)))
    if draw(st.booleans()):
        past.quiesce("web", draw(st.integers(1, 3)))
        past.round()
    return Setting(past, envelope(quota, bp), size)


def taken(past: Past) -> Capacity:
    return past.usage.used(ORG) + past.usage.reserved(ORG)


def started(orders: tuple[Order, ...]) -> Capacity:
    return sum((one.size.compute for one in orders if isinstance(one, WakeOrdered | BootOrdered)), NOTHING)


def back(orders: tuple[Order, ...]) -> int:
    return sum(isinstance(one, DrainCancelled) for one in orders)


def within(amount: Capacity, limit: Capacity) -> bool:
    return all(amount.of(dimension) <= limit.of(dimension) for dimension in ENFORCED)


def check_evidence(answer: Answer, past: Past, limit: Capacity, before: Capacity) -> None:
    lines = [line for line in answer.evidence if line.dimension in ENFORCED]
    assert [line.dimension for line in lines] == list(ENFORCED)
    for dimension, line in zip(ENFORCED, lines, strict=True):
        assert line.used + line.reserved + line.requested == line.projected
        assert line.used + line.reserved == before.of(dimension)
        assert line.limit == limit.of(dimension)
        assert line.quota == past.usage.contracts[ORG].quota.of(dimension)


@given(settings_of_two_pools(), st.integers(1, 30), st.booleans())
@examples(250)
def test_what_is_granted_is_what_the_evidence_says_and_never_past_the_limit(
    setting: Setting,
    add: int,
    up_to: bool,  # noqa: FBT001
) -> None:
    past, limit = setting.past, setting.limit
    before = taken(past)
    past.scale("web", add=add, up_to=up_to)
    answer, orders = past.answer()
    assert answer.asked == add
    assert answer.granted == len(orders) <= add
    check_evidence(answer, past, limit, before)
    grown = started(orders)
    assert grown == setting.size.compute * (len(orders) - back(orders))
    assert taken(past) == before + grown
    assert grown == NOTHING or within(before + grown, limit)
    if answer.outcome == "admitted":
        assert answer.granted == add
        for line in answer.evidence[: len(ENFORCED)]:
            left = line.projected - line.used - line.reserved
            assert next(value for name, value in grown.items() if name == line.dimension) == left
    elif not up_to:
        assert orders == ()


@given(settings_of_two_pools(), st.integers(1, 90))
@examples(250)
def test_up_to_grants_the_most_that_fits(setting: Setting, add: int) -> None:
    past, limit = setting.past, setting.limit
    before = taken(past)
    staying = past.fleet.staying(ORG, "web")
    most = past.fleet.pools[ORG, "web"].max_vms
    leaving = past.fleet.count(ORG, "web", frozenset({"draining", "drained"}))
    past.scale("web", add=add, up_to=True)
    answer, orders = past.answer()
    if answer.granted == add:
        return
    one_more = len(orders) + 1
    starts = max(0, one_more - leaving)
    over = not within(before + setting.size.compute * starts, limit) or not within(before, limit)
    assert over or staying + one_more > most or one_more > MOST_MOVES, "one more would have fitted"


@given(
    settings_of_two_pools(),
    st.lists(st.tuples(st.sampled_from(["web", "jobs"]), st.integers(1, 6)), max_size=6),
)
@examples(150)
def test_requests_of_one_round_are_decided_as_if_they_had_come_one_after_the_other(
    setting: Setting, wishes: list[tuple[str, int]]
) -> None:
    past, limit = setting.past, setting.limit
    before = taken(past)
    for pool, add in wishes:
        past.scale(pool, add=add)
    sofar = before
    while (decision := past.decide()) is not None:
        decided = past.stored(decision)
        orders = list(decided.orders)
        for answer in decided.answers:
            check_evidence(answer, past, limit, sofar)
            mine, orders = orders[: answer.granted], orders[answer.granted :]
            sofar += started(tuple(mine))
            assert not started(tuple(mine)).vcpu or within(sofar, limit)
        assert orders == []
    assert taken(past) == sofar


@given(st.integers(MOST_QUOTA - 1000, MOST_QUOTA), ALLOWANCES, st.integers(1, 64))
@examples(50)
def test_the_largest_numbers_are_exact(quota: int, bp: int, add: int) -> None:
    size = Size(name="huge", vcpu=1024, memory_mib=2**24)
    past = Past().contract(quota=Capacity(quota, quota, quota, quota), allowance_bp=bp).pool("web", size)
    past.host(memory_mib=2**53)
    past.scale(add=add)
    answer, _ = past.answer()
    assert answer.outcome == "admitted"
    for line, each in zip(answer.evidence, (1024, 2**24), strict=True):
        assert line.limit == quota + quota * bp // 10_000 < 2**53
        assert line.projected == add * each


@given(st.integers(1, 60), ALLOWANCES, st.integers(1, 5), st.integers(0, 30))
@examples(100)
def test_exactly_at_the_limit_is_within_it(vcpu: int, bp: int, each: int, short: int) -> None:
    size = Size(name="any", vcpu=each, memory_mib=32)
    limit = vcpu + vcpu * bp // 10_000
    fitting = limit // each
    assume(1 <= fitting <= MOST_MOVES and short < fitting)
    past = Past().contract(vcpu=vcpu, allowance_bp=bp).pool("web", size).host(memory_mib=1 << 30)
    past.serving("web", short)
    past.scale(add=fitting - short + 1)
    assert past.answer()[0].code == "CapExceeded"
    past.scale(add=fitting - short)
    assert past.answer()[0].code == "Granted"
