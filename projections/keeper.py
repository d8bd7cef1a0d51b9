"""Keeping the tables: rows and the sequence that they include are committed together, many events at a time."""

import asyncio
from pathlib import Path
from typing import Any, Final

import aiosqlite
from prometheus_client import Gauge

from events.bus.ledger import Ledger
from events.fold import Fold
from projections.activations.table import TABLES as ACTIVATIONS
from projections.breakers.table import TABLES as BREAKERS
from projections.contracts.table import TABLES as CONTRACTS
from projections.copies.table import TABLES as COPIES
from projections.deletions.table import TABLES as DELETIONS
from projections.demand.table import TABLES as DEMAND
from projections.directory.table import TABLES as DIRECTORY
from projections.drift.table import TABLES as DRIFT
from projections.fleet.table import TABLES as FLEET
from projections.forecasts.table import TABLES as FORECASTS
from projections.freezes.table import TABLES as FREEZES
from projections.maintenance.table import TABLES as MAINTENANCE
from projections.opening import opened
from projections.permissions.table import TABLES as PERMISSIONS
from projections.rows import Touched, Writer
from projections.signals.table import TABLES as SIGNALS
from projections.swapping import remove, swap
from projections.table import Table
from projections.usage.table import TABLES as USAGE
from projections.volumes.table import TABLES as VOLUMES

TABLES: Final[tuple[Table[Any], ...]] = (
    *FLEET,
    *USAGE,
    *ACTIVATIONS,
    *CONTRACTS,
    *FREEZES,
    *DEMAND,
    *SIGNALS,
    *FORECASTS,
    *BREAKERS,
    *VOLUMES,
    *DIRECTORY,
    *MAINTENANCE,
    *DRIFT,
    *COPIES,
    *PERMISSIONS,
    *DELETIONS,
)
"""Every table of every view."""

_GATHER_SECONDS: Final = 0.05  # events that come within this are one commit: dashboards look slower than that
_LOOK_SECONDS: Final = 0.05  # an empty ledger is read to its end without a ring
_MANY_ROWS: Final = 50_000
"""Rows that wait while the ledger is read: some 80 MB. Who waits for the reading waits for their writing, too, so that a short
ledger is read first and written then."""
_seq = Gauge("virtscale_views_seq", "Ledger sequence that the committed views include")
_lag = Gauge("virtscale_views_lag_events", "Events folded and not yet committed to the views")


class _Touched(Touched):
    """The rows of every table, for a reader that makes its folds itself."""

    def __init__(self) -> None:
        super().__init__(TABLES)


class Keeper:
    """Writes the views of one process to one SQLite file, which readers open read-only.

    The file is built anew beside the old one at every start and swapped in once it includes the whole ledger:
    views are derived, and a derived thing that is rebuilt often is a derived thing that can be rebuilt. What is over is forgotten
    by the folds once its rows are written: whoever wants to look at requests and activations long past reads the file.
    """

    def __init__(self, ledger: Ledger, path: Path) -> None:
        self._ledger = ledger
        self._path = path
        folds: dict[type[Fold], Fold] = {table.fold: ledger.fold(table.fold) for table in TABLES}
        self._touched = ledger.fold(_Touched)
        self._writer = Writer(TABLES, folds, self._touched)
        self._bell = ledger.bell()

    async def work(self) -> None:
        """The file follows the ledger for ever."""
        fresh = self._path.with_suffix(".new")
        remove(fresh)
        async with opened(fresh) as base:
            await self._writer.create(base)
            await base.commit()
            await self._read_far(base)
            await self._commit(base)
            # Here, where nobody reads: beside a reader the change of mode fails, and a file without a write-ahead log
            # locks every reader out while rows are written.
            await base.execute("PRAGMA journal_mode=WAL")
        # Closed first, so that the write-ahead log is part of the file that is swapped in.
        swap(fresh, self._path)
        async with opened(self._path) as base:
            await base.execute("PRAGMA synchronous=NORMAL")
            while True:
                await self._bell.wait()
                await asyncio.sleep(_GATHER_SECONDS)
                await self._commit(base)

    async def _read_far(self, base: aiosqlite.Connection) -> None:
        """The ledger is read to its end; what is over by then was written on the way, and so is held no longer."""
        while not self._ledger.live.is_set():
            await self._bell.wait(_LOOK_SECONDS)
            if self._touched.rows >= _MANY_ROWS:
                await self._commit(base)

    async def _commit(self, base: aiosqlite.Connection) -> None:
        seq = await self._writer.write(base, lambda: self._ledger.seq)
        await base.commit()
        _seq.set(seq)
        _lag.set(self._ledger.seq - seq)
