"""The 7-day baseline: what demand was a week ago and a day ago at this time, and how it went on from there.

Slots are of UTC. In the week after a clock change of its users a pool's baseline is an hour off; the weights of `lead` sink
while it misleads, and the day-old baseline is right again after one day.
"""

from dataclasses import dataclass

import numpy as np

from services.forecaster.model.columns import Counts, Flags, Floats, Singles, Whole
from services.forecaster.parameters import WEEK_SECONDS, Parameters

_SMALL_VMS = 0.2
_LEAST_RATIO = 0.3
_MOST_RATIO = 3.0
_MOST_COUNT = 255


@dataclass(frozen=True, slots=True)
class Slots:
    """How the week is cut."""

    tick_seconds: int
    seconds: int
    week: int
    day: int

    @classmethod
    def of(cls, tick_seconds: int, parameters: Parameters) -> "Slots":
        """Slots of five minutes, or of one tick where that is longer."""
        seconds = max(parameters.slot_seconds, tick_seconds)
        day = max(1, WEEK_SECONDS // seconds // 7)
        return cls(tick_seconds, seconds, 7 * day, day)

    def at(self, number: int) -> tuple[int, float]:
        """The centre of a slot that lies before the tick's centre, as a count since 1970, and how far past it the tick is."""
        twice = (2 * number + 1) * self.tick_seconds - self.seconds
        whole = twice // (2 * self.seconds)
        return whole, (twice - whole * 2 * self.seconds) / (2 * self.seconds)


@dataclass(slots=True)
class Season:
    """One week of slot means, and the slot that is being filled."""

    mean: Singles
    """(week, pools), NaN where nothing was ever seen."""
    count: Counts
    """(week, pools): ticks seen in the slot when it was last passed."""
    before: Singles
    """What stood a week ago in the slot that was filled last."""
    total: Floats
    filling: Whole
    history: Whole
    """The sum of `count`."""

    @classmethod
    def fresh(cls, pools: int, slots: Slots) -> "Season":
        """Pools of which nothing was seen."""
        return cls(
            np.full((slots.week, pools), np.nan, np.float32),
            np.zeros((slots.week, pools), np.uint8),
            np.full(pools, np.nan, np.float32),
            np.zeros(pools),
            np.zeros(pools, np.int64),
            np.zeros(pools, np.int64),
        )


@dataclass(frozen=True, slots=True)
class Tide:
    """How the baseline goes on in one tick, in VMs at today's level; 0 where there is none."""

    by_week: Floats
    by_day: Floats


def take_in(season: Season, slots: Slots, number: int, before: int, *, demand: Floats, good: Flags) -> None:
    """Add one tick to its slot, after the slots that ended before it were closed."""
    now, last = number * slots.tick_seconds // slots.seconds, before * slots.tick_seconds // slots.seconds
    if before >= 0 and now != last:
        _close(season, last % slots.week)
        for passed in range(max(last + 1, now - slots.week), now):
            _close(season, passed % slots.week)
    season.total += np.where(good, demand, 0.0)
    season.filling += good


def _close(season: Season, row: int) -> None:
    some = season.filling > 0
    season.before = season.mean[row].copy()
    mean = season.total / np.maximum(season.filling, 1)
    season.mean[row] = np.where(some, mean, season.mean[row])
    season.history += np.minimum(season.filling, _MOST_COUNT) - season.count[row]
    season.count[row] = np.minimum(season.filling, _MOST_COUNT)
    season.total = np.zeros_like(season.total)
    season.filling = np.zeros_like(season.filling)


def _line(season: Season, slots: Slots, number: int, ticks: int, back: int) -> Floats:
    """The baseline `back` slots ago, on the straight line between the centres of two slots; `ticks` from now."""
    filling = number * slots.tick_seconds // slots.seconds
    slot, share = slots.at(number + ticks)

    def value(at: int) -> Floats:
        # The slot before the one that is being filled was overwritten with this week's mean.
        row = (
            season.before
            if at == filling - 1 and back == slots.week
            else season.mean[(at - back) % slots.week]
        )
        return row.astype(np.float64)

    if share == 0:
        return value(slot)
    return value(slot) * (1.0 - share) + value(slot + 1) * share


def _ratio(level: Floats, baseline: Floats) -> Floats:
    return np.minimum(np.maximum((level + _SMALL_VMS) / (baseline + _SMALL_VMS), _LEAST_RATIO), _MOST_RATIO)


def tide(season: Season, slots: Slots, number: int, level: Floats) -> Tide:
    """What demand did a week and a day ago from here to the next tick, carried to today's level."""
    rises: list[Floats] = []
    for back in (slots.week, slots.day):
        now, then = _line(season, slots, number, 0, back), _line(season, slots, number, 1, back)
        rise = (then - now) * _ratio(level, now)
        rises.append(np.where(np.isfinite(rise), rise, 0.0))
    return Tide(*rises)


def most_within(season: Season, slots: Slots, number: int, level: Floats, seconds: int) -> Floats:
    """The largest the baseline, carried to today's level, has in any slot from now until `seconds` from now; NaN without one."""
    now = _line(season, slots, number, 0, slots.week)
    filling = number * slots.tick_seconds // slots.seconds
    most = now
    for ahead in range(min(-(-seconds // slots.seconds), slots.week - 1) + 1):
        most = np.fmax(most, season.mean[(filling + ahead) % slots.week].astype(np.float64))
    return most * _ratio(level, now)


def at_horizon(season: Season, slots: Slots, number: int, level: Floats, seconds: Whole) -> Floats:
    """The baseline `seconds` from now, carried to today's level; NaN without one."""
    now = _line(season, slots, number, 0, slots.week)
    there = np.full_like(level, np.nan)
    for each in np.unique(seconds):
        then = _line(season, slots, number, max(1, int(each) // slots.tick_seconds), slots.week)
        there = np.where(seconds == each, then, there)
    return there * _ratio(level, now)
