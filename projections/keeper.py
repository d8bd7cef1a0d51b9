"""Keeping the tables: rows and the sequence that they include are committed together, many events at a time."""

import asyncio
import os
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import aiosqlite
from prometheus_client import Gauge

from events.bus.ledger import Ledger
from events.envelope import Recorded
from projections.activations.table import TABLES as ACTIVATIONS
from projections.contracts.table import TABLES as CONTRACTS
from projections.demand.table import TABLES as DEMAND
from projections.fleet.table import TABLES as FLEET
from projections.freezes.table import TABLES as FREEZES
from projections.table import ALL, Cell, Key, Table
from projections.usage.table import TABLES as USAGE

TABLES: Final[tuple[Table[Any], ...]] = (*FLEET, *USAGE, *ACTIVATIONS, *CONTRACTS, *FREEZES, *DEMAND)
"""Every table of every view."""

_GATHER_SECONDS: Final = 0.05  # events that come within this are one commit: dashboards look slower than that

_MOST_ROWS: Final = 1000  # rows of a table made at a time: some milliseconds
_seq = Gauge("virtscale_views_seq", "Ledger sequence that the committed views include")
_lag = Gauge("virtscale_views_lag_events", "Events folded and not yet committed to the views")


class Touched:
    """A fold that remembers which rows the events since the last commit may have changed."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[Key, None]] = {table.name: {} for table in TABLES}
        self._asked = [(table.touched, self.keys[table.name]) for table in TABLES]

    def apply(self, recorded: Recorded) -> None:
        """The rows that this event may have changed are remembered."""
        for touched, keys in self._asked:
            for key in touched(recorded):
                keys[key] = None

    def take(self, table: str, most: int | None = None) -> list[Key]:
        """The rows of a table that were touched, or the first of them, are remembered no more."""
        keys = self.keys[table]
        taken = list(islice(keys, most))
        if len(taken) == len(keys):
            keys.clear()
        for key in taken if keys else ():
            del keys[key]
        return taken


class Keeper:
    """Writes the views of one process to one SQLite file, which readers open read-only.

    The file is built anew beside the old one at every start and swapped in once it includes the whole ledger:
    views are derived, and a derived thing that is rebuilt often is a derived thing that can be rebuilt.
    """

    def __init__(self, ledger: Ledger, path: Path) -> None:
        self._ledger = ledger
        self._path = path
        self._folds = {table.name: ledger.fold(table.fold) for table in TABLES}
        self._touched = ledger.fold(Touched)
        self._bell = ledger.bell()

    async def work(self) -> None:
        """The file follows the ledger for ever."""
        await self._ledger.live.wait()
        fresh = self._path.with_suffix(".new")
        for leftover in (fresh, Path(f"{fresh}-wal"), Path(f"{fresh}-shm")):
            leftover.unlink(missing_ok=True)
        async with aiosqlite.connect(fresh) as base:
            for table in TABLES:
                await base.execute(table.create)
            await base.execute("CREATE TABLE progress (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER)")
            await self._commit(base)
            # Here, where nobody reads: beside a reader the change of mode fails, and a file without a write-ahead log
            # locks every reader out while rows are written.
            await base.execute("PRAGMA journal_mode=WAL")
        # Closed first, so that the write-ahead log is part of the file that is swapped in.
        os.replace(fresh, self._path)  # noqa: PTH105 - the atomic call by its name
        for leftover in (Path(f"{self._path}-wal"), Path(f"{self._path}-shm")):
            leftover.unlink(missing_ok=True)
        async with aiosqlite.connect(self._path) as base:
            await base.execute("PRAGMA synchronous=NORMAL")
            while True:
                await self._bell.wait()
                await asyncio.sleep(_GATHER_SECONDS)
                await self._commit(base)

    async def _commit(self, base: aiosqlite.Connection) -> None:
        # After a long reading there are hundreds of thousands of rows: they are written in parts, between which the
        # loop has its turn. What changes meanwhile is touched again, and so among the last part, which is of one moment.
        for table in TABLES:
            for _ in range(len(self._touched.keys[table.name]) // _MOST_ROWS):
                await self._write(base, table, self._change(table, _MOST_ROWS))
        seq = self._ledger.seq
        for table, change in [(table, self._change(table)) for table in TABLES]:
            await self._write(base, table, change)
        await base.execute("INSERT OR REPLACE INTO progress VALUES (1, ?)", (seq,))
        await base.commit()
        _seq.set(seq)
        _lag.set(self._ledger.seq - seq)

    async def _write(self, base: aiosqlite.Connection, table: Table[Any], change: "_Change") -> None:
        for columns, keys in change.gone.items():
            await base.executemany(table.delete(columns), keys)
        if change.rows:
            await base.executemany(table.upsert, change.rows)

    def _change(self, table: Table[Any], most: int | None = None) -> "_Change":
        touched = self._touched.take(table.name, most)
        fold, change = self._folds[table.name], _Change()
        if ALL in touched:
            touched = [ALL]
        for key in touched:
            if len(key) < table.key_columns:
                change.gone.setdefault(len(key), []).append(key)
            for whole in table.listed(fold, key):
                row = table.row(fold, whole)
                if row is not None:
                    change.rows.append(row)
                elif whole == key:
                    change.gone.setdefault(len(key), []).append(key)
        return change


@dataclass(slots=True)
class _Change:
    """What one commit does to a table: rows that go, by how many of the key's columns name them, then rows that come.

    A row that goes and comes is written anew; a key that is touched alone and under a shorter one comes twice, the same.
    """

    gone: dict[int, list[Key]] = field(default_factory=dict[int, list[Key]])
    rows: list[tuple[Cell, ...]] = field(default_factory=list[tuple[Cell, ...]])
