"""How far off the expected level may be: five readings of the error's size, of which `trial` finds the one that fits the pool.

Noise may be the same at every level (a few large clients), grow with its square root (many small ones) or with the level itself
(everybody at once); or it may come at fixed minutes of the hour, or at fixed times of the day (jobs). The first three are the
geometric mean of a restless half hour and of a whole day: the half hour alone forgets too soon, the day alone learns too late.
"""

from dataclasses import dataclass

import numpy as np

from services.forecaster.model.columns import Flags, Floats, Singles
from services.forecaster.parameters import DAY_SECONDS, Parameters

READINGS = 5
_POWERS = 3
_PRIOR_TICKS = 5.0
_SMALL_LEVEL = 0.5
_LEAST = 0.02
"""VMs."""
_HOUR = 3_600
_HOUR_SLOTS = 60
_DAY_SLOTS = 288
_MINUTES_MEMORY_HOURS = 12
_DAY_MEMORY_DAYS = 3
_RESTLESS_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Grain:
    """How hours and days are cut, and how fast the memories fade."""

    seconds: int
    hour_ticks: int
    day_ticks: int
    hour_slots: int
    day_slots: int
    fast: float
    slow: float
    by_minute: float
    by_burst: float
    by_day: float

    @classmethod
    def of(cls, seconds: int, parameters: Parameters) -> "Grain":
        """For a tick of so many seconds."""
        hour, day = max(1, _HOUR // seconds), max(1, DAY_SECONDS // seconds)
        hour_slots, day_slots = min(hour, _HOUR_SLOTS), min(day, _DAY_SLOTS)
        return cls(
            seconds,
            hour,
            day,
            hour_slots,
            day_slots,
            min(1 / 3, seconds / parameters.fast_seconds),
            min(1.0, seconds / parameters.slow_seconds),
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
    """Mean squares of the error: by power of the level, by minute of the hour, by time of the day."""

    fast: Floats
    """(powers, pools)"""
    slow: Floats
    ticks: Floats
    by_minute: Singles
    by_time: Singles
    burst: Singles
    """(ticks of an hour, pools): the mean of what the plain level missed by."""

    @classmethod
    def fresh(cls, pools: int, grain: Grain) -> "Spread":
        """Pools of which nothing was seen."""
        return cls(
            np.zeros((_POWERS, pools)),
            np.zeros((_POWERS, pools)),
            np.zeros(pools),
            np.full((grain.hour_slots, pools), np.nan, np.float32),
            np.full((grain.day_slots, pools), np.nan, np.float32),
            np.zeros((grain.hour_ticks, pools), np.float32),
        )


def _faded(row: Singles, value: Floats, share: float, known: Flags) -> Floats:
    old = row.astype(np.float64)
    new = np.where(np.isfinite(old), old + share * (value - old), value)
    return np.where(known, new, old)


def learn(
    spread: Spread, grain: Grain, number: int, *, error: Floats, missed: Floats, before: Floats, known: Flags
) -> None:
    """Take in by how much the level differed from what was expected of it. `before` is the level it was told at.

    A pool that is new begins as if it had seen five ticks of ordinary noise.
    """
    square = error * error
    floor = np.maximum(before, _SMALL_LEVEL)
    begun = spread.ticks > 0
    spread.ticks = spread.ticks + known
    share = 1.0 / (np.maximum(spread.ticks, 1.0) + _PRIOR_TICKS)
    for power, value in enumerate((square, square / floor, square / (floor * floor))):
        usual = _usual(power, floor)
        fast, slow = np.where(begun, spread.fast[power], usual), np.where(begun, spread.slow[power], usual)
        spread.fast[power] = np.where(
            known, fast + np.maximum(share, grain.fast) * (value - fast), spread.fast[power]
        )
        spread.slow[power] = np.where(
            known, slow + np.maximum(share, grain.slow) * (value - slow), spread.slow[power]
        )
    minute, time = grain.minute(number), grain.time(number)
    spread.by_minute[minute] = _faded(spread.by_minute[minute], square, grain.by_minute, known)
    spread.by_time[time] = _faded(spread.by_time[time], square, grain.by_day, known)
    row = number % grain.hour_ticks
    spread.burst[row] = _faded(spread.burst[row], missed, grain.by_burst, known)


def _usual(power: int, level: Floats) -> Floats:
    """The square of ordinary noise, before anything was seen: that of some 10 requests per VM, and six hundredths of the level."""
    square = 0.02 + 0.1 * level + 0.0036 * level * level
    return square if power == 0 else square / level if power == 1 else square / (level * level)


def burst_at(spread: Spread, grain: Grain, number: int) -> Floats:
    """By how much the plain level was too low, in this tick of past hours, in VMs."""
    return spread.burst[number % grain.hour_ticks].astype(np.float64)


def readings(spread: Spread, grain: Grain, number: int, level: Floats) -> Floats:
    """(readings, pools): the error's size expected in tick `number`, in VMs."""
    floor = np.maximum(level, _SMALL_LEVEL)
    begun = spread.ticks > 0
    squares: list[Floats] = []
    for power in range(_POWERS):
        usual = _usual(power, floor)
        product = np.where(begun, spread.fast[power] * spread.slow[power], usual * usual)
        scale = 1.0 if power == 0 else floor if power == 1 else floor * floor
        squares.append(np.sqrt(product) * scale)
    restless = np.where(begun, spread.fast[0], _usual(0, floor))
    for row in (spread.by_minute[grain.minute(number)], spread.by_time[grain.time(number)]):
        value = row.astype(np.float64)
        squares.append(_RESTLESS_SHARE * restless + np.where(np.isfinite(value), value, restless))
    return np.maximum(np.sqrt(np.stack(squares)), _LEAST)
