"""Reading the ledger for `why ORG/POOL@TIME`: to the instant, and a little on from there."""

import datetime as dt
from contextlib import aclosing
from dataclasses import fields
from typing import Final

import msgspec

from events.fold import Fold
from replay.history import Told, Until, fold
from replay.source import Source
from replay.why.event import Step, steps_of
from replay.why.pool import LOOK_AHEAD, LOOK_BACK, PoolThen, told
from replay.why.story import Story
from services.gate.state import State

_WINDOW: Final = dt.timedelta(seconds=330)
"""The five minutes that the instant lies in are told when they are over, and a moment later."""

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
    await fold(source, [ahead], at + _WINDOW, after=seq)
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


async def _stored_at(source: Source, seq: int) -> dt.datetime:
    """When the bus stored the message, to the microsecond."""
    async with aclosing(source.read(seq, seq)) as groups:
        async for group in groups:
            return dt.datetime.fromtimestamp(group[0].stored_ns // 1000 / 1e6, dt.UTC)
    raise AssertionError(seq)  # a reading of one message yields one group, or raises
