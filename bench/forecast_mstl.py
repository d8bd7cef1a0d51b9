"""A classical forecast in the table: MSTL of `statsforecast`, daily and weekly seasons of hourly means, made anew every 6 h.

Imported only when it is there: it is large, and nothing but the bench needs it.
"""

import importlib
import warnings
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from replay.backtest.score import Course, Targets

_SLOT_SECONDS: Final = 3600
_REFRESHED_SECONDS: Final = 6 * 3600
_DAY: Final = 86_400
_TAUGHT_DAYS: Final = 7
_MOST_DAYS: Final = 21


def forecasts(course: Course, told: Callable[[int, int], None]) -> NDArray[np.float64]:
    """The level that was forecast for each sample, at the latest six hours before; until day 7, the level itself."""
    models: Any = importlib.import_module("statsforecast.models")
    step = course.terms.step_seconds
    slot = max(_SLOT_SECONDS, step)
    samples, daily, often = slot // step, _DAY // slot, max(1, _REFRESHED_SECONDS // slot)
    slots = len(course.level) // samples
    means = course.demand[: slots * samples].reshape(slots, samples).mean(axis=1)
    ahead = np.repeat(means, samples)
    ahead = np.concatenate((ahead, np.full(len(course.level) - len(ahead), ahead[-1])))
    for first in range(_TAUGHT_DAYS * daily, slots, often):
        told(first, slots)
        last = min(slots, first + often)
        past = means[max(0, first - _MOST_DAYS * daily) : first]
        seasons = [daily, 7 * daily] if len(past) >= 2 * _TAUGHT_DAYS * daily else [daily]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its search for a trend model says what it tried
            made = models.MSTL(season_length=seasons).forecast(y=past, h=often)["mean"]
        ahead[first * samples : last * samples] = np.repeat(made[: last - first], samples)
    return ahead


def targets(course: Course, ahead: NDArray[np.float64], headroom: float) -> Targets:
    """The larger one of the forecasts for now and for 90 s from now, times (1 + headroom)."""
    later = np.concatenate(
        (ahead[course.terms.hold_samples :], np.full(course.terms.hold_samples, ahead[-1]))
    )
    wanted = np.maximum(ahead, later)[course.at] * (1 + headroom)
    return np.ceil(np.clip(wanted, 1, course.terms.vms)).astype(np.int64)
