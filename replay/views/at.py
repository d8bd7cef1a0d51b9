"""Views as they were at a moment: the same folds, stopped there, in a file that is gone afterwards."""

import sqlite3
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiosqlite

from projections.opening import opened
from projections.table import Cell, Table
from replay.history import Told, Until
from replay.source import Source
from replay.views.rebuild import Build

Row = dict[str, Cell]


@dataclass(frozen=True, slots=True)
class Standing:
    """Views in a file, as of `seq`; it is there until the block ends that made it."""

    seq: int
    path: Path

    def rows(self, table: Table[Any]) -> list[Row]:
        """All rows of one table by column name, in the order of its key."""
        base = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        base.row_factory = sqlite3.Row
        try:
            return [dict(row) for row in base.execute(table.ordered)]
        finally:
            base.close()


@asynccontextmanager
async def standing(
    source: Source, tables: Sequence[Table[Any]], until: Until, progress: Told | None = None
) -> AsyncGenerator[Standing]:
    """The tables as of `until`. Errors are those of `replay.history.fold`."""
    with tempfile.TemporaryDirectory(prefix="virtscale-at-") as directory:
        path = Path(directory) / "views.db"
        async with passing(path) as base:
            build = Build(base, tables)
            await build.create()
            await build.fold(source, until, progress)
            await build.write()
        yield Standing(build.seq, path)


@asynccontextmanager
async def passing(path: Path) -> AsyncGenerator[aiosqlite.Connection]:
    """A file that nobody will miss: nothing of it is forced to the disk, and nothing kept for a way back."""
    async with opened(path) as base:
        await base.execute("PRAGMA journal_mode=OFF")
        await base.execute("PRAGMA synchronous=OFF")
        yield base
