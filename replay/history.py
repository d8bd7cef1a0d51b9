"""The ledger read back from its first event to a place in it: into folds, or event by event."""

import datetime as dt
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from events.bus.ledger import Dispatch, takes
from events.bus.port import Stored
from events.envelope import Recorded, read
from events.fact import Fact
from events.fold import Fold
from events.registry import NEWEST
from replay.source import Source

Until = int | dt.datetime | None
"""Where to stop: behind this sequence, before the first event that was stored after this instant, or at the end.

The bus's clock may step back: what is read is always a prefix of the ledger, never a choice from it.
"""

Told = Callable[[int, int], None]
"""Hears the last sequence that was read and the one that the reading goes to."""


async def fold(
    source: Source,
    folds: Sequence[Fold],
    until: Until = None,
    progress: Told | None = None,
    *,
    after: int = 0,
) -> int:
    """The folds include everything from the event behind `after` to `until`; the last sequence that they include.

    `after` is for folds that include what stands before it already. Raises `UnknownEventError` for an event that nobody
    understands, as the workers' own reading does, and `BusError` where the source cannot be read.
    """
    seq = after
    async with aclosing(folding(source, folds, until, progress, after=after)) as steps:
        async for stored in steps:
            seq = stored.seq
    return seq


async def folding(
    source: Source,
    folds: Sequence[Fold],
    until: Until = None,
    progress: Told | None = None,
    *,
    after: int = 0,
) -> AsyncGenerator[Stored]:
    """As `fold`, and after each group the last message that the folds include: for who writes down what they hold."""
    take, passed_over = Dispatch(folds).take, _passed_over(folds)
    async with aclosing(_groups(source, after, until, progress)) as groups:
        async for group in groups:
            for stored in group:
                # Without an id no pen wrote it: it is no event and folds to nothing (`events.bus.ledger`).
                if stored.id and not (passed_over and _name(stored.subject) in passed_over):
                    take(read(stored.seq, stored.stored_ns, stored.payload, stored.subject))
            yield group[-1]


def _passed_over(folds: Sequence[Fold]) -> frozenset[str]:
    """Events that no fold takes, by the last two words of their subjects, where those are most of all there are.

    What stands on the subject of another event is not believed anyway. A name that nobody knows is never passed over.
    """
    taken: set[type[Fact]] = set()
    for one in folds:
        named = takes(one)
        if named is None:
            return frozenset()
        taken |= named
    left = frozenset(row.name for fact, row in NEWEST.items() if fact not in taken)
    return left if len(left) > len(NEWEST) // 2 else frozenset()


def _name(subject: str) -> str:
    return subject[subject.rfind(".", 0, subject.rfind(".")) + 1 :]


async def recorded(
    source: Source, after: int = 0, until: Until = None, progress: Told | None = None
) -> AsyncGenerator[list[Recorded]]:
    """The events behind `after`, in order and in groups; what is no event is left out. Errors as `fold`."""
    async with aclosing(_groups(source, after, until, progress)) as groups:
        async for group in groups:
            yield [
                read(stored.seq, stored.stored_ns, stored.payload, stored.subject)
                for stored in group
                if stored.id
            ]


async def _groups(
    source: Source, after: int, until: Until, progress: Told | None
) -> AsyncGenerator[list[Stored]]:
    """The messages behind `after` up to `until`; told is what the caller has done with, not what has come."""
    last = await source.last()
    if isinstance(until, int):
        last = min(last, until)
    too_late_ns = _behind_ns(until) if isinstance(until, dt.datetime) else None
    if after >= last:
        return
    async with aclosing(source.read(after + 1, last)) as groups:
        async for group in groups:
            early = group
            if too_late_ns is not None:
                early = group[
                    : next((at for at, one in enumerate(group) if one.stored_ns >= too_late_ns), None)
                ]
            if early:
                yield early
                if progress is not None:
                    progress(early[-1].seq, last)
            if len(early) < len(group):
                return


def _behind_ns(moment: dt.datetime) -> int:
    """The first nanosecond behind the microsecond that the instant names."""
    since = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return (since // dt.timedelta(microseconds=1) + 1) * 1000
