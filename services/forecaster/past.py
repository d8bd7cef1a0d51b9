"""What the telemetry still holds of pools' past, and a model that learns from it while the others go on.

A new pool has a column at once and is forecast by what it shows; its past, seven days of ticks, is taught to a model of its
own in small steps between other work, which then takes the column's place.
"""

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from events.bus.telemetry import Heard, Page, Telemetry, tick_of
from schemas.telemetry import TICK_SECONDS
from services.forecaster.model import Model
from services.forecaster.roster import NO_SAMPLE, RING, Place, Roster

REACH: Final = dt.timedelta(days=8)
"""How far back the telemetry goes; what it keeps no more, nobody learns from."""

MOST_POOLS: Final = 512
"""Taught together: 83 MB of samples, five minutes of work."""

_WEEK_TICKS: Final = 7 * 86_400 // TICK_SECONDS
_STEPS: Final = 4
"""Ticks of few pools between which others have their turn, some three milliseconds; with many, after each."""

_FEW: Final = 32

_MILLI: Final = 1000.0


@dataclass(slots=True)
class Past:
    """Samples of some pools from tick `first` on, one row a tick and one column a pool."""

    names: list[Place]
    first: int
    samples: NDArray[np.int32]

    @property
    def empty(self) -> bool:
        """Whether nothing was ever told of any of them."""
        return not bool(np.any(self.samples >= 0))


async def recall(telemetry: Telemetry, names: Sequence[Place], until: int, now: dt.datetime) -> Past:
    """Everything that was told of the pools up to tick `until`, at most of seven days; the first word on a tick counts.

    Read org by org, so that a message is looked at once. Raises `Unanswered` when the bus is away.
    """
    first = until + 1 - _WEEK_TICKS
    samples = np.full((_WEEK_TICKS, len(names)), NO_SAMPLE, np.int32)
    orgs: dict[str, dict[str, int]] = {}
    for column, (org, pool) in enumerate(names):
        orgs.setdefault(org, {})[pool] = column
    for org, columns in orgs.items():
        page = await telemetry.since(now - REACH, org)
        while not page.end:
            _note(page, columns, first, samples)
            page = await telemetry.after(page.seq, org)
            await asyncio.sleep(0)
    told = np.flatnonzero(np.any(samples >= 0, axis=1))
    skip = int(told[0]) if len(told) else len(samples)
    return Past(list(names), first + skip, samples[skip:])


def _note(page: Page, columns: dict[str, int], first: int, samples: NDArray[np.int32]) -> None:
    for heard in page.heard:
        row = heard.told.tick - first
        if 0 <= row < len(samples) and not _future(heard):
            for one in heard.told.pools:
                column = columns.get(one.pool)
                if column is not None and samples[row, column] == NO_SAMPLE:
                    samples[row, column] = one.milli_vms


def _future(heard: Heard) -> bool:
    at = dt.datetime.fromtimestamp(heard.stored_ns / 1e9, dt.UTC)
    return heard.told.tick > tick_of(at)


async def teach(past: Past, roster: Roster) -> Model | None:
    """A model that took in the past and then what the roster did meanwhile, up to the same tick; None when that is too long ago.

    Others have their turn between the steps, and the roster goes on; whoever takes it over must do so before they do again.
    """
    model = Model(len(past.names), tick_seconds=TICK_SECONDS, parameters=roster.model.parameters)
    places = [roster.place[name] for name in past.names if name in roster.place]
    if len(places) < len(past.names):
        return None
    model.horizon_seconds = roster.model.horizon_seconds[places]
    model.coverage_bp = roster.model.coverage_bp[places]
    steps = _STEPS if len(places) <= _FEW else 1
    for row in range(len(past.samples)):
        _learn(model, past.first + row, past.samples[row])
        if row % steps == 0:
            await asyncio.sleep(0)
    while (number := model.number + 1) <= roster.number:
        if roster.number - number >= RING or any(name not in roster.place for name in past.names):
            return None
        now = roster.samples[number % RING][[roster.place[name] for name in past.names]]
        _learn(model, number, now)
        if number % steps == 0:
            await asyncio.sleep(0)
    return model


def _learn(model: Model, number: int, milli: NDArray[np.int32]) -> None:
    model.tick(number, np.where(milli >= 0, milli / _MILLI, np.nan))
