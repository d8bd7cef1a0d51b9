"""A trigger fires on what its measurements do together: no single sample, however high, is ever the reason."""

import datetime as dt
import math

from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.capacity import Size
from schemas.pool import Pool, Trigger
from services.signal.behind import taken
from services.signal.decide import Streak, due, lengthen
from services.signal.hearing import Hearing
from services.signal.port import Measurement
from services.signal.questions import of_trigger
from services.signal.slopes import WINDOW_SECONDS, Point, expected, plainly
from tests.laws.strength import examples

VALUES = st.floats(-1e300, 1e300) | st.floats(0, 1000) | st.integers(0, 300).map(float)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)


@st.composite
def windows(draw: st.DrawFn) -> list[Point]:
    """Up to five minutes of samples, as often as somebody scrapes, some of them missed."""
    every = draw(st.sampled_from((1, 5, 15, 30)))
    taken = [at for at in range(0, int(WINDOW_SECONDS), every) if draw(st.integers(0, 9))]
    rise = draw(st.floats(-5, 5))
    base = draw(st.floats(0, 1000))
    noise = draw(st.sampled_from((0.0, 1.0, 50.0)))
    if draw(st.booleans()):
        return [(float(at), draw(VALUES)) for at in taken[:40]]
    return [(float(at), base + rise * at + noise * draw(st.floats(-1, 1))) for at in taken[:40]]


def fires(value: float | None, above: float) -> bool:
    return value is not None and value > above


@given(windows(), st.data(), VALUES, VALUES, st.integers(1, 3600))
@examples(150)
def test_what_does_not_pass_the_limit_by_the_medians_never_fires_whatever_one_sample_is_replaced_by(
    points: list[Point], data: st.DataObject, other: float, above: float, horizon: int
) -> None:
    assume(points)
    place = data.draw(st.integers(0, len(points) - 1))
    replaced = [*points[:place], (points[place][0], other), *points[place + 1 :]]
    if not fires(plainly(points, horizon), above):
        assert not fires(expected(replaced, horizon), above)


@given(windows(), VALUES, st.integers(1, 3600))
@examples(100)
def test_what_fires_passes_the_limit_by_the_medians_as_well(
    points: list[Point], above: float, horizon: int
) -> None:
    if fires(expected(points, horizon), above):
        assert fires(plainly(points, horizon), above)


@given(st.floats(0, 249), VALUES, st.integers(0, 59), st.integers(2, 10))
@examples(100)
def test_one_sample_among_others_that_do_not_rise_never_sets_a_trigger_off(
    calm: float, peak: float, place: int, samples: int
) -> None:
    trigger = Trigger("p99_ms", 250.0, samples=samples)
    pool = Pool("acme", "web", Size("small", 1, 512), "tiny", triggers=(trigger,))
    hearing = Hearing()
    for number in range(60):
        measured = Measurement(peak if number == place else calm, EPOCH + dt.timedelta(seconds=5 * number))
        assert hearing.due(pool, of_trigger(trigger), measured) == []


@given(st.lists(st.floats(0, 500), max_size=40), st.integers(2, 5))
@examples(100)
def test_a_streak_is_as_many_successive_samples_above_the_limit(values: list[float], samples: int) -> None:
    trigger = Trigger("p99_ms", 250.0, samples=samples)
    streak, above = Streak(), 0
    for number, value in enumerate(values):
        streak = lengthen(streak, trigger, value, EPOCH + dt.timedelta(seconds=5 * number))
        above = above + 1 if value > 250.0 else 0
        assert due(streak, trigger) is (above >= samples)


@given(st.floats(0.5, 5.0), st.floats(0, 240), st.sampled_from((1, 5, 15)))
@examples(40)
def test_a_steady_rise_fires_before_the_limit_is_passed_and_not_before_it_is_within_the_horizon(
    rise: float, base: float, every: int
) -> None:
    trigger = Trigger("p99_ms", 250.0, samples=3)
    pool = Pool("acme", "web", Size("small", 1, 512), "tiny", triggers=(trigger,), horizon_seconds=90)
    hearing = Hearing()
    fired_at = None
    for number in range(1000):
        at = number * every
        value = base + rise * at
        if value > 250.0:
            break
        measured = Measurement(value, EPOCH + dt.timedelta(seconds=at))
        if fired_at is None and hearing.due(pool, of_trigger(trigger), measured):
            fired_at = at
            # Left out of account is one sample of each kind: the level may lag by some of them.
            assert value + rise * 90 > 250.0 - 1e-6
    passes_at = (250.0 - base) / rise
    if passes_at > 12 * every + 60 + every:
        assert fired_at is not None
        assert fired_at <= max(passes_at - 90, 12 * every + 60) + 2 * every


def test_a_rise_of_infinite_steepness_is_a_number() -> None:
    points = [(5.0 * number, (number - 10) * 1e299) for number in range(20)]
    found = expected(points, 3600)
    assert found is not None
    assert not math.isnan(found)


def test_what_rose_and_stands_still_or_has_fallen_back_rises_no_more() -> None:
    for values in ([1.0] * 12 + [50.0] * 16 + [1.0] * 4, [1.0] * 20 + [50.0] * 40, [50.0] * 40):
        assert expected([(5.0 * number, value) for number, value in enumerate(values)], 90) is None


@given(
    st.lists(st.floats(0.1, 20), min_size=1, max_size=5),
    st.sampled_from((5.0, 15.0, 60.0)),
    st.integers(2, 4),
    st.integers(20, 40),
    st.data(),
)
@examples(100)
def test_one_high_scrape_of_one_target_never_sets_a_computed_query_off_however_often_it_is_asked(
    phases: list[float], apart: float, samples: int, scrapes: int, data: st.DataObject
) -> None:
    query = "max(queue_depth)"
    trigger = Trigger(query, 250.0, samples=samples)
    pool = Pool("acme", "web", Size("small", 1, 512), "tiny", triggers=(trigger,))
    target, high = data.draw(st.integers(0, len(phases) - 1)), data.draw(st.integers(1, scrapes))
    hearing, new = Hearing(), 0
    for number in range(int(apart * scrapes / 5)):
        computed_at = 100.0 + 5 * number
        last = [int((computed_at - phase) // apart) for phase in phases]
        times = [phase + apart * scrape for phase, scrape in zip(phases, last, strict=True)]
        value = 1000.0 if last[target] == high else 10.0
        bounds = taken(times, computed_at)
        measured = Measurement(value, EPOCH + bounds.newest * SECOND, EPOCH + bounds.oldest * SECOND)
        for verdict in hearing.judge(pool, query, measured, EPOCH + computed_at * SECOND):
            if verdict.why is None:
                new += 1
                assert hearing.due(pool, verdict.question, measured) == []
    assert new >= 5 * int(apart * scrapes / 5) // (apart + 10), "a sample at most two looks after each scrape"
