"""Views built anew from the ledger: into a file of their own, which takes the place of the old one when it is whole."""

import asyncio
import os
import sqlite3
from collections.abc import Coroutine, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, TypeVar

import aiosqlite

from events import durable
from events.bus.port import BusError, Stored
from events.fold import Fold
from projections.keeper import TABLES
from projections.opening import opened
from projections.rows import Touched, Writer
from projections.swapping import remove, swap
from projections.table import Table
from replay.history import Told, Until, folding
from replay.source import Source
from replay.views import snapshot
from replay.views.digest import Digest, digest

_MANY_ROWS: Final = 20_000
"""Rows that wait to be written: some megabytes. In larger parts more rows change twice before they are written once."""

_SNAPSHOT_EVENTS: Final = 100_000
"""Events between two snapshots: some seconds, which a reading that was killed has to do again."""

T = TypeVar("T")


class Build:
    """Tables of views in an open SQLite file, and the folds that they are written from."""

    def __init__(self, base: aiosqlite.Connection, tables: Sequence[Table[Any]]) -> None:
        self.base = base
        self.seq = 0
        """The last sequence that the folds include."""
        self._tables = tuple(tables)
        self._adopt({kind: kind() for kind in dict.fromkeys(table.fold for table in tables)})

    @property
    def folds(self) -> list[Fold]:
        """The folds, in the order of the tables."""
        return list(self._folds.values())

    def resume(self, folds: Sequence[Fold], seq: int) -> None:
        """These folds, which include everything up to `seq`, are gone on with."""
        self._adopt({type(fold): fold for fold in folds})
        self.seq = seq

    async def create(self) -> None:
        """The file has the tables, without rows."""
        await self._writer.create(self.base)

    async def fold(
        self, source: Source, until: Until, progress: Told | None, keep: "Keep | None" = None
    ) -> None:
        """The folds include everything up to `until`, and all that they forgot on the way is in the file."""
        steps = folding(source, [*self.folds, self.touched], until, progress, after=self.seq)
        async with aclosing(steps):
            async for last in steps:
                self.seq = last.seq
                if keep is not None:
                    keep.last = last
                if self.touched.rows >= _MANY_ROWS:
                    await _whole(self.write(keep))

    async def write(self, keep: "Keep | None" = None) -> None:
        """The file holds the rows as of this sequence; committed."""
        await self._writer.write(self.base, lambda: self.seq)
        if keep is not None:
            await keep.put(self)
        await self.base.commit()

    def _adopt(self, folds: dict[type[Fold], Fold]) -> None:
        self._folds = folds
        self.touched = Touched(self._tables)
        self._writer = Writer(self._tables, folds, self.touched)


class Keep:
    """Puts a snapshot beside the rows, in their own transaction, every so many events."""

    def __init__(self, goal: str) -> None:
        self.last: Stored | None = None
        self.due = 0
        self._goal = goal

    async def put(self, build: Build) -> None:
        """The file holds a snapshot of this moment, if it is time for one."""
        if self.last is not None and build.seq >= self.due:
            taken = snapshot.Snapshot.of(build.folds, self.last, self._goal)
            await build.base.execute(snapshot.WRITE, taken.row)
            self.due = build.seq + _SNAPSHOT_EVENTS


async def rebuild(
    source: Source,
    path: Path,
    tables: Sequence[Table[Any]] = TABLES,
    until: Until = None,
    progress: Told | None = None,
) -> Digest:
    """The file at `path` holds the tables as of `until`, and nothing else; what it held before is gone, all at once.

    Until then the new one grows beside it in `PATH.part`. Whoever is interrupted leaves that behind, and the same call
    goes on there. Errors are those of `replay.history.fold`; the old file is then as it was.
    """
    snapshot.code()  # as the files are now: they may be other ones when the first snapshot is taken
    part = path.with_name(f"{path.name}.part")
    goal = f"{','.join(table.name for table in tables)} until {until}"
    kept = await _usable(part, source, goal)
    if kept is None:
        remove(part)
        # Ours, and made by us now: what is in it will be believed when this is interrupted.
        os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    async with opened(part) as base:
        # Nothing is forced to the disk while the file grows: after a power cut another boot begins anew.
        await base.execute("PRAGMA journal_mode=WAL")
        await base.execute("PRAGMA synchronous=OFF")
        build, keep = Build(base, tables), Keep(goal)
        if kept is None:
            await base.execute(snapshot.CREATE)
            await build.create()
        else:
            build.resume(kept.unpacked(), kept.seq)
        keep.due = build.seq + _SNAPSHOT_EVENTS
        try:
            await build.fold(source, until, progress, keep)
        except (asyncio.CancelledError, BusError):
            # Both come between two groups of events: the folds are whole, and gone on with by the next call.
            keep.due = 0
            await build.write(keep)
            raise
        await build.write()
        await base.execute("DROP TABLE snapshot")
        # One file, without a log beside it: it can be copied, and read where nothing may be written.
        await base.execute("PRAGMA journal_mode=DELETE")
    digested = _digested(part)
    _swap(part, path)
    return digested


async def _usable(part: Path, source: Source, goal: str) -> snapshot.Snapshot | None:
    """The snapshot that an interrupted call for the same left, if the ledger still says what it was made from."""
    kept = snapshot.found(part)
    if kept is None or not kept.fits(goal) or await source.last() < kept.seq:
        return None
    async with aclosing(source.read(kept.seq, kept.seq)) as groups:
        async for group in groups:
            return kept if snapshot.hash_of(group[0]) == kept.message else None
    return None


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    """The work's result; who is cancelled meanwhile waits for its end, since half of a writing is none."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _digested(path: Path) -> Digest:
    base = sqlite3.connect(path)
    try:
        return digest(base)
    finally:
        base.close()


def _swap(part: Path, path: Path) -> None:
    """What is in `part` is on the disk, and under the name of `path`."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    swap(part, path)
    durable.sync(path.parent)
