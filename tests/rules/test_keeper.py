"""The tables of the views, written in parts and told of one moment."""

import asyncio
import datetime as dt
import sqlite3
from pathlib import Path

import pytest

from events.bus.ledger import Ledger
from events.bus.memory import MemoryBus, MemoryServer
from events.bus.permissions import reader
from events.bus.port import Outgoing, Stored
from events.envelope import address
from events.ids import derive
from events.scale import ScaleRequested
from projections.keeper import Keeper
from projections.rows import Writer
from tests.support import eventually

AT = dt.datetime(2026, 11, 22, 9, 0, tzinfo=dt.UTC)


def ask(server: MemoryServer, first: int, requests: int) -> None:
    """So many requests are in the ledger."""
    for number in range(first, first + requests):
        fact = ScaleRequested(
            org="acme",
            pool="web",
            publisher="shop",
            key=f"k{number}",
            origin="program",
            add=1,
            want=None,
            up_to=False,
            received_at=AT,
            sample=None,
        )
        id_ = derive("keeper", number)
        event = address(fact, writer="signal", id=id_, time=AT, cause=None, correlation=id_)
        server.put([Outgoing(event.subject, event.id, event.payload)], batch=False)


def kept(path: Path) -> tuple[int, int, int]:
    """The rows of requests, the last sequence among them, and the sequence that the file says it includes."""
    if not path.exists():
        return (0, 0, 0)
    base = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        rows, last = base.execute("SELECT count(*), max(seq) FROM requests").fetchone()
        (seq,) = base.execute("SELECT seq FROM progress").fetchone()
        return rows, last, seq
    finally:
        base.close()


async def test_thousands_of_rows_are_written_while_more_of_them_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = MemoryServer(lambda: 1)
    ask(server, 0, 3500)
    ledger = Ledger(MemoryBus(server, reader("view")))
    path = tmp_path / "views.db"
    keeper = Keeper(ledger, path)
    parts: list[int] = []
    write = Writer._execute

    async def busy(self: Writer, base: object, table: object, change: object) -> None:
        # Whenever a part is written there is more to read.
        parts.append(len(change.rows))  # pyright: ignore[reportAttributeAccessIssue]
        if len(parts) <= 3:
            ask(server, 3500 + 10 * len(parts), 10)
            await ledger.reach(server.ledger.last)
        await write(self, base, table, change)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Writer, "_execute", busy)
    tasks = [asyncio.create_task(keeper.work()), asyncio.create_task(ledger.follow())]
    try:
        await eventually(lambda: kept(path) != (0, 0, 0))
        # A file is never seen with rows behind its own sequence, or without rows up to it.
        assert kept(path) == (3530, 3530, 3530)
        assert max(parts) == 1000
        monkeypatch.undo()
        ask(server, 9000, 2200)
        await eventually(lambda: kept(path)[0] == 5730)
        assert kept(path) == (5730, 5730, 5730)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_rows_are_written_while_a_long_ledger_is_read_and_the_file_is_seen_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.keeper._MANY_ROWS", 100)
    server = MemoryServer(lambda: 1)
    ask(server, 0, 3500)
    commits: list[tuple[int, bool]] = []

    class Slow(MemoryBus):
        """The ledger is not read to its end before something of it was written."""

        async def read_ahead(self, first: int, last: int) -> list[Stored]:
            if first > 2000:
                await eventually(lambda: bool(commits))
            return await super().read_ahead(first, last)

    ledger = Ledger(Slow(server, reader("view")))
    path = tmp_path / "views.db"
    keeper = Keeper(ledger, path)
    write = Writer.write

    async def counted(self: Writer, base: object, seq: object) -> int:
        included = await write(self, base, seq)  # pyright: ignore[reportArgumentType]
        commits.append((included, path.exists()))
        return included

    monkeypatch.setattr(Writer, "write", counted)
    create = Writer.create

    async def then_follow(self: Writer, base: object) -> None:
        await create(self, base)  # pyright: ignore[reportArgumentType]
        tasks.append(asyncio.create_task(ledger.follow()))

    monkeypatch.setattr(Writer, "create", then_follow)
    tasks = [asyncio.create_task(keeper.work())]
    try:
        await eventually(lambda: kept(path) == (3500, 3500, 3500))
        assert commits[0][0] < 3500
        assert not any(swapped for included, swapped in commits if included < 3500)
        ask(server, 3500, 1)
        await eventually(lambda: kept(path) == (3501, 3501, 3501))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
