"""Which pool stands in which column of the model, and the last hour of each: samples and targets, tick by tick."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from events.forecast import Outlook
from schemas.pool import Pool
from schemas.telemetry import MOST_MILLI_VMS, TICK_SECONDS
from services.forecaster.decide import foreseen_seconds
from services.forecaster.model import Forecast, Model

RING: Final = 240
"""Ticks that are remembered one by one: the hour after which a pool's ticks are told in any case."""

NO_SAMPLE: Final = -1
NOT_HERE: Final = -2
"""In the place of a sample: none came; or the pool had no column yet."""

NEVER: Final = -1
PEAK_SECONDS: Final = 1800
"""How far ahead a sleeper must not be needed to be put to disk."""

_MILLI: Final = 1000.0
_OF_HOURS: Final = 3600 // TICK_SECONDS

Place = tuple[str, str]
"""Org and name of a pool."""

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Span:
    """Ticks of one pool that are told together: the first one's number, how many, their targets, and a digest of their samples."""

    first: int
    ticks: int
    target_min: int
    target_max: int
    input: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What the model said at one tick, in plain lists of one value per column: quick to look at one by one."""

    number: int
    target: list[int]
    """The largest of the last cooldown."""
    outlook: list[Outlook | None]
    history_ticks: list[int]


class Roster:
    """Columns, and who stands in them. Two rosters that took in the same ticks are equal bit for bit."""

    def __init__(self, model: Model | None = None) -> None:
        self.model = model if model is not None else Model(0, tick_seconds=TICK_SECONDS)
        self.names: list[Place] = []
        self.place: dict[Place, int] = {}
        self.samples: NDArray[np.int32] = np.full((RING, 0), NOT_HERE, np.int32)
        self.targets: NDArray[np.int32] = np.zeros((RING, 0), np.int32)
        self.hold: NDArray[np.int64] = np.zeros(0, np.int64)
        """Ticks of each pool's cooldown."""
        self.measured: NDArray[np.int64] = np.zeros(0, np.int64)
        """The last tick with a sample."""
        self.begun: NDArray[np.int64] = np.zeros(0, np.int64)
        """The first tick that the column took in."""
        self.learnt: NDArray[np.bool_] = np.zeros(0, np.bool_)
        """Whether its past was looked for."""

    @property
    def number(self) -> int:
        """The last tick that was taken in; -1 before the first."""
        return self.model.number

    def seat(self, pools: Mapping[Place, Pool]) -> None:
        """The columns are those of these pools, with their horizon, coverage and cooldown as they are defined now."""
        if any(name not in pools for name in self.names):
            self._leave([place for place, name in enumerate(self.names) if name in pools])
        new = [name for name in pools if name not in self.place]
        if new:
            self._enter(new)
        defined = [pools[name] for name in self.names]
        self.model.horizon_seconds = np.array([foreseen_seconds(pool) for pool in defined], np.int64)
        self.model.coverage_bp = np.array([pool.coverage_bp for pool in defined], np.int64)
        ticks = np.array([-(-pool.cooldown_seconds // TICK_SECONDS) for pool in defined], np.int64)
        self.hold = np.minimum(np.maximum(ticks, 1), RING)

    def _enter(self, new: Sequence[Place]) -> None:
        count = len(new)
        self.model.add(count)
        self.names += new
        self.samples = np.concatenate((self.samples, np.full((RING, count), NOT_HERE, np.int32)), axis=1)
        self.targets = np.concatenate((self.targets, np.zeros((RING, count), np.int32)), axis=1)
        self.measured = np.concatenate((self.measured, np.full(count, NEVER, np.int64)))
        self.begun = np.concatenate((self.begun, np.full(count, self.number + 1, np.int64)))
        self.learnt = np.concatenate((self.learnt, np.zeros(count, np.bool_)))
        self._index()

    def _leave(self, keep: list[int]) -> None:
        order = np.array(keep, np.int64)
        self.model.keep(order)
        self.names = [self.names[place] for place in keep]
        self.samples = np.ascontiguousarray(self.samples[:, order])
        self.targets = np.ascontiguousarray(self.targets[:, order])
        self.measured, self.begun, self.learnt = self.measured[order], self.begun[order], self.learnt[order]
        self._index()

    def _index(self) -> None:
        self.place = {name: place for place, name in enumerate(self.names)}

    def tick(self, number: int, milli: Mapping[Place, int]) -> Forecast:
        """The tick is taken in: thousandths of a VM by pool; who is not named had no sample."""
        if self.number < 0:
            self.begun[:] = number
        row = number % RING
        now = np.full(len(self.names), NO_SAMPLE, np.int32)
        for name, demand in milli.items():
            place = self.place.get(name)
            if place is not None:
                now[place] = demand
        self.samples[row] = now
        self.measured = np.where(now >= 0, number, self.measured)
        forecast = self.model.tick(number, np.where(now >= 0, now / _MILLI, np.nan))
        self.targets[row] = np.minimum(forecast.target, MOST_MILLI_VMS)
        return forecast

    def see(self, forecast: Forecast) -> Seen:
        """What was said of the newest tick, with each target held for its pool's cooldown."""
        number = self.number
        held: NDArray[np.int32] = self.targets[number % RING].copy()
        for back in range(1, int(self.hold.max(initial=1))):
            within = (back < self.hold) & (number - back >= self.begun)
            held = np.where(within, np.maximum(held, self.targets[(number - back) % RING]), held)
        peak = self.model.peak_within(PEAK_SECONDS)
        parts = [
            _milli(part)
            for part in (forecast.level, forecast.slope, forecast.seasonal, forecast.margin, peak)
        ]
        seen = self.measured >= 0
        outlook = [
            Outlook(level or 0, slope or 0, _above(seasonal), max(margin or 0, 0), _above(most))
            if known
            else None
            for known, level, slope, seasonal, margin, most in zip(seen.tolist(), *parts, strict=True)
        ]
        return Seen(number, held.tolist(), outlook, forecast.history_ticks.tolist())

    def span(self, place: int, after: int) -> Span:
        """The ticks of one column behind `after` that are remembered, up to the newest: at least that one."""
        last = self.number
        first = min(max(after + 1, int(self.begun[place]), last - RING + 1), last)
        rows = [number % RING for number in range(first, last + 1)]
        targets = self.targets[rows, place]
        digest = input_digest(first, self.samples[rows, place].tolist())
        return Span(first, len(rows), int(targets.min()), int(targets.max()), digest)

    def take_over(self, taught: Model, names: Sequence[Place]) -> None:
        """The columns of these pools know what `taught`, a model at the same tick, learnt of their past."""
        assert taught.number == self.number, (taught.number, self.number)
        here = [place for place, name in enumerate(names) if name in self.place]
        mine, theirs = self.model.state(), taught.state()
        places = [self.place[names[column]] for column in here]
        for name, array in mine.items():
            if array.ndim:
                array[..., places] = theirs[name][..., here]
        self.model = Model.of_state(mine, tick_seconds=TICK_SECONDS, parameters=self.model.parameters)
        self.learnt[places] = True

    def arrays(self) -> Arrays:
        """All that must be kept to go on bit for bit, beside the names of the pools."""
        own: Arrays = {
            "samples": self.samples,
            "targets": self.targets,
            "hold": self.hold,
            "measured": self.measured,
            "begun": self.begun,
            "learnt": self.learnt,
        }
        return {f"roster.{name}": array.copy() for name, array in own.items()} | self.model.state()

    @classmethod
    def of_arrays(cls, names: Sequence[Place], kept: Arrays) -> "Roster":
        """The roster that these arrays were taken of; `KeyError` or `ValueError` for what another version kept."""
        roster = cls(Model.of_state(kept, tick_seconds=TICK_SECONDS))
        roster.names = list(names)
        roster._index()
        count = len(names)
        for name in ("samples", "targets", "hold", "measured", "begun", "learnt"):
            array, fresh = kept[f"roster.{name}"], getattr(roster, name)
            if array.dtype != fresh.dtype or array.shape != (*fresh.shape[:-1], count):
                raise ValueError(
                    f"A kept roster has {name} as {array.dtype}{array.shape}: of another version."
                )
            setattr(roster, name, array.copy())
        if roster.model.pools != count:
            raise ValueError(f"A kept roster names {count} pools and its model has {roster.model.pools}.")
        return roster


def input_digest(first: int, samples: Sequence[int]) -> str:
    """Names the samples of successive ticks: of the first one's number (8 bytes) and each in thousandths (4), big end first.

    A tick without a sample counts as -1. Whoever has the telemetry computes the same.
    """
    raw = first.to_bytes(8, "big") + np.array(samples, ">i4").tobytes()
    return hashlib.sha256(raw).hexdigest()[:32]


def _milli(vms: NDArray[np.float64]) -> list[int | None]:
    """Whole thousandths, within what an event may say; None where there is no number."""
    known = np.isfinite(vms)
    whole = np.rint(np.clip(np.where(known, vms, 0.0) * _MILLI, -MOST_MILLI_VMS, MOST_MILLI_VMS))
    return [
        int(value) if there else None for value, there in zip(whole.tolist(), known.tolist(), strict=True)
    ]


def _above(milli: int | None) -> int | None:
    return None if milli is None else max(milli, 0)
