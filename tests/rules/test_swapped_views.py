"""A file of views that takes another's place is read as it is, whatever a killed process left beside the other."""

import asyncio
import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest

from events.bus.ledger import Ledger
from events.bus.memory import MemoryBus, MemoryServer
from events.bus.permissions import reader
from events.bus.port import Outgoing
from projections.keeper import Keeper
from replay.views.rebuild import rebuild
from tests.rules.retold import Lines, Told


class KilledError(Exception):
    """The process ends in the middle."""


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A file of views of a process that was killed: its newest rows are in the log beside it."""
    with contextlib.closing(sqlite3.connect(tmp_path / "then.db")) as base:
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("CREATE TABLE progress (one INTEGER PRIMARY KEY, seq INTEGER)")
        base.execute("INSERT INTO progress VALUES (1, 1)")
        base.commit()
        base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        base.execute("UPDATE progress SET seq = 111")
        base.commit()
        for end in ("", "-wal"):
            shutil.copy(tmp_path / f"then.db{end}", tmp_path / f"views.db{end}")
    return tmp_path / "views.db"


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever swaps a file is killed when it has its new name."""
    replace = Path.replace

    def then_die(self: Path, target: Path) -> None:
        replace(self, target)
        raise KilledError

    monkeypatch.setattr(Path, "replace", then_die)


def told() -> Told:
    past = Told()
    past.contract().pool("web").host().serving("web", 1)
    return past


def seq_in(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as base:
        return base.execute("SELECT seq FROM progress").fetchone()[0]


def test_a_log_beside_a_file_is_played_into_it(left: Path) -> None:
    assert seq_in(left) == 111, "the others would show nothing if it were not"


@pytest.mark.usefixtures("killed")
async def test_a_rebuild_that_is_killed_once_its_file_is_swapped_in_leaves_what_it_built(left: Path) -> None:
    past = told()
    with pytest.raises(KilledError):
        await rebuild(Lines(past.stored_lines()), left)
    assert seq_in(left) == past.seq


@pytest.mark.usefixtures("killed")
async def test_a_keeper_that_is_killed_once_its_file_is_swapped_in_leaves_what_it_wrote(left: Path) -> None:
    server, past = MemoryServer(lambda: 1), told()
    for one in Lines(past.stored_lines()).stored:
        server.put([Outgoing(one.subject, one.id, one.payload)], batch=False)
    ledger = Ledger(MemoryBus(server, reader("view")))
    keeper = Keeper(ledger, left)
    following = asyncio.create_task(ledger.follow())
    try:
        with pytest.raises(KilledError):
            await asyncio.wait_for(keeper.work(), 10)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert seq_in(left) == past.seq
