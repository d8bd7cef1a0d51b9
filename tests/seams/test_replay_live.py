"""On a real bus: what the live views came to hold event by event is what a rebuild from the ledger's beginning holds."""

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from events.bus.ledger import Ledger
from events.bus.port import Outgoing, Stored
from projections.keeper import Keeper
from replay.source import BusSource
from replay.views.digest import digest_of
from replay.views.rebuild import rebuild
from tests.seams.bus_worlds import ADMIN, VIEW, World, a_world
from tests.simulation.run import run
from tests.support import eventually

SEED = 2


@pytest.fixture(scope="module")
def lived() -> tuple[Stored, ...]:
    """What a simulated house wrote."""
    return run(SEED).stored


@pytest.fixture
async def world(lived: tuple[Stored, ...], tmp_path: Path) -> AsyncIterator[World]:
    async with a_world("nats", tmp_path / "bus") as made:
        yield made


def seq_of(path: Path) -> int:
    """How far the file has come; 0 while there is none."""
    if not path.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as base:
        return base.execute("SELECT seq FROM progress").fetchone()[0]


async def test_the_live_views_and_a_rebuild_have_one_digest_at_one_sequence(
    lived: tuple[Stored, ...], world: World, tmp_path: Path
) -> None:
    pen, view = await world.connect(ADMIN), await world.connect(VIEW)
    live, third = tmp_path / "views.db", len(lived) // 3
    ledger = Ledger(view)
    keeper = Keeper(ledger, live)
    tasks = [asyncio.create_task(keeper.work()), asyncio.create_task(ledger.follow())]
    try:
        for begin in (0, third, 2 * third):
            part = lived[begin : begin + third]
            await pen.append_batch([Outgoing(one.subject, one.id, one.payload) for one in part])
            goal = begin + len(part)
            await eventually(lambda goal=goal: seq_of(live) == goal, why="the views lag")
            fresh = await rebuild(BusSource(await world.connect(VIEW)), tmp_path / f"{begin}.db")
            assert fresh == digest_of(live)
            assert fresh.seq == goal
        assert sum(one.rows for one in fresh.tables) > 20
        early = await rebuild(BusSource(await world.connect(VIEW)), tmp_path / "early.db", until=third)
        assert early == digest_of(tmp_path / "0.db")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
