"""The forecaster itself over a trace: the model that runs live, tick by tick, and nothing of it copied."""

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from replay.backtest.score import Course
from services.forecaster.model import Model
from services.forecaster.parameters import DEFAULT, Parameters

NAME: Final = "forecast"
"""How the command and the bench call it, beside the rules of `replay.backtest.policies`."""

_TOLD_EVERY: Final = 256


def forecast(
    course: Course,
    coverages_bp: Sequence[int],
    *,
    start_seconds: int = 0,
    horizon_seconds: int = 90,
    parameters: Parameters = DEFAULT,
    told: Callable[[int, int], None] | None = None,
) -> NDArray[np.int64]:
    """One row of targets per coverage, each with a target per decision, within 1 and the trace's VMs.

    Every coverage is a pool of its own in one model, and pools do not see each other, so that a whole curve costs one pass.
    `start_seconds` places the trace in the week, as the live forecaster is placed by the clock.
    """
    terms = course.terms
    model = Model(len(coverages_bp), tick_seconds=terms.tick_seconds, parameters=parameters)
    model.coverage_bp[:] = coverages_bp
    model.horizon_seconds[:] = horizon_seconds
    first = start_seconds // terms.tick_seconds
    demand = ticks(course)
    targets = np.empty((len(coverages_bp), len(demand)), dtype=np.int64)
    for number, value in enumerate(demand.tolist()):
        made = model.tick(first + number, np.full(len(coverages_bp), value))
        targets[:, number] = made.target
        if told is not None and number % _TOLD_EVERY == 0:
            told(number, len(demand))
    if told is not None:
        told(len(demand), len(demand))
    return np.clip(targets, 1, terms.vms)


def ticks(course: Course) -> NDArray[np.float64]:
    """The mean demand, in VMs, of the samples since the last decision up to and with the one at which is decided.

    Only what was measured counts. Where nothing was, it is NaN, which the model holds through as it does live.
    """
    begins = np.concatenate((np.zeros(1, np.int64), course.at[:-1] + 1))
    last = int(course.at[-1]) + 1
    measured = course.measured[:last]
    summed = np.add.reduceat(np.where(measured, course.demand[:last], 0.0), begins)
    count = np.add.reduceat(measured.astype(np.int64), begins)
    return np.divide(summed, count, out=np.full(len(begins), np.nan), where=count > 0)
