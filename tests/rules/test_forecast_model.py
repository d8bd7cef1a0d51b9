"""The forecast model on demand whose future is known: it leads a rise that it has seen before, and says what it lacks."""

import io
import tracemalloc
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from services.forecaster.model import Forecast, Model, history_ticks_wanted
from services.forecaster.model.spread import READINGS
from services.forecaster.model.trial import MULTIPLES
from services.forecaster.parameters import DEFAULT, Parameters

MONDAY = 1_699_833_600
"""A Monday, 00:00 UTC."""
MINUTE = 60
Series = NDArray[np.float64]


def run(model: Model, demand: Series, *, start: int = MONDAY) -> list[Forecast]:
    """The forecasts of one pool, tick by tick."""
    first = start // model.tick_seconds
    return [model.tick(first + place, np.array([value])) for place, value in enumerate(demand.tolist())]


def targets(made: list[Forecast]) -> NDArray[np.int64]:
    return np.array([forecast.target[0] for forecast in made])


def noise(count: int, seed: int = 1) -> Series:
    return np.random.default_rng(seed).normal(size=count)


def days(count: int, tick: int) -> Series:
    """The hours that have passed."""
    return np.arange(count * 86_400 // tick) * tick / 3_600


def covered(demand: Series, wanted: NDArray[np.int64]) -> float:
    """The share of rises of the need that the target before them had covered."""
    need = np.maximum(np.ceil(demand), 1)
    rises = [
        (before, now, ready)
        for (before, now), ready in zip(pairwise(need), wanted[:-1], strict=True)
        if now > before
    ]
    return sum(min(max(ready - before, 0), now - before) for before, now, ready in rises) / sum(
        now - before for before, now, _ in rises
    )


def test_a_pool_of_which_nothing_was_seen_is_told_no_target_and_no_evidence() -> None:
    made = Model(2).tick(MONDAY // 15, np.array([np.nan, -1.0]))
    assert made.target.tolist() == [0, 0]
    assert np.isnan(made.level).all()
    assert np.isnan(made.margin).all()
    assert made.history_ticks.tolist() == [0, 0]


def test_a_new_pool_has_a_target_above_its_need_from_its_first_sample() -> None:
    made = Model(1).tick(MONDAY // 15, np.array([7.3]))
    assert 9 <= made.target[0] <= 14
    assert made.level[0] == 7.3
    assert np.isnan(made.seasonal[0])


def test_a_pool_that_wakes_from_nothing_is_not_asked_to_be_many_times_its_peak() -> None:
    wanted = targets(run(Model(1), np.concatenate((np.zeros(50), np.full(8, 20.0)))))
    assert wanted[-1] >= 20
    assert wanted.max() <= 62


def test_a_pool_without_demand_keeps_one_vm() -> None:
    assert targets(run(Model(1), np.zeros(400)))[-1] == 1


def test_demand_that_never_moves_is_answered_with_little_above_it() -> None:
    assert targets(run(Model(1), np.full(800, 20.2)))[-1] in (21, 22)


def test_a_restless_pool_is_given_more_margin_than_a_quiet_one_of_the_same_level() -> None:
    model = Model(2)
    shocks = noise(600)
    made = model.tick(MONDAY // 15 - 1, np.full(2, 20.0))
    for place, shock in enumerate(shocks.tolist()):
        made = model.tick(MONDAY // 15 + place, np.array([20 + 0.1 * shock, max(0.0, 20 + 3 * shock)]))
    assert made.margin[1] > 3 * made.margin[0]


def test_jobs_at_fixed_minutes_are_waited_for_and_cost_little_between_them() -> None:
    minute = np.arange(30 * 60) % 60
    demand = 10 + np.where((minute >= 20) & (minute < 25), 15.0, 0.0) + 0.2 * noise(len(minute))
    wanted = targets(run(Model(1, tick_seconds=MINUTE), demand))
    late = wanted[-600:].reshape(10, 60)
    assert (late[:, 19] >= 25).mean() > 0.9
    assert late[:, 30:59].mean() < 16


def test_a_plain_growth_is_covered() -> None:
    demand = np.linspace(2, 60, 1_200) * (1 + 0.02 * noise(1_200))
    wanted = targets(run(Model(1, tick_seconds=MINUTE), demand))
    assert covered(demand[300:], wanted[300:]) > 0.95


def test_higher_coverage_covers_more_and_costs_more() -> None:
    model = Model(3, tick_seconds=MINUTE)
    model.coverage_bp[:] = (9_000, 9_900, 9_980)
    demand = np.maximum(0.0, 20 + 2 * noise(1_500))
    made = np.array(
        [
            model.tick(MONDAY // MINUTE + place, np.full(3, value)).target
            for place, value in enumerate(demand.tolist())
        ]
    )[600:]
    assert made[:, 0].mean() < made[:, 1].mean() < made[:, 2].mean()
    hits = [covered(demand[600:], made[:, column]) for column in range(3)]
    assert hits[0] < hits[1] < hits[2]
    assert hits[1] > 0.96


def test_a_longer_horizon_asks_for_more_while_demand_climbs() -> None:
    model = Model(2)
    model.horizon_seconds[:] = (90, 300)
    made = model.tick(MONDAY // 15 - 1, np.full(2, 5.0))
    for place in range(240):
        made = model.tick(MONDAY // 15 + place, np.full(2, 5 + place / 8))
    assert made.target[1] > made.target[0]
    assert made.slope[1] == pytest.approx(made.slope[0] * 300 / 90)


def test_silence_holds_the_target_and_is_not_taken_for_an_end_of_demand() -> None:
    model = Model(1)
    run(model, np.full(500, 12.0))
    before = model.tick(model.number + 1, np.array([12.0])).target[0]
    held = [model.tick(model.number + 1, np.array([np.nan])).target[0] for _ in range(60)]
    assert min(held) >= before - 1
    assert max(held) <= before + 1


def test_ticks_that_were_left_out_are_stood_over_and_the_next_sample_is_believed() -> None:
    model = Model(1)
    run(model, np.full(500, 12.0))
    after = model.tick(model.number + 100_000, np.array([40.0]))
    assert after.level[0] == 40.0
    assert after.slope[0] == 0.0
    assert after.target[0] >= 40


def test_one_lost_sample_among_many_changes_the_target_by_at_most_one_vm() -> None:
    model = Model(2)
    for place in range(800):
        value = 15 + 5 * np.sin(place / 200)
        made = model.tick(MONDAY // 15 + place, np.array([value, np.nan if place % 50 == 49 else value]))
        assert abs(int(made.target[0]) - int(made.target[1])) <= 1 or place < 200


@dataclass(frozen=True)
class TenDays:
    """Ten days of five pools at once: pools do not see each other."""

    demand: Series
    made: list[Forecast]
    peaks: list[tuple[Series, Series]]
    """Within five minutes and within thirty, after each tick."""

    def targets(self, pool: int) -> NDArray[np.int64]:
        return np.array([forecast.target[pool] for forecast in self.made])


MORNINGS, HOUR_OFF, GAPS, OFFICE, DOUBLED = range(5)


@pytest.fixture(scope="module")
def ten_days() -> TenDays:
    hours = days(10, 300)
    of_day = hours % 24
    shifted = (hours + np.where(hours >= 8 * 24, 1.0, 0.0)) % 24
    gaps = np.full(len(hours), 5.0)
    gaps[::2] = np.nan
    doubled = 10 + 5 * np.sin(hours * np.pi / 12)
    doubled[7 * 288 :] *= 2
    demand = np.stack(
        (
            3
            + 40 * np.clip((of_day - 8) * 2, 0, 1) * np.clip((20 - of_day) / 2, 0, 1)
            + 0.1 * noise(len(hours)),
            np.maximum(
                0, 4 + 20 * np.clip(np.sin((shifted - 7) * np.pi / 12), 0, 1) + 0.2 * noise(len(hours), 2)
            ),
            gaps,
            5.0 + 20 * ((of_day >= 9) & (of_day < 17)),
            doubled,
        ),
        axis=1,
    )
    model = Model(demand.shape[1], tick_seconds=300)
    made: list[Forecast] = []
    peaks: list[tuple[Series, Series]] = []
    for place, values in enumerate(demand):
        made.append(model.tick(MONDAY // 300 + place, values))
        peaks.append((model.peak_within(300), model.peak_within(1_800)))
    return TenDays(demand, made, peaks)


def test_a_rise_of_every_morning_is_led_and_the_night_stays_thin(ten_days: TenDays) -> None:
    demand, wanted = ten_days.demand[:, MORNINGS], ten_days.targets(MORNINGS)
    assert covered(demand[-3 * 288 :], wanted[-3 * 288 :]) > 0.9
    assert wanted[-288 : -288 + 80].mean() < 8


def test_a_baseline_that_is_an_hour_off_after_a_clock_change_does_not_lead_astray(
    ten_days: TenDays,
) -> None:
    demand, wanted = (
        ten_days.demand[8 * 288 :, HOUR_OFF],
        ten_days.targets(HOUR_OFF)[8 * 288 :],
    )
    assert covered(demand, wanted) > 0.93
    assert wanted.mean() < demand.mean() * 1.5


def test_history_counts_the_ticks_of_the_last_seven_days_that_had_a_sample(ten_days: TenDays) -> None:
    full, half = ten_days.made[-1].history_ticks[[OFFICE, GAPS]].tolist()
    assert abs(full - history_ticks_wanted(300)) <= 1
    assert abs(half - history_ticks_wanted(300) // 2) <= 1


def test_the_baseline_knows_the_coming_peak_once_it_has_seen_a_week(ten_days: TenDays) -> None:
    before_nine = 7 * 288 + 105  # 08:50 of the second Monday
    soon, later = ten_days.peaks[before_nine]
    assert soon[OFFICE] == pytest.approx(5, abs=0.5)
    assert later[OFFICE] == pytest.approx(25, abs=1)
    assert np.isnan(ten_days.peaks[105][1][OFFICE])
    assert np.isnan(Model(1).peak_within(1_800)[0])


def test_the_seasonal_evidence_is_last_weeks_demand_at_todays_level(ten_days: TenDays) -> None:
    seasonal = [forecast.seasonal[DOUBLED] for forecast in ten_days.made]
    assert seasonal[9 * 288] == pytest.approx(ten_days.demand[9 * 288, DOUBLED], rel=0.1)
    assert np.isnan(seasonal[100])


def test_a_saved_model_goes_on_bit_for_bit() -> None:
    demand = np.maximum(0.0, 10 + 4 * noise(400))
    model = Model(1)
    run(model, demand)
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **model.state())
    file.seek(0)
    with np.load(file) as saved:
        other = Model.of_state(dict(saved))
    for value in demand.tolist():
        number = model.number + 1
        mine, theirs = (each.tick(number, np.array([value])) for each in (model, other))
        for name in ("target", "level", "slope", "seasonal", "margin", "history_ticks"):
            assert np.array_equal(getattr(mine, name), getattr(theirs, name), equal_nan=True)


def test_a_state_of_another_tick_is_refused_with_what_differs() -> None:
    with pytest.raises(ValueError) as refused:
        Model.of_state(Model(1).state(), tick_seconds=300)
    assert "Let the forecaster learn from its history again" in str(refused.value)


def test_ticks_that_do_not_grow_and_demands_of_another_number_of_pools_are_refused() -> None:
    model = Model(1)
    model.tick(100, np.array([1.0]))
    for number, demand in ((100, np.array([1.0])), (101, np.array([1.0, 2.0]))):
        with pytest.raises(ValueError) as refused:
            model.tick(number, demand)
        assert f"Tick {number} with" in str(refused.value)


def test_parameters_are_named_by_all_their_numbers() -> None:
    assert DEFAULT.name() == Parameters().name()
    assert DEFAULT.name() != Parameters(price=0.81).name()
    assert len(DEFAULT.name()) == 12


def test_a_pool_takes_less_than_forty_kilobytes() -> None:
    assert sum(array.nbytes for array in Model(100).state().values()) / 100 < 40_000


def test_when_all_pools_rise_in_one_tick_each_is_foreseen_as_if_alone_and_few_are_tried_at_a_time() -> None:
    pools, sampled = 600, [63, 64]
    many, alone = Model(pools), [Model(1) for _ in sampled]
    levels = np.linspace(5, 40, pools)
    number = MONDAY // 15
    for place in range(20):
        demand = levels * (1 + place / 10) + 0.3 * noise(pools, place)
        made = many.tick(number + place, demand)
        for column, one in zip(sampled, alone, strict=True):
            single = one.tick(number + place, demand[[column]])
            assert (single.target[0], single.margin[0]) == (made.target[column], made.margin[column])
    tracemalloc.start()
    many.tick(number + 20, levels * 4)
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most_bytes < MULTIPLES * READINGS * pools * 8, (
        "one number for each multiple of each reading of all pools"
    )
