"""Which reading of the error's size fits the pool, and how many times it to keep awake: tried on every tick of the past.

The score can be computed for every choice that was *not* made, since demand is what it is. So each reading runs beside the
others with its own multiple, and of every scale-up is noted which multiples would have covered it. From that follow

- the multiple: the cheapest one, where a share of the units missed has a price in VMs idle; never one that covers less than a
  floor;
- the reading: the one whose own course was cheapest by the same price.

A rolling quantile of errors alone would over-provision wildly: most errors are of ticks in which nothing rises.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from services.forecaster.model.columns import Flags, Floats, Singles, Whole
from services.forecaster.model.recent import Look
from services.forecaster.model.spread import READINGS
from services.forecaster.parameters import Parameters

MULTIPLES: Final = 48
_FIRST: Final = 0.3
_STEP: Final = 1.08
_CEILING_SLACK: Final = 1e-9
_USUAL_MISS: Final = 0.02
_ALL_BP: Final = 10_000
_USUAL_COVERAGE: Final = 0.01
_FLOOR_BP: Final = 2
_TOGETHER: Final = 64
"""Columns whose every reading is tried with every multiple at once: 400 KB of numbers."""


def _multiples() -> Floats:
    values = [_FIRST]
    while len(values) < MULTIPLES:
        values.append(values[-1] * _STEP)
    return np.array(values)


MULTIPLE: Final = _multiples()
_PRIOR_MISS: Final = 1.0 / ((1.0 + 0.64 * MULTIPLE * MULTIPLE) * (1.0 + 0.64 * MULTIPLE * MULTIPLE))
"""The share of units that each multiple misses in a pool of which nothing is known: tails are heavier than a normal one's."""


@dataclass(frozen=True, slots=True)
class Windows:
    """The score's windows in ticks, and how fast its sums fade."""

    hold: int
    rows: int
    keep: float
    """Per tick."""
    keep_peak: float
    keep_hour: float

    @classmethod
    def of(cls, seconds: int, parameters: Parameters) -> "Windows":
        """For a tick of so many seconds."""
        return cls(
            hold=-(-parameters.hold_seconds // seconds),
            rows=-(-parameters.longest_horizon_seconds // seconds) + 1,
            keep=halving(seconds, parameters.trial_half_life_seconds),
            keep_peak=halving(seconds, parameters.peak_half_life_seconds),
            keep_hour=halving(max(3_600, seconds), parameters.trial_half_life_seconds),
        )


def halving(seconds: int, half_life_seconds: int) -> float:
    """What is left after `seconds` of what halves in `half_life_seconds`: to the third order of the series, without a power."""
    x = 0.6931471805599453 * seconds / half_life_seconds
    return max(0.0, 1.0 - x + x * x / 2 - x * x * x / 6)


@dataclass(slots=True)
class Trial:
    """What each reading's course was worth so far. Rings have the row `number % rows`."""

    expected: Floats
    """(rows, pools): the levels that were expected."""
    size: Floats
    """(rows, readings, pools)"""
    target: Singles
    """(rows, readings, pools): whole numbers far below 2**24, so that nothing is lost."""
    need: Floats
    """(rows, pools)"""
    active: Floats
    covered: Singles
    """(multiples, readings, pools): units that each multiple would have covered."""
    units: Floats
    missed: Floats
    """(readings, pools): units that the reading's own course missed."""
    idle: Floats
    """(readings, pools): VMs awake for nothing, summed over ticks."""
    sizes: Floats
    """(readings, pools): the error's size, summed over ticks."""
    ticks: Floats
    peak: Floats
    multiple: Whole
    """(readings, pools): the place in `MULTIPLE`; -1 before the first choice."""

    @classmethod
    def fresh(cls, pools: int, windows: Windows) -> "Trial":
        """Pools of which nothing was seen."""
        rows = windows.rows
        return cls(
            expected=np.zeros((rows, pools)),
            size=np.zeros((rows, READINGS, pools)),
            target=np.zeros((rows, READINGS, pools), np.float32),
            need=np.zeros((rows, pools)),
            active=np.zeros(pools),
            covered=np.zeros((MULTIPLES, READINGS, pools), np.float32),
            units=np.zeros(pools),
            missed=np.zeros((READINGS, pools)),
            idle=np.zeros((READINGS, pools)),
            sizes=np.zeros((READINGS, pools)),
            ticks=np.zeros(pools),
            peak=np.ones(pools),
            multiple=np.full((READINGS, pools), -1, np.int64),
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a pool asks of its forecasts."""

    lead_ticks: Whole
    """A VM must have been asked for more than so many ticks before it is needed."""
    miss_floor: Floats
    """The largest share of units that may be missed."""
    price: Floats

    @classmethod
    def of(cls, seconds: int, horizon_seconds: Whole, coverage_bp: Whole, parameters: Parameters) -> "Wanted":
        """From the pool's horizon and coverage. A horizon beyond the hold is time that a wake takes."""
        horizon = np.clip(horizon_seconds, seconds, parameters.longest_horizon_seconds)
        lead = np.maximum(horizon - parameters.hold_seconds, 0) // seconds
        miss = (_ALL_BP - np.clip(coverage_bp, 0, _ALL_BP - 1)) / _ALL_BP
        return cls(
            lead.astype(np.int64),
            np.minimum(_FLOOR_BP * miss, 1.0),
            parameters.price * (_USUAL_COVERAGE / miss),
        )


def _whole(value: Floats) -> Floats:
    """VMs for a level: rounded up, and no sum of tenths is rounded up for its last binary digit."""
    return np.maximum(np.ceil(value - _CEILING_SLACK), 1.0)


def hold(trial: Trial, windows: Windows, number: int, before: int) -> None:
    """The ticks that were left out between `before` and `number` stand as the last one did."""
    rows = windows.rows
    for missed in range(max(before + 1, number - rows), number if before >= 0 else 0):
        row, last = missed % rows, before % rows
        for ring in (trial.expected, trial.size, trial.target, trial.need):
            ring[row] = ring[last]


def judge(trial: Trial, windows: Windows, wanted: Wanted, number: int, now: Look) -> Flags:
    """Compare every course with the tick that came. Returns where units came, so that a multiple may have become another.

    Between two samples what is held active stands: what rose meanwhile is counted with the sample that tells of it, and its
    idle VMs count for all the ticks that it stands for.
    """
    known = now.known
    rows = windows.rows
    need = np.where(now.seen, _whole(now.level), 0.0)
    trial.need[number % rows] = need
    active = need
    for back in range(1, windows.hold):
        active = np.maximum(active, trial.need[(number - back) % rows])
    before = trial.active
    trial.active = np.where(now.good, active, before)
    rise = np.where(known & (before > 0), np.maximum(active - before, 0.0), 0.0)
    trial.peak = np.maximum(np.maximum(trial.peak * windows.keep_peak, active), 1.0)
    longest = windows.hold + int(wanted.lead_ticks.max(initial=0))
    counts = [
        (back, (back > wanted.lead_ticks) & (back <= wanted.lead_ticks + windows.hold))
        for back in range(1, min(longest, rows - 1) + 1)
    ]
    awake = np.zeros_like(trial.idle)
    for back, counted in counts:
        awake = np.maximum(awake, np.where(counted, trial.target[(number - back) % rows], 0.0))
    keep = windows.keep
    stands_for = np.where(known, now.apart, 0.0)
    trial.ticks = trial.ticks * keep + stands_for
    trial.idle = trial.idle * keep + np.maximum(awake - active, 0.0) * stands_for
    own = np.maximum(active - np.maximum(awake, before), 0.0)
    trial.missed = trial.missed + np.where(rise > 0, own, 0.0)
    for columns in _blocks(rise > 0):
        _note(
            trial,
            rows,
            number,
            counts=counts,
            columns=columns,
            before=before[columns],
            rise=rise[columns],
        )
    trial.units = trial.units + rise
    return rise > 0


def _blocks(chosen: Flags) -> Iterator[Whole]:
    """The chosen columns, so few at a time that what is tried of them all stays in a processor's cache.

    In a morning all pools rise in one tick; at once that is 65 MB an operation, and takes three times as long.
    """
    columns = np.flatnonzero(chosen)
    for start in range(0, len(columns), _TOGETHER):
        yield columns[start : start + _TOGETHER]


def _note(
    trial: Trial,
    rows: int,
    number: int,
    *,
    counts: list[tuple[int, Flags]],
    columns: Whole,
    before: Floats,
    rise: Floats,
) -> None:
    best = np.zeros((MULTIPLES, trial.size.shape[1], len(columns)))
    for back, counted in counts:
        row = (number - back) % rows
        margin = np.minimum(
            MULTIPLE[:, None, None] * trial.size[row][:, columns][None, :, :], trial.peak[columns]
        )
        tried = _whole(trial.expected[row][columns] + margin)
        best = np.maximum(best, np.where(counted[columns], tried, 0.0))
    trial.covered[:, :, columns] += np.minimum(np.maximum(best - before, 0.0), rise).astype(np.float32)


def choose(
    trial: Trial,
    windows: Windows,
    wanted: Wanted,
    parameters: Parameters,
    *,
    number: int,
    expected: Floats,
    size: Floats,
    anew: Flags,
    lately: Flags,
) -> tuple[Floats, Floats]:
    """The target in whole VMs and the margin in it, from the cheapest readings, each at its cheapest multiple.

    `anew` are the pools whose multiples are chosen again; for the others they stand. `lately` are those that had a sample: a
    silence counts for nothing. No margin is larger than the pool's peak:
    a pool that wakes from nothing has errors that are many times its level, and would else ask for many times its quota.
    """
    trial.ticks = np.maximum(trial.ticks, 1.0)
    size = np.minimum(size, trial.peak)
    trial.sizes = trial.sizes * windows.keep + np.where(lately, size, 0.0)
    for columns in _blocks(anew):
        trial.multiple[:, columns] = _cheapest(trial, wanted, parameters, columns)
    margin = np.minimum(MULTIPLE[trial.multiple] * size, trial.peak)
    target = _whole(expected + margin)
    row = number % windows.rows
    trial.expected[row], trial.size[row], trial.target[row] = expected, size, target
    cost = _costs(trial, wanted, parameters)
    alike = cost <= (1.0 + parameters.alike) * np.min(cost, axis=0)
    count, total = np.zeros_like(expected), np.zeros_like(expected)
    for reading in range(READINGS):
        count = count + alike[reading]
        total = total + np.where(alike[reading], margin[reading], 0.0)
    kept = total / count
    return _whole(expected + kept), kept


def _costs(trial: Trial, wanted: Wanted, parameters: Parameters) -> Floats:
    """(readings, pools): what each reading's own course cost: VMs idle for nothing by the pool's peak, and units missed."""
    prior = parameters.prior_units
    miss = (trial.missed + prior * _USUAL_MISS) / (trial.units + prior)
    short = np.maximum(miss - wanted.miss_floor, 0.0)
    return trial.idle / trial.ticks / trial.peak + wanted.price * (miss + parameters.shortfall_price * short)


def _cheapest(trial: Trial, wanted: Wanted, parameters: Parameters, columns: Whole) -> Whole:
    prior = parameters.prior_units
    covered = trial.covered[:, :, columns].astype(np.float64) + prior * (1.0 - _PRIOR_MISS)[:, None, None]
    miss = 1.0 - covered / (trial.units[columns] + prior)
    # The sizes' mean says what one multiple more keeps awake.
    mean = trial.sizes[:, columns] / trial.ticks[columns] / trial.peak[columns]
    cost = MULTIPLE[:, None, None] * mean + wanted.price[columns] * miss
    allowed = miss <= wanted.miss_floor[columns]
    allowed[-1] = True
    return np.argmin(np.where(allowed, cost, np.inf), axis=0)


def fade(trial: Trial, windows: Windows) -> None:
    """Once an hour: what was covered and what was missed counts less, and the units with them, so that shares stay shares."""
    trial.covered *= np.float32(windows.keep_hour)
    trial.missed *= windows.keep_hour
    trial.units = trial.units * windows.keep_hour
