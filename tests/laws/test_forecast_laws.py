"""What a forecast never does, whatever it is fed: fail, grow without bound, or let one pool be seen in another's target."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.forecaster.model import Forecast, Model
from tests.laws.strength import examples

FIELDS = ("target", "level", "slope", "seasonal", "margin", "history_ticks")
START = 1_699_833_600
GARBAGE = (
    st.sampled_from((math.nan, math.inf, -math.inf, -1.0, -0.0, 0.0, 5e-324, 1e6, 1e7, 1e300)) | st.floats()
)
USUAL = st.floats(0, 200)
TICKS = st.sampled_from((15, 20, 30, 60, 300, 1_800))


@st.composite
def courses(
    draw: st.DrawFn, pools: int, values: st.SearchStrategy[float], longest: int = 8
) -> NDArray[np.float64]:
    """Some demand per tick and pool: each held for a while, so that a course of hundreds of ticks is a few numbers."""
    pieces = draw(
        st.lists(st.tuples(st.integers(1, 12), st.tuples(*[values] * pools)), min_size=1, max_size=longest)
    )
    return np.array([piece for count, piece in pieces for _ in range(count)])


def same(mine: Forecast, theirs: Forecast, pools: NDArray[np.int64] | slice = slice(None)) -> bool:
    return all(
        np.array_equal(getattr(mine, name)[pools], getattr(theirs, name), equal_nan=True) for name in FIELDS
    )


@given(courses(2, GARBAGE), TICKS, st.lists(st.integers(1, 50_000), max_size=4))
@examples(40)
def test_whatever_it_is_fed_targets_are_whole_and_bounded_and_nothing_it_keeps_is_infinite(
    course: NDArray[np.float64], tick: int, gaps: list[int]
) -> None:
    model = Model(2, tick_seconds=tick)
    number = START // tick
    for place, values in enumerate(course):
        number += gaps[place] if place < len(gaps) else 1
        made = model.tick(number, values)
        assert ((made.target >= 0) & (made.target <= 10_000_000)).all()
        seen = made.history_ticks > 0
        assert (made.target[seen] >= 1).all()
        assert np.isfinite(made.level[seen]).all()
        assert np.isfinite(made.margin[seen]).all()
        assert (made.margin[seen] >= 0).all()
        assert not np.isinf(made.seasonal).any()
        assert not np.isinf(model.peak_within(1_800)).any()
    unknown = {"season.mean", "season.before", "spread.by_minute", "spread.by_time"}
    for name, array in model.state().items():
        assert not np.isinf(array).any(), name
        assert name in unknown or not np.isnan(array).any(), name


@given(courses(4, USUAL | st.just(math.nan)), TICKS, st.permutations(range(4)), st.integers(1, 4))
@examples(25)
def test_a_pools_forecast_is_the_same_alone_in_company_and_in_any_place(
    course: NDArray[np.float64], tick: int, order: list[int], count: int
) -> None:
    few = np.array(order[:count])
    company, others = Model(4, tick_seconds=tick), Model(count, tick_seconds=tick)
    for place, values in enumerate(course):
        number = START // tick + place
        assert same(company.tick(number, values), others.tick(number, values[few]), few)


@given(courses(3, USUAL), TICKS, st.integers(0, 60), st.integers(0, 60))
@examples(15)
def test_pools_that_come_and_go_leave_the_others_as_they_are(
    course: NDArray[np.float64], tick: int, comes: int, goes: int
) -> None:
    steady, changing = Model(1, tick_seconds=tick), Model(1, tick_seconds=tick)
    late = Model(2, tick_seconds=tick)
    goes = max(goes, comes)
    for place, values in enumerate(course):
        number = START // tick + place
        if place == comes:
            changing.add(2)
        if place == goes and changing.pools > 1:
            changing.keep(np.array([2, 0]))
        mine = steady.tick(number, values[:1])
        if changing.pools == 1:
            assert same(changing.tick(number, values[:1]), mine)
        elif changing.pools == 3:
            late.tick(number, values[1:])
            assert same(changing.tick(number, values), mine, np.array([0]))
        else:
            made = changing.tick(number, values[[2, 0]])
            assert same(made, mine, np.array([1]))
            own = late.tick(number, values[1:])
            for name in FIELDS:
                assert np.array_equal(getattr(own, name)[1:], getattr(made, name)[:1], equal_nan=True), name


@given(courses(2, USUAL | st.just(math.nan)), TICKS, st.integers(0, 100))
@examples(15)
def test_a_model_that_is_saved_and_read_back_at_any_tick_goes_on_with_the_same_targets(
    course: NDArray[np.float64], tick: int, at: int
) -> None:
    whole = Model(2, tick_seconds=tick)
    other = whole
    for place, values in enumerate(course):
        number = START // tick + place
        if place == at:
            other = Model.of_state(whole.state(), tick_seconds=tick)
        mine = whole.tick(number, values)
        if other is not whole:
            assert same(mine, other.tick(number, values))


@given(courses(1, USUAL), TICKS)
@examples(15)
def test_a_tick_without_a_sample_teaches_nothing(course: NDArray[np.float64], tick: int) -> None:
    model = Model(1, tick_seconds=tick)
    for place, values in enumerate(course):
        model.tick(START // tick + place, values)
    before = model.state()
    model.tick(model.number + 1, np.array([math.nan]))
    after = model.state()
    for name in ("lean.squares", "spread.squares", "spread.burst", "recent.last_seen", "lead.learned"):
        assert np.array_equal(before[name], after[name]), name
    assert after["trial.units"] <= before["trial.units"]
