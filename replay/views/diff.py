"""What lies between two moments: rows that came, rows that are gone, and those that changed, column by column."""

import shutil
import sqlite3
import tempfile
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from projections.table import Cell, Table
from replay.history import Told, Until
from replay.source import Source
from replay.views.at import passing
from replay.views.rebuild import Build


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that is not as it was. `before` and `after` hold the columns that differ, of a row that came or went all."""

    table: str
    change: Literal["come", "gone", "changed"]
    key: tuple[Cell, ...]
    before: dict[str, Cell]
    after: dict[str, Cell]


@dataclass(frozen=True, slots=True)
class Between:
    """Two states of some tables, as of `first` and `second`, in files that are there until the block ends that made it."""

    first: int
    second: int
    before: Path
    after: Path
    tables: tuple[Table[Any], ...]

    def differences(self) -> Iterator[Difference]:
        """Table by table, in the order of the keys."""
        for table in self.tables:
            yield from _compared(table, self.before, self.after)


@asynccontextmanager
async def between(
    source: Source, tables: Sequence[Table[Any]], first: Until, second: Until, progress: Told | None = None
) -> AsyncGenerator[Between]:
    """The tables at both places, from one reading; a second place before the first is taken for the first again.

    Errors are those of `replay.history.fold`.
    """
    with tempfile.TemporaryDirectory(prefix="virtscale-diff-") as directory:
        before, after = Path(directory) / "before.db", Path(directory) / "after.db"
        async with passing(before) as base:
            build = Build(base, tables)
            await build.create()
            await build.fold(source, first, progress)
            await build.write()
        at_first = build.seq
        shutil.copyfile(before, after)
        async with passing(after) as base:
            build.base = base
            await build.fold(source, second, progress)
            await build.write()
        yield Between(at_first, build.seq, before, after, tuple(tables))


def _compared(table: Table[Any], before: Path, after: Path) -> Iterator[Difference]:
    """Both files are walked through side by side, so that a long table costs time and no memory."""
    keys = table.key_columns
    then, now = _rows(before, table), _rows(after, table)
    was, is_ = next(then, None), next(now, None)
    while was is not None or is_ is not None:
        if is_ is None or (was is not None and was[:keys] < is_[:keys]):
            assert was is not None
            yield Difference(table.name, "gone", was[:keys], _named(table, was), {})
            was = next(then, None)
        elif was is None or is_[:keys] < was[:keys]:
            yield Difference(table.name, "come", is_[:keys], {}, _named(table, is_))
            is_ = next(now, None)
        else:
            if was != is_:
                old, new = _named(table, was), _named(table, is_)
                changed = [name for name in old if old[name] != new[name]]
                yield Difference(
                    table.name,
                    "changed",
                    was[:keys],
                    {name: old[name] for name in changed},
                    {name: new[name] for name in changed},
                )
            was, is_ = next(then, None), next(now, None)


def _rows(path: Path, table: Table[Any]) -> Iterator[tuple[Any, ...]]:
    base = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        yield from base.execute(table.ordered)
    finally:
        base.close()


def _named(table: Table[Any], row: tuple[Any, ...]) -> dict[str, Cell]:
    """The columns behind the key, by name."""
    return dict(zip(table.columns[table.key_columns :], row[table.key_columns :], strict=True))
