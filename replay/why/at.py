"""Reading the ledger for `why ORG/POOL@TIME`: to the instant, and a little on from there."""

import datetime as dt
from contextlib import aclosing
from dataclasses import dataclass, fields
from typing import ClassVar, Final

import msgspec

from events.envelope import Recorded
from events.fact import Fact
from events.fold import Fold
from events.forecast import ForecastMade
from replay.history import Told, Until, fold, folding
from replay.source import Source
from replay.why.event import Step, steps_of
from replay.why.pool import LOOK_AHEAD, LOOK_BACK, PoolThen, told
from replay.why.story import Story
from services.forecaster.decide import HELD
from services.gate.state import State

_WINDOW: Final = dt.timedelta(seconds=330)
"""The five minutes that the instant lies in are told when they are over, and a moment later."""

_FORETOLD: Final = HELD + _WINDOW
"""A tick that changed nothing is told with those behind it, an hour later at the latest."""

_LAST_YEAR: Final = 9999


class PlaceError(ValueError):
    """The pool or the instant is none that the ledger knows."""

    code = "PlaceUnknown"


class PoolAnswer(msgspec.Struct, frozen=True):
    """The pool at the instant, and what happened to it around then."""

    then: PoolThen
    ended_at: dt.datetime | None
    """When the ledger's last event was stored, where the instant is later than that."""
    steps: tuple[Step, ...]


async def pool_at(
    source: Source, org: str, pool: str, until: Until, progress: Told | None = None
) -> PoolAnswer:
    """The pool at an instant, or right behind a sequence; `PlaceError` where there was none.

    Errors of reading as in `replay.history`. Writes nothing, so that it may be interrupted at any time.
    """
    if isinstance(until, dt.datetime) and until.year >= _LAST_YEAR:
        raise PlaceError(f"{until:%Y-%m-%d} is later than anybody can decide by: choose an earlier instant.")
    last = await source.last()
    state, story = State(), Story(org, pool)
    folds: list[Fold] = [getattr(state, field.name) for field in fields(state)]
    seq = await fold(source, [*folds, story], until, progress)
    if seq == 0:
        raise PlaceError(f"The ledger holds no event up to {until}: choose a later place.")
    stored_at = await _stored_at(source, seq)
    at = until if isinstance(until, dt.datetime) else stored_at
    # What follows is told, and changes nothing of what was known at the instant.
    ahead = story.sequel()
    reached = await fold(source, [ahead], at + _WINDOW, after=seq)
    await _read_on(source, ahead, at, reached)
    then = told(state, story, ahead, at, seq)
    if then is None:
        raise PlaceError(
            f"The org {org} had no pool {pool} at {at:%Y-%m-%d %H:%M:%S} UTC (sequence {seq}): "
            "`virtscale pools` lists those of today."
        )
    before = [link for link in story.lately if link.recorded.stored_at >= at - LOOK_BACK]
    behind = [link for link in ahead.lately if link.recorded.stored_at <= at + LOOK_AHEAD]
    ended_at = stored_at if seq == last and stored_at < at else None
    return PoolAnswer(
        then, ended_at, tuple(step for link in before + behind for step in steps_of(link, "then"))
    )


@dataclass(slots=True)
class _Coming:
    """The first forecast of a pool that was made after an instant."""

    TAKES: ClassVar[frozenset[type[Fact]]] = frozenset({ForecastMade})

    org: str
    pool: str
    at: dt.datetime
    made: ForecastMade | None = None

    def apply(self, recorded: Recorded) -> None:
        """It is known if this is it."""
        told = recorded.fact
        if self.made is None and isinstance(told, ForecastMade):
            ours = (told.org, told.pool) == (self.org, self.pool)
            self.made = told if ours and told.made_at > self.at else None


async def _read_on(source: Source, ahead: Story, at: dt.datetime, after: int) -> None:
    """What follows has the forecast that tells the instant's tick, wherever in the next hour it is."""
    if any(told.made_at > at for told in ahead.foreseen):
        return
    coming = _Coming(ahead.org, ahead.pool, at)
    async with aclosing(folding(source, [coming], at + _FORETOLD, after=after)) as groups:
        async for _ in groups:
            if coming.made is not None:
                ahead.foreseen.append(coming.made)
                return


async def _stored_at(source: Source, seq: int) -> dt.datetime:
    """When the bus stored the message, to the microsecond."""
    async with aclosing(source.read(seq, seq)) as groups:
        async for group in groups:
            return dt.datetime.fromtimestamp(group[0].stored_ns // 1000 / 1e6, dt.UTC)
    raise AssertionError(seq)  # a reading of one message yields one group, or raises
