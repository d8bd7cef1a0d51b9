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


def test_a_pool_that_is_sampled_every_second_fourth_or_eighth_tick_learns_and_keeps_at_most_twice_as_much_idle() -> (
    None
):
    """Samples are means since the one before, as a rate over the scrape's distance is."""
    day, hold = 5_760, 6
    chance = np.random.default_rng(5)
    demand = 30 + 20 * np.sin(2 * np.pi * np.arange(day) / day) + 0.3 * chance.normal(size=day)
    every = np.array([1, 2, 4, 8])
    model = Model(len(every))
    wanted = np.zeros((day, len(every)))
    active = np.zeros(day)
    for place in range(day):
        means = [float(demand[max(0, place - apart + 1) : place + 1].mean()) for apart in every.tolist()]
        wanted[place] = model.tick(START // 15 + place, np.where(place % every == 0, means, math.nan)).target
        active[place] = math.ceil(float(demand[max(0, place - 3) : place + 1].mean()))
    late = range(day // 2, day)
    idle = np.array(
        [
            np.maximum(wanted[at - hold : at].max(axis=0) - active[at - hold + 1 : at + 1].max(), 0.0)
            for at in late
        ]
    ).mean(axis=0)
    noted = model.state()["trial.units"]
    assert (noted > 0.25 * noted[0]).all(), noted
    assert (idle < 2 * idle[0]).all(), idle


def test_a_sample_after_one_that_was_lost_teaches_and_one_after_a_long_silence_does_not() -> None:
    for lost, learned in ((0, 1), (1, 1), (7, 1), (8, 0), (15, 0), (400, 0)):
        model = Model(1)
        for place in range(50):
            model.tick(START // 15 + place, np.array([5.0]))
        before = model.state()["lead.learned"]
        for _ in range(lost):
            model.tick(model.number + 1, np.array([math.nan]))
        model.tick(model.number + 1, np.array([9.0]))
        assert (model.state()["lead.learned"] - before).tolist() == [learned], lost


def test_a_silence_of_a_day_does_not_change_what_an_error_is_taken_to_cost() -> None:
    model = Model(1)
    for place in range(400):
        model.tick(START // 15 + place, np.array([5.0 + place % 7]))
    before = model.state()
    for _ in range(2_000):
        model.tick(model.number + 1, np.array([math.nan]))
    after = model.state()
    mean = [float((state["trial.sizes"] / state["trial.ticks"]).max()) for state in (before, after)]
    assert mean[1] < 1.1 * mean[0]
