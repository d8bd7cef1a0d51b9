"""The last five minutes of every pool: level, slope, and the means that a next level is told from."""

from dataclasses import dataclass

import numpy as np

from services.forecaster.model.columns import Flags, Floats, Whole
from services.forecaster.parameters import Parameters

FARTHEST_TICKS = 8
"""Samples so far apart still teach: a series that is scraped every 30, 60 or 120 s has no others."""
MOST_VMS = 1e6
"""Demand beyond this is taken as this: no pool is so large, and squares of it stay finite."""
_NEWEST = 1.8
_SECOND = 1.2


@dataclass(frozen=True, slots=True)
class Ticks:
    """How many ticks the windows have."""

    seconds: int
    minute: int
    five: int
    long: int
    rows: int

    @classmethod
    def of(cls, seconds: int, parameters: Parameters) -> "Ticks":
        """For a tick of so many seconds. A long tick has at least one in each window, and three in the mean."""
        minute = max(1, parameters.smooth_seconds // seconds)
        five = max(1, parameters.trend_seconds // seconds)
        long = five if five > 1 else 3
        return cls(seconds, minute, five, long, max(minute, five, long, 3) + 1)


@dataclass(slots=True)
class Recent:
    """Rings of the last ticks, in the row `number % rows`."""

    demand: Floats
    level: Floats
    last_seen: Whole
    """The tick of the last good sample, or -1."""

    @classmethod
    def fresh(cls, pools: int, ticks: Ticks) -> "Recent":
        """Pools of which nothing was seen."""
        return cls(np.zeros((ticks.rows, pools)), np.zeros((ticks.rows, pools)), np.full(pools, -1, np.int64))


@dataclass(frozen=True, slots=True)
class Look:
    """What the last five minutes tell, in VMs."""

    good: Flags
    """A sample came."""
    known: Flags
    """A sample came in this tick and in one of the eight before: what lies between can be learned from."""
    apart: Floats
    """So many ticks lie between the two: what is learned stands for all of them. 1 where nothing is known."""
    lately: Flags
    """A sample came in this tick or in one of the seven before."""
    seen: Flags
    """There was ever one."""
    demand: Floats
    level: Floats
    level_before: Floats
    next_level: Floats
    """The level one tick on, if the last tick's demand stays."""
    mean_of_three: Floats
    mean_of_long: Floats
    slope: Floats
    """The change of the level over the trend's window."""
    tick_before: Floats


def look(recent: Recent, ticks: Ticks, number: int, before: int, demand: Floats) -> Look:
    """Take one tick's demand in. `before` is the tick that was taken in before it, or -1.

    A tick without a sample repeats the last one: capacity holds. After a silence longer than the ring nothing is known of the
    slope, and the ring starts anew from the first sample. A sample that comes earlier also stands for the ticks since the one
    before it, as a rate over a minute does; so the level moves with the samples, and not after them. The next level is a mean over 60 s again: its oldest tick is known to
    leave it, and who comes is guessed to be like the newest, which so counts twice (a little less, for its own noise).
    """
    rows = ticks.rows
    good = np.isfinite(demand) & (demand >= 0)
    value = np.minimum(np.where(good, demand, 0.0), MOST_VMS)
    if before >= 0:
        last = before % rows
        for missed in range(max(before + 1, number - rows), number):
            recent.demand[missed % rows] = recent.demand[last]
            recent.level[missed % rows] = recent.level[last]
    row = number % rows
    held = recent.demand[(number - 1) % rows]
    value = np.where(good, value, held)
    anew = good & ((recent.last_seen < 0) | (number - recent.last_seen >= rows))
    recent.demand[:] = np.where(anew, value, recent.demand)
    recent.demand[row] = value
    distance = number - recent.last_seen
    known = good & ~anew & (distance <= FARTHEST_TICKS)
    for back_to in range(1, int(np.max(distance, where=known, initial=1))):
        at = (number - back_to) % rows
        recent.demand[at] = np.where(known & (distance > back_to), value, recent.demand[at])
    recent.last_seen = np.where(good, number, recent.last_seen)

    def back(steps: int) -> Floats:
        return recent.demand[(number - steps) % rows]

    def mean(count: int) -> Floats:
        total = back(0)
        for steps in range(1, count):
            total = total + back(steps)
        return total / count

    def next_level() -> Floats:
        minute = ticks.minute
        if minute == 1:
            return back(0).copy()
        total = _NEWEST * back(0) + (_SECOND if minute > 2 else 2 - _NEWEST) * back(1)  # noqa: PLR2004 - two ticks make a minute
        for steps in range(2, minute - 1):
            total = total + back(steps)
        return total / minute

    level = mean(ticks.minute)
    recent.level[:] = np.where(anew, level, recent.level)
    recent.level[row] = level
    return Look(
        good=good,
        known=known,
        apart=np.where(known, distance, 1).astype(np.float64),
        lately=(recent.last_seen >= 0) & (number - recent.last_seen < FARTHEST_TICKS),
        seen=recent.last_seen >= 0,
        demand=value,
        level=level,
        level_before=recent.level[(number - 1) % rows].copy(),
        next_level=next_level(),
        mean_of_three=mean(3),
        mean_of_long=mean(ticks.long),
        slope=level - recent.level[(number - ticks.five) % rows],
        tick_before=back(1).copy(),
    )
