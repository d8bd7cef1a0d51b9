"""How far off the expected level may be: seventeen readings of the error's size, of which `trial` finds those that fit the pool.

Noise may be the same at every level (a few large clients), grow with its square root (many small ones) or with the level itself
(everybody at once); it may change in minutes or in days; it may only ever go up; or it may come at fixed minutes of the hour, or
at fixed times of the day (jobs). Each reading is right for some pool and far off for another, and none says so by itself.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from services.forecaster.model.columns import Flags, Floats, Singles
from services.forecaster.parameters import DAY_SECONDS, Parameters

POWERS: Final = 3
_PAIRS: Final = ((0, 1), (2, 3))
"""Of the memories: a short and a long one make one reading, as their geometric mean: the short one forgets too soon, the long one learns late."""
MEMORIES: Final = 4
LEANING: Final = 3 * POWERS
"""So many of the readings are also tried with the slope's lean (see `lean`)."""
READINGS: Final = 2 * POWERS + 2 + LEANING
_PRIOR_TICKS: Final = 5.0
_SMALL_LEVEL: Final = 0.5
_LEAST: Final = 0.02
"""VMs."""
_LEAST_SQUARE: Final = 1e-4
_HOUR: Final = 3_600
_HOUR_SLOTS: Final = 60
_DAY_SLOTS: Final = 288
_MINUTES_MEMORY_HOURS: Final = 12
_DAY_MEMORY_DAYS: Final = 3
_RESTLESS_SHARE: Final = 0.2


@dataclass(frozen=True, slots=True)
class Grain:
    """How hours and days are cut, and how fast the memories fade."""

    seconds: int
    hour_ticks: int
    day_ticks: int
    hour_slots: int
    day_slots: int
    shares: Floats
    """(memories, 1, 1): what a tick counts in each."""
    by_minute: float
    by_burst: float
    by_time: float

    @classmethod
    def of(cls, seconds: int, parameters: Parameters) -> "Grain":
        """For a tick of so many seconds. No memory is shorter than three ticks."""
        hour, day = max(1, _HOUR // seconds), max(1, DAY_SECONDS // seconds)
        hour_slots, day_slots = min(hour, _HOUR_SLOTS), min(day, _DAY_SLOTS)
        fast, slow = parameters.fast_seconds, parameters.slow_seconds
        lengths = (fast, slow, parameters.calm_seconds, parameters.long_seconds)
        return cls(
            seconds,
            hour,
            day,
            hour_slots,
            day_slots,
            np.array([min(1 / 3, seconds / length) for length in lengths])[:, None, None],
            1 / (_MINUTES_MEMORY_HOURS * max(1, hour // hour_slots)),
            1 / _MINUTES_MEMORY_HOURS,
            1 / (_DAY_MEMORY_DAYS * max(1, day // day_slots)),
        )

    def minute(self, number: int) -> int:
        """The slot of the hour."""
        return number % self.hour_ticks * self.hour_slots // self.hour_ticks

    def time(self, number: int) -> int:
        """The slot of the day."""
        return number % self.day_ticks * self.day_slots // self.day_ticks


@dataclass(slots=True)
class Spread:
    """Mean squares of the error: by memory and power of the level, by minute of the hour, by time of the day."""

    squares: Floats
    """(memories, powers, pools)"""
    restless: Floats
    """Of errors upwards, over the shortest memory."""
    ticks: Floats
    by_minute: Singles
    by_time: Singles
    burst: Singles
    """(ticks of an hour, pools): the mean of what the plain level missed by."""

    @classmethod
    def fresh(cls, pools: int, grain: Grain) -> "Spread":
        """Pools of which nothing was seen."""
        return cls(
            np.zeros((MEMORIES, POWERS, pools)),
            np.zeros(pools),
            np.zeros(pools),
            np.full((grain.hour_slots, pools), np.nan, np.float32),
            np.full((grain.day_slots, pools), np.nan, np.float32),
            np.zeros((grain.hour_ticks, pools), np.float32),
        )


def _faded(row: Singles, value: Floats, share: float, known: Flags) -> Floats:
    old = row.astype(np.float64)
    new = np.where(np.isfinite(old), old + share * (value - old), value)
    return np.where(known, new, old)


def _scales(level: Floats) -> Floats:
    """(powers, pools): what a square of each power is to be multiplied with at this level."""
    floor = np.maximum(level, _SMALL_LEVEL)
    return np.stack((np.ones_like(floor), floor, floor * floor))


def _usual(scales: Floats) -> Floats:
    """The squares of ordinary noise, before any was seen: that of some 10 requests per VM, and six hundredths of the level."""
    return (0.02 + 0.1 * scales[1] + 0.0036 * scales[2]) / scales


def learn(
    spread: Spread,
    grain: Grain,
    number: int,
    *,
    error: Floats,
    missed: Floats,
    before: Floats,
    known: Flags,
    apart: Floats,
) -> None:
    """Take in by how much the level differed from what was expected of it. `before` is the level it was told at.

    A sample that stands for `apart` ticks moves the memories as far as so many do. Its error is that of all of them together,
    and is not divided: the next one is expected as far away.

    A pool that is new begins as if it had seen five ticks of ordinary noise. Errors upwards count twice in the memories that
    are of them alone, so that these are as large as the others where errors are even.
    """
    scales = _scales(before)
    square = error * error
    upward = np.where(error > 0, 2.0 * square, 0.0)
    values = square / scales
    begun = spread.ticks > 0
    spread.ticks = spread.ticks + known
    shares = np.minimum(grain.shares * apart, np.maximum(grain.shares, 1 / 3))
    share = np.maximum(shares, 1.0 / (np.maximum(spread.ticks, 1.0) + _PRIOR_TICKS))
    before_any = _usual(scales)
    old = np.where(begun, spread.squares, before_any)
    spread.squares = np.where(known, old + share * (values - old), spread.squares)
    calm = np.where(begun, spread.restless, before_any[0])
    spread.restless = np.where(known, calm + share[0, 0] * (upward - calm), spread.restless)
    minute, time = grain.minute(number), grain.time(number)
    spread.by_minute[minute] = _faded(spread.by_minute[minute], upward, grain.by_minute, known)
    spread.by_time[time] = _faded(spread.by_time[time], upward, grain.by_time, known)
    row = number % grain.hour_ticks
    spread.burst[row] = _faded(spread.burst[row], missed, grain.by_burst, known)


def burst_at(spread: Spread, grain: Grain, number: int) -> Floats:
    """By how much the plain level was too low, in this tick of past hours, in VMs."""
    return spread.burst[number % grain.hour_ticks].astype(np.float64)


def readings(spread: Spread, grain: Grain, number: int, level: Floats) -> Floats:
    """(readings without a lean, pools): the error's size expected in tick `number`, in VMs; the first ones may be leaned."""
    scales = _scales(level)
    begun = spread.ticks > 0
    usual = _usual(scales)
    squares = np.where(begun, spread.squares, usual)
    restless = np.where(begun, spread.restless, usual[0])

    def slot(row: Singles) -> Floats:
        value = row.astype(np.float64)
        return np.where(np.isfinite(value), value, restless)

    minute, time = slot(spread.by_minute[grain.minute(number)]), slot(spread.by_time[grain.time(number)])
    means = [np.sqrt(squares[short] * squares[long]) * scales for short, long in _PAIRS]
    daily = np.sqrt(means[0] * np.maximum(time, _LEAST_SQUARE))
    jobs = np.stack((_RESTLESS_SHARE * restless + minute, _RESTLESS_SHARE * restless + time))
    return np.maximum(np.sqrt(np.concatenate((means[1], means[0], daily, jobs))), _LEAST)


def leaned(plain: Floats, factor: Floats) -> Floats:
    """All readings: those of the slow memories only with the lean, those by level and by day with it and without, and jobs."""
    return np.maximum(np.concatenate((plain[POWERS:], plain[:LEANING] * factor)), _LEAST)
