"""What the users of a run saw, from their requests and from when VMs woke."""

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from replay.figures.clients import FORMAT, Clients
from virtscale.demo.crowd import Requests
from virtscale.demo.units import Units
from virtscale.demo.wakes import FRESH, Wake

WAIT_MS: Final = 100.0
"""A request that takes so much longer than others has waited: a wake takes about as long, and nobody notices less."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run's clocks and name."""

    source: str
    began_at: dt.datetime
    ended_at: dt.datetime


def clients(run: Run, requests: Requests, wakes: Sequence[Wake], units: Units) -> Clients:
    """The run in numbers. Of a failed request only that it failed is counted: how long it took says nothing."""
    due = np.array(requests.due_at, dtype=np.float64)
    took = np.array(requests.took_ms, dtype=np.float64)
    by = np.array(requests.by, dtype=np.int64)
    begins = run.began_at.timestamp()
    counted = due >= begins
    due, took, by = due[counted], took[counted], by[counted]
    answered = by >= 0
    fresh = _fresh(due, by, requests.vms, wakes)
    steady = took[answered & ~fresh]
    median = _rank(steady, 0.5)
    extra = took[fresh] - (0.0 if median is None else median)
    return Clients(
        format=FORMAT,
        source=run.source,
        began_at=run.began_at,
        ended_at=run.ended_at,
        requests=len(due),
        failed=int((~answered).sum()),
        fresh=int(fresh.sum()),
        waited=int((extra > WAIT_MS).sum()),
        wait_ms=WAIT_MS,
        fresh_seconds=int(FRESH.total_seconds()),
        steady_p50_ms=median,
        p50_ms=_rank(took[answered], 0.5),
        p99_ms=_rank(took[answered], 0.99),
        tax_ms=round(float(extra.mean()), 3) if len(extra) and median is not None else None,
        units=units.units,
        hits=units.hits,
        absorbed=units.absorbed,
        late=units.late,
        seconds=units.seconds,
        short_seconds=units.short_seconds,
    )


def _fresh(
    due: NDArray[np.float64],
    by: NDArray[np.int64],
    vms: dict[str, int],
    wakes: Sequence[Wake],
) -> NDArray[np.bool_]:
    """Which requests were answered by a VM that had been announced just before they were due, or while they waited."""
    fresh = np.zeros(len(due), dtype=np.bool_)
    for wake in wakes:
        places = [place for name, place in vms.items() if name == wake.vm or name.endswith(f".{wake.vm}")]
        begins = wake.ordered_at.timestamp()
        ends = (wake.announced_at + FRESH).timestamp()
        for place in places:
            fresh |= (by == place) & (due >= begins) & (due <= ends)
    return fresh


def _rank(values: NDArray[np.float64], share: float) -> float | None:
    """The quantile by nearest rank, one of the values."""
    if not len(values):
        return None
    place = max(0, math.ceil(len(values) * share) - 1)
    return round(float(np.partition(values, place)[place]), 3)
