"""The rows that events changed, and how they come into a SQLite file: for the live views and for a rebuild alike."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import aiosqlite

from events.envelope import Recorded
from events.fact import Fact
from events.fold import Fold
from projections.table import ALL, Cell, Key, Settling, Table

_MOST_ROWS: Final = 1000  # rows of a table made at a time: some milliseconds


class Touched:
    """A fold that remembers which rows the events since the last commit may have changed."""

    def __init__(self, tables: Sequence[Table[Any]]) -> None:
        self.keys: dict[str, dict[Key, None]] = {table.name: {} for table in tables}
        self._tables = tuple(tables)
        self.TAKES = _all(table.takes for table in tables)
        self._asked: dict[type[Fact], list[tuple[Callable[[Recorded], Iterable[Key]], dict[Key, None]]]] = {}

    @property
    def rows(self) -> int:
        """How many rows wait to be written; one that stands for many counts as one."""
        return sum(map(len, self.keys.values()))

    def apply(self, recorded: Recorded) -> None:
        """The rows that this event may have changed are remembered."""
        kind = type(recorded.fact)
        asked = self._asked.get(kind)
        if asked is None:
            asked = self._asked[kind] = [
                (table.touched, self.keys[table.name])
                for table in self._tables
                if table.takes is None or kind in table.takes
            ]
        for touched, keys in asked:
            for key in touched(recorded):
                keys[key] = None

    def take(self, table: str, most: int | None = None) -> list[Key]:
        """The rows of a table that were touched, or the first of them, are remembered no more."""
        keys = self.keys[table]
        if most is None or most >= len(keys):
            taken = list(keys)
            keys.clear()
            return taken
        taken = list(islice(keys, most))
        for key in taken:
            del keys[key]
        return taken


def _all(kinds: Iterable[frozenset[type[Fact]] | None]) -> frozenset[type[Fact]] | None:
    """What several take together; None where one of them takes everything."""
    named = list(kinds)
    return (
        None if None in named else frozenset[type[Fact]]().union(*(one for one in named if one is not None))
    )


class Writer:
    """Writes some tables' rows, and the sequence that they include, in one transaction after another.

    Between the parts of one the event loop has its turn, and the folds may go on: what changes meanwhile is touched
    again, and so among the last part, which is of one moment. Folds that can forget are told so then.
    """

    def __init__(
        self, tables: Sequence[Table[Any]], folds: Mapping[type[Fold], Fold], touched: Touched
    ) -> None:
        self._tables = tuple(tables)
        self._folds = {table.name: folds[table.fold] for table in tables}
        self._settling = [fold for fold in set(self._folds.values()) if isinstance(fold, Settling)]
        self._touched = touched

    async def create(self, base: aiosqlite.Connection) -> None:
        """The empty tables are there, and the place of the sequence."""
        for table in self._tables:
            await base.execute(table.create)
        await base.execute("CREATE TABLE progress (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER)")

    async def write(self, base: aiosqlite.Connection, seq: Callable[[], int]) -> int:
        """All that was touched is written, up to what `seq` says at the end, and not yet committed."""
        for table in self._tables:
            for _ in range(len(self._touched.keys[table.name]) // _MOST_ROWS):
                await self._execute(base, table, self._change(table, _MOST_ROWS))
                await asyncio.sleep(0)
        included = seq()
        changes = [(table, self._change(table)) for table in self._tables]
        for fold in self._settling:
            fold.settle()
        for table, change in changes:
            await self._execute(base, table, change)
        await base.execute("INSERT OR REPLACE INTO progress VALUES (1, ?)", (included,))
        return included

    async def _execute(self, base: aiosqlite.Connection, table: Table[Any], change: "Change") -> None:
        for columns, keys in change.gone.items():
            await base.executemany(table.delete(columns), keys)
        if change.rows:
            await base.executemany(table.upsert, change.rows)

    def _change(self, table: Table[Any], most: int | None = None) -> "Change":
        touched = self._touched.take(table.name, most)
        fold, change = self._folds[table.name], Change()
        if ALL in touched:
            touched = [ALL]
        for key in touched:
            if len(key) < table.key_columns and table.same is None:
                change.gone.setdefault(len(key), []).append(key)
            for whole in table.listed(fold, key):
                row = table.row(fold, whole)
                if row is not None:
                    change.rows.append(row)
                elif whole == key and table.same is None:
                    change.gone.setdefault(len(key), []).append(key)
        return change


@dataclass(slots=True)
class Change:
    """What one part does to a table: rows that go, by how many of the key's columns name them, then rows that come.

    A row that goes and comes is written anew; a key that is touched alone and under a shorter one comes twice, the same.
    """

    gone: dict[int, list[Key]] = field(default_factory=dict[int, list[Key]])
    rows: list[tuple[Cell, ...]] = field(default_factory=list[tuple[Cell, ...]])
