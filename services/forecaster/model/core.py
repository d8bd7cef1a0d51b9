"""The forecast of all pools at once: pure, vectorised, the same bit for bit on any machine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from services.forecaster.model import lead, lean, recent, season, spread, trial
from services.forecaster.model.columns import Flags, Floats, Whole, arrays_of, chosen, joined, read_back
from services.forecaster.parameters import DEFAULT, WEEK_SECONDS, Parameters

HORIZON_SECONDS: Final = 90
COVERAGE_BP: Final = 9_900
_HOUR_SECONDS: Final = 3_600
_PLAIN_HOURS: Final = 2


@dataclass(frozen=True, slots=True)
class Forecast:
    """What each pool needs from now until its horizon, and from what it follows. One value per pool.

    `target` is whole VMs: what should be awake; 0 only where no sample was ever seen. `level`, `slope`, `seasonal` and `margin`
    are VMs: the mean of the last 60 s, its change in one horizon if the last five minutes go on, the 7-day baseline at the
    horizon carried to today's level, and what is kept above the expected level. They are NaN where there is none.
    `history_ticks` counts the ticks with a sample in the last seven days.
    """

    target: Whole
    level: Floats
    slope: Floats
    seasonal: Floats
    margin: Floats
    history_ticks: Whole


class Model:
    """Learns from one demand per pool and tick, and says after each what to keep awake.

    `horizon_seconds` and `coverage_bp` may be set per pool at any time. A horizon beyond 90 s is the time a wake takes: the
    target must then have been raised so much earlier to count as a hit. Coverage is an aim and not a promise: 9900 seeks the
    cheapest margin at a price of idle per miss, and none that would have missed more than 2 % of the pool's scale-ups.

    The trap is the tick's number: the time since 1970 in ticks, and not a counter. Slots of hour, day and week hang on it.
    """

    def __init__(self, pools: int, *, tick_seconds: int = 15, parameters: Parameters = DEFAULT) -> None:
        if tick_seconds < 1 or pools < 0:
            raise ValueError(
                f"A model of {pools} pools with ticks of {tick_seconds} s: neither may be less than 0 and 1."
            )
        self.tick_seconds: Final = tick_seconds
        self.parameters: Final = parameters
        self._ticks: Final = recent.Ticks.of(tick_seconds, parameters)
        self._slots: Final = season.Slots.of(tick_seconds, parameters)
        self._grain: Final = spread.Grain.of(tick_seconds, parameters)
        self._windows: Final = trial.Windows.of(tick_seconds, parameters)
        self._keep: Final = trial.halving(tick_seconds, parameters.trend_half_life_seconds)
        self._plain_fast: Final = min(1 / 6, tick_seconds / (_PLAIN_HOURS * _HOUR_SECONDS))
        self._plain_slow: Final = min(1.0, tick_seconds / parameters.slow_seconds)
        self._number = -1
        self._begin(pools)

    def _begin(self, pools: int) -> None:
        self.horizon_seconds: Whole = np.full(pools, HORIZON_SECONDS, np.int64)
        self.coverage_bp: Whole = np.full(pools, COVERAGE_BP, np.int64)
        self._recent = recent.Recent.fresh(pools, self._ticks)
        self._season = season.Season.fresh(pools, self._slots)
        self._lead = lead.Lead.fresh(pools)
        self._spread = spread.Spread.fresh(pools, self._grain)
        self._lean = lean.Lean.fresh(pools)
        self._trial = trial.Trial.fresh(pools, self._windows)
        self._expected: Floats = np.zeros(pools)

    @property
    def pools(self) -> int:
        """How many columns there are."""
        return len(self._expected)

    @property
    def number(self) -> int:
        """The last tick that was taken in; -1 before the first."""
        return self._number

    def tick(self, number: int, demand: NDArray[np.float64]) -> Forecast:
        """Take in the mean demand of the tick that has just ended, in VMs, and say what is needed from now on.

        `number` is that tick's start in unix seconds // tick_seconds; it must grow, and may leave ticks out. NaN, infinite and
        negative demands are ticks without a sample: nothing is learned from them, and the forecast holds.

        Raises:
            ValueError: the number did not grow, or there is not one demand per pool.
        """
        if number <= self._number or demand.shape != (self.pools,):
            raise ValueError(
                f"Tick {number} with {demand.shape} demands after tick {self._number} of {self.pools} pools: "
                "ticks grow, and each has one demand per pool."
            )
        before, self._number = self._number, number
        asked = trial.Wanted.of(self.tick_seconds, self.horizon_seconds, self.coverage_bp, self.parameters)
        hour = number * self.tick_seconds // _HOUR_SECONDS != before * self.tick_seconds // _HOUR_SECONDS
        if hour:
            trial.fade(self._trial, self._windows)

        now = recent.look(self._recent, self._ticks, number, before, np.asarray(demand, np.float64))
        season.take_in(self._season, self._slots, number, before, demand=now.demand, good=now.good)
        missed = lead.learn(
            self._lead,
            now.level,
            now.known,
            now.apart,
            keep=self._keep,
            fast=self._plain_fast,
            slow=self._plain_slow,
        )
        error = np.where(now.known, now.level - self._expected, 0.0)
        spread.learn(
            self._spread,
            self._grain,
            number,
            error=error,
            missed=missed,
            before=now.level_before,
            known=now.known,
            apart=now.apart,
        )
        lean.learn(self._lean, error, now.known, now.apart, self.tick_seconds)
        trial.hold(self._trial, self._windows, number, before)
        rose = trial.judge(self._trial, self._windows, asked, number, now)

        expected = self._expect(number, now)
        # What lies ahead of a wake that takes long: the trend goes on, if it rises.
        late = asked.lead_ticks * self.tick_seconds / self.parameters.trend_seconds
        expected = expected + np.maximum(now.slope, 0.0) * late
        plain = spread.readings(self._spread, self._grain, number + 1, now.level)
        factor = lean.factor(self._lean, now.slope, plain[spread.POWERS + 1])
        size = spread.leaned(plain, factor)
        anew = rose | hour | (self._trial.multiple[0] < 0)
        target, margin = trial.choose(
            self._trial,
            self._windows,
            asked,
            self.parameters,
            number=number,
            expected=expected,
            size=size,
            anew=anew,
            lately=now.lately,
        )
        seasonal = season.at_horizon(
            self._season, self._slots, number, now.mean_of_long, self.horizon_seconds
        )
        return Forecast(
            target=np.where(now.seen, target, 0.0).astype(np.int64),
            level=np.where(now.seen, now.level, np.nan),
            slope=np.where(
                now.seen, now.slope * self.horizon_seconds / self.parameters.trend_seconds, np.nan
            ),
            seasonal=np.where(now.seen, seasonal, np.nan),
            margin=np.where(now.seen, margin, np.nan),
            history_ticks=self._season.history + self._season.filling,
        )

    def _expect(self, number: int, now: recent.Look) -> Floats:
        """The level of the next tick: never below what it is if nothing changes, for of two readings the higher one is safe."""
        tide = season.tide(self._season, self._slots, number, now.mean_of_long)
        plain = now.next_level
        raw = np.stack(
            (
                now.slope,
                now.mean_of_three - plain,
                now.mean_of_long - plain,
                tide.by_week,
                tide.by_day,
                spread.burst_at(self._spread, self._grain, number + 1),
                now.tick_before - now.demand,
            )
        )
        led = lead.expect(self._lead, plain, raw, self.parameters.ridge)
        self._expected = np.maximum(plain, led)
        return self._expected

    def peak_within(self, seconds: int) -> Floats:
        """The most that the 7-day baseline, carried to today's level, needs within so many seconds, in VMs; NaN without history."""
        if self._number < 0:
            return np.full(self.pools, np.nan)
        level = self._recent.level[self._number % self._ticks.rows]
        return season.most_within(self._season, self._slots, self._number, level, seconds)

    def add(self, count: int) -> None:
        """There are `count` more pools behind the others, of which nothing was seen."""
        more = Model(count, tick_seconds=self.tick_seconds, parameters=self.parameters)
        self.horizon_seconds = np.concatenate((self.horizon_seconds, more.horizon_seconds))
        self.coverage_bp = np.concatenate((self.coverage_bp, more.coverage_bp))
        self._expected = np.concatenate((self._expected, more._expected))
        self._recent = joined(self._recent, more._recent)
        self._season = joined(self._season, more._season)
        self._lead = joined(self._lead, more._lead)
        self._spread = joined(self._spread, more._spread)
        self._lean = joined(self._lean, more._lean)
        self._trial = joined(self._trial, more._trial)

    def keep(self, pools: Flags | Whole) -> None:
        """Only these pools are left, in this order: a flag per pool, or their places."""
        self.horizon_seconds = self.horizon_seconds[pools]
        self.coverage_bp = self.coverage_bp[pools]
        self._expected = self._expected[pools]
        self._recent = chosen(self._recent, pools)
        self._season = chosen(self._season, pools)
        self._lead = chosen(self._lead, pools)
        self._spread = chosen(self._spread, pools)
        self._lean = chosen(self._lean, pools)
        self._trial = chosen(self._trial, pools)

    def _parts(self) -> dict[str, Any]:
        return {
            "recent": self._recent,
            "season": self._season,
            "lead": self._lead,
            "spread": self._spread,
            "lean": self._lean,
            "trial": self._trial,
        }

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything it knows, as arrays that `np.savez` takes. The parameters are not among it: name them beside it."""
        saved: dict[str, NDArray[Any]] = {
            "number": np.array(self._number, np.int64),
            "horizon_seconds": self.horizon_seconds.copy(),
            "coverage_bp": self.coverage_bp.copy(),
            "expected": self._expected.copy(),
        }
        for prefix, part in self._parts().items():
            saved |= {f"{prefix}.{name}": array.copy() for name, array in arrays_of(part).items()}
        return saved

    @classmethod
    def of_state(
        cls, saved: Mapping[str, NDArray[Any]], *, tick_seconds: int = 15, parameters: Parameters = DEFAULT
    ) -> "Model":
        """The model that `state` was taken of: it goes on with the same targets, bit for bit.

        Raises:
            KeyError: an array is missing.
            ValueError: an array has another shape or type: it was saved by another version, or for another tick.
        """
        model = cls(len(saved["expected"]), tick_seconds=tick_seconds, parameters=parameters)
        model._number = int(saved["number"])
        model.horizon_seconds = saved["horizon_seconds"].copy()
        model.coverage_bp = saved["coverage_bp"].copy()
        model._expected = saved["expected"].copy()
        model._recent = read_back(model._recent, "recent", saved)
        model._season = read_back(model._season, "season", saved)
        model._lead = read_back(model._lead, "lead", saved)
        model._spread = read_back(model._spread, "spread", saved)
        model._lean = read_back(model._lean, "lean", saved)
        model._trial = read_back(model._trial, "trial", saved)
        return model


def history_ticks_wanted(tick_seconds: int) -> int:
    """How many ticks a full history of seven days has."""
    return WEEK_SECONDS // tick_seconds
