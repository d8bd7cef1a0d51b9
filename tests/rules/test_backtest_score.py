"""The score of a forecast: each word of its definition, and the whole of it against the definition written out in loops."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from replay.backtest.policies import POLICIES
from replay.backtest.score import (
    Course,
    ScoreError,
    Terms,
    awake,
    course,
    halves,
    oracle,
    scored,
)
from replay.backtest.windows import largest_of_last, largest_of_next, mean_of_last

DAY = 86_400


def wave(step: int, days: float, seed: int = 7) -> NDArray[np.float64]:
    """A day's rise and fall with noise on it."""
    count = int(days * DAY / step)
    at = np.arange(count) * step
    noise = np.random.default_rng(seed).normal(0, 60, count)
    return np.maximum(0.0, 1000 - 800 * np.cos(2 * np.pi * at / DAY) + noise)


def brute(
    demand: NDArray[np.float64], targets: NDArray[np.int64], terms: Terms
) -> tuple[int, int, float, float]:
    """Units, hits, idle and short as the definition says them, one sample after another."""
    step, vms = terms.step_seconds, terms.vms
    held, smooth = math.ceil(90 / step), max(1, 60 // step)
    first = terms.teach_days * DAY // step
    cap = float(np.quantile(demand[first:], 0.9995)) / (0.9 * vms)
    need = [
        min(vms, max(1, math.ceil(float(np.mean(demand[max(0, t - smooth + 1) : t + 1])) / cap)))
        for t in range(len(demand))
    ]
    active = [max(need[max(0, t - held + 1) : t + 1]) for t in range(len(demand))]
    every = max(15, step)
    in_force: list[int] = []
    made = -1
    for t in range(len(demand)):
        if t == 0 or t * step >= (made + 1) * every:
            made += 1
        in_force.append(int(targets[made]))
    units = hits = short = 0
    used = 0.0
    for t in range(first, len(demand)):
        ready = max(in_force[max(0, t - held) : t], default=0)
        if t:
            for vm in range(active[t - 1] + 1, active[t] + 1):
                units += 1
                hits += vm <= ready
        used += min(vms, max(ready, active[t]) + terms.reserve)
        short += need[t] - ready > terms.reserve
    count = len(demand) - first
    return units, hits, 1 - used / count / vms, short / count


@pytest.mark.parametrize("step", [1, 5, 7, 15, 20, 60, 300, 1800])
def test_the_score_is_what_the_definition_says_sample_by_sample(step: int) -> None:
    demand = wave(step, min(2.5, 4000 * step / DAY))
    terms = Terms(step, vms=20, reserve_bp=500, teach_days=0)
    given = course(demand, terms)
    targets = POLICIES["noise"].targets(given, 1.0)
    [score] = scored(given, targets)
    units, hits, idle, short = brute(demand, targets, terms)
    assert (score.units, score.hits) == (units, hits)
    assert score.idle == pytest.approx(idle, abs=1e-12)
    assert score.short == pytest.approx(short, abs=1e-12)


@pytest.mark.parametrize(("step", "held", "smooth"), [(1, 90, 60), (5, 18, 12), (60, 2, 1), (300, 1, 1)])
def test_windows_of_90_s_round_up_and_the_mean_of_60_s_rounds_down(step: int, held: int, smooth: int) -> None:
    assert (Terms(step).hold_samples, Terms(step).smooth_samples) == (held, smooth)


@pytest.mark.parametrize(
    ("step", "at"),
    [(1, [0, 15, 30]), (5, [0, 3, 6]), (7, [0, 3, 5]), (15, [0, 1, 2]), (20, [0, 1, 2]), (60, [0, 1, 2])],
)
def test_decisions_fall_on_the_first_sample_and_every_15_s_or_at_each_longer_step(
    step: int, at: list[int]
) -> None:
    given = course(wave(step, 0.1), Terms(step, teach_days=0))
    assert given.at[:3].tolist() == at


def stairs(*needs: int) -> Course:
    """A trace of one-minute samples, each so many VMs of the size 1; ten VMs in all."""
    # The quantile is of nearly the highest sample: 9 of 10 VMs.
    return course(np.array([*needs, *[9.0] * 5000], dtype=np.float64), Terms(60, vms=10, teach_days=0))


def test_a_vm_that_was_named_before_it_was_needed_is_a_hit_and_one_named_with_the_need_is_none() -> None:
    given = stairs(1, 1, 1, 3, 3, 3)
    early = np.full(len(given.at), 9)
    early[:3] = [1, 1, 3]
    late = np.full(len(given.at), 9)
    late[:4] = [1, 1, 1, 3]
    part = slice(0, 6)
    assert [score.hits for score in scored(given, early, part)] == [2]
    assert [score.hits for score in scored(given, late, part)] == [0]
    assert [score.units for score in scored(given, late, part)] == [2]


def test_each_of_several_units_is_counted_for_itself() -> None:
    given = stairs(1, 1, 1, 5)
    half = np.full(len(given.at), 3)
    [score] = scored(given, half, slice(0, 4))
    assert (score.units, score.hits) == (4, 2)


def test_a_target_serves_as_long_as_it_is_in_force_and_90_s_after() -> None:
    given = course(wave(5, 0.1), Terms(5, teach_days=0))
    targets = np.ones(len(given.at), dtype=np.int64)
    targets[10] = (
        7  # decided on sample 30, in force until sample 32, awake with sample 31 for 18 samples after sample 32
    )
    ready = awake(given, targets)
    assert np.flatnonzero(ready == 7).tolist() == list(range(31, 51))


def test_short_is_what_even_the_reserve_did_not_cover() -> None:
    given = course(
        np.array([1.0, 1, 1, 4, 4, *[9.0] * 5000]), Terms(60, vms=10, reserve_bp=2000, teach_days=0)
    )
    for target, short in ((1, 0.5), (2, 0.0)):
        targets = np.full(len(given.at), target)
        [score] = scored(given, targets, slice(1, 5))
        assert score.short == short


def test_the_oracle_hits_always_and_regrets_nothing() -> None:
    for step in (5, 60, 300):
        given = course(wave(step, 9), Terms(step))
        [score] = scored(given, oracle(given))
        assert (score.hit, score.regret, score.short) == (1.0, 0.0, 0.0)


def test_demand_that_never_rises_has_no_unit_and_misses_none() -> None:
    given = course(np.full(9 * 288, 5.0), Terms(300))
    [score] = scored(given, oracle(given))
    assert (score.units, score.hit) == (0, 1.0)


def test_the_first_seven_days_are_not_scored_and_the_rest_has_two_halves() -> None:
    given = course(wave(300, 11), Terms(300))
    whole, first, second = halves(given)
    assert whole == slice(7 * 288, 11 * 288)
    assert (first.stop, first.start, second.stop) == (second.start, whole.start, whole.stop)
    parts = scored(given, oracle(given), *halves(given))
    assert parts[0].units == parts[1].units + parts[2].units


def test_a_trace_that_is_over_when_its_lessons_are_says_so_with_its_numbers() -> None:
    with pytest.raises(ScoreError) as refused:
        course(wave(300, 6.5), Terms(300))
    assert refused.value.code == "TraceUnscorable"
    assert str(refused.value) == (
        "The trace is 6.50 days long (1,872 samples, one each 300 s), and its first 7 days only teach: nothing is left to "
        "score. Give a longer trace, or --teach-days 0."
    )


def test_a_trace_without_demand_has_no_size_of_a_vm() -> None:
    with pytest.raises(ScoreError) as refused:
        course(np.zeros(9 * 288), Terms(300))
    assert refused.value.code == "TraceUnscorable"
    assert "no demand in 99.95 % of its 576 samples" in str(refused.value)


def test_targets_beyond_the_pool_and_below_nothing_count_as_its_bounds() -> None:
    given = course(wave(300, 9), Terms(300))
    for wild, tame in ((10**9, 64), (-5, 0)):
        [one] = scored(given, np.full(len(given.at), wild))
        [other] = scored(given, np.full(len(given.at), tame))
        assert one == other


def test_one_target_per_decision_is_asked_for() -> None:
    given = course(wave(300, 9), Terms(300))
    with pytest.raises(ValueError, match="2591 targets for 2592 decisions"):
        scored(given, np.ones(2591, dtype=np.int64))


@pytest.mark.parametrize("samples", [1, 2, 3, 5, 17, 18, 90, 400])
def test_windows_hold_exactly_their_samples(samples: int) -> None:
    values = np.random.default_rng(3).integers(0, 1000, 300).astype(np.float64)
    for t in (0, 1, 16, 17, 18, 89, 90, 250, 299):
        past = values[max(0, t - samples + 1) : t + 1]
        assert largest_of_last(values, samples)[t] == past.max()
        assert largest_of_next(values, samples)[t] == values[t : t + samples].max()
        assert mean_of_last(values, samples)[t] == pytest.approx(past.mean())


@pytest.mark.parametrize("policy", [name for name in POLICIES if name != "oracle"])
def test_no_rule_sees_what_is_yet_to_come(policy: str) -> None:
    """Whatever follows sample t, the targets up to t are the same."""
    rule = POLICIES[policy]
    for step in (5, 300):
        demand = wave(step, 1 if step == 5 else 16)
        other = demand.copy()
        cut = len(demand) * 3 // 4
        # The same values in another order: the size of a VM stays, and only the future differs.
        other[cut:] = other[cut:][::-1]
        terms = Terms(step, teach_days=0)
        given, changed = course(demand, terms), course(other, terms)
        before = given.at < cut
        assert given.cap == changed.cap
        assert (rule.targets(given, rule.usual)[before] == rule.targets(changed, rule.usual)[before]).all()
