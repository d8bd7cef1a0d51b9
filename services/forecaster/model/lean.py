"""Whether errors upwards are larger while demand climbs than while it falls: learned per pool, in seven steps of the slope.

In most pools they are. A margin that knows it is thinner in the evening and thicker in the morning, and costs less in all.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from services.forecaster.model.columns import Flags, Floats, Whole
from services.forecaster.parameters import DAY_SECONDS

_EDGES: Final = (-2.0, -1.0, -0.3, 0.3, 1.0, 2.0)
"""Of the slope, in units of the error's size."""
STEPS: Final = len(_EDGES) + 1
_PRIOR_TICKS: Final = 50.0
_LEAST_SHARE: Final = 0.0005
_MEMORY_DAYS: Final = 3
_MOST: Final = 25.0
_LEAST_FACTOR: Final = 0.33
_MOST_FACTOR: Final = 3.0


@dataclass(slots=True)
class Lean:
    """Mean squares of errors upwards in units of the size that was expected: per step of the slope, and of all."""

    squares: Floats
    """(steps, pools)"""
    ticks: Floats
    """(steps, pools)"""
    every: Floats
    every_ticks: Floats
    step: Whole
    """In which step the pool was when this tick was forecast."""
    size: Floats
    """What was expected then, in VMs."""

    @classmethod
    def fresh(cls, pools: int) -> "Lean":
        """Pools of which nothing was seen: all steps are alike."""
        return cls(
            np.ones((STEPS, pools)),
            np.zeros((STEPS, pools)),
            np.ones(pools),
            np.zeros(pools),
            np.full(pools, STEPS // 2, np.int64),
            np.ones(pools),
        )


def learn(lean: Lean, error: Floats, known: Flags, apart: Floats, tick_seconds: int) -> None:
    """Take in by how much the level differed from what was expected of it, by a sample that stands for `apart` ticks."""
    least = np.minimum(max(_LEAST_SHARE, min(1.0, tick_seconds / (_MEMORY_DAYS * DAY_SECONDS))) * apart, 1.0)
    ratio = np.maximum(error, 0.0) / lean.size
    value = 2.0 * np.minimum(ratio * ratio, _MOST)
    places = lean.step, np.arange(len(error))
    ticks = lean.ticks[places] + known
    old = lean.squares[places]
    lean.ticks[places] = ticks
    lean.squares[places] = old + np.where(
        known, np.maximum(least, 1.0 / (ticks + _PRIOR_TICKS)) * (value - old), 0.0
    )
    lean.every_ticks = lean.every_ticks + known
    share = np.maximum(least, 1.0 / (lean.every_ticks + _PRIOR_TICKS))
    lean.every = lean.every + np.where(known, share * (value - lean.every), 0.0)


def factor(lean: Lean, slope: Floats, size: Floats) -> Floats:
    """By how much the error's size upwards is other than usual at this slope. What is told is kept, to be learned from."""
    relative = slope / size
    step = np.zeros(len(slope), np.int64)
    for edge in _EDGES:
        step = step + (relative > edge)
    lean.step, lean.size = step, size
    here = lean.squares[step, np.arange(len(slope))]
    return np.minimum(
        np.maximum(np.sqrt(here / np.maximum(lean.every, _LEAST_SHARE)), _LEAST_FACTOR), _MOST_FACTOR
    )
