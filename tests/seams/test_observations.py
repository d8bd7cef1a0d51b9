"""Two signal workers on a real bus that dies in between: each window of each pool is told once, in order."""

import asyncio
import datetime as dt
from collections import defaultdict
from pathlib import Path

import pytest

from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.clock import SystemClock
from events.envelope import read
from events.pool import PoolObserved
from schemas.capacity import Size
from schemas.pool import Pool, Trigger
from services.signal.observer import Observer
from services.signal.port import Measurement
from tests.seams.bus_worlds import SIGNAL, VIEW, a_world
from tests.support import eventually

POOLS = [
    Pool(
        org=org,
        name=f"p{number}",
        size=Size("small", 1, 512),
        template="tiny",
        triggers=(Trigger(query="q", above=10.0),),
    )
    for org in ("acme", "globex")
    for number in range(10)
]
BEGAN = dt.datetime(2026, 11, 22, 9, 0, tzinfo=dt.UTC)
WINDOWS = 6


@pytest.mark.parametrize("dedup_seconds", [600.0, 0.0])
async def test_two_that_watch_write_one_history_though_the_bus_dies(
    tmp_path: Path, dedup_seconds: float
) -> None:
    async with a_world("nats", tmp_path, dedup_seconds=dedup_seconds) as world:
        buses = [await world.connect(SIGNAL, timeout_seconds=1.0) for _ in range(2)]
        ledgers = [Ledger(bus) for bus in buses]
        observers = [
            Observer(ledger, Pen(bus, "signal", SystemClock()))
            for ledger, bus in zip(ledgers, buses, strict=True)
        ]
        tasks = [asyncio.create_task(one.work()) for one in observers]
        tasks += [asyncio.create_task(ledger.follow()) for ledger in ledgers]
        view = await world.connect(VIEW)
        try:
            for window in range(WINDOWS + 1):
                for observer in observers:
                    for pool in POOLS:
                        at = BEGAN + dt.timedelta(seconds=300 * window + 7)
                        observer.look(pool, {"q": Measurement(float(window), at)}, at)
                if window == 2:
                    await world.kill_server()
                    await asyncio.wait(tasks, timeout=0.2)
                    await world.start_server()

            async def all_told() -> bool:
                return await view.last() >= WINDOWS * len(POOLS)

            await eventually(all_told, 20.0, why="not every window is told")
            # Both have nothing left to say: what they would still write is in the ledger.
            await eventually(lambda: not any(one.waiting for one in observers), 10.0)
            stored = await view.read(1, await view.last())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    told: dict[tuple[str, str], list[dt.datetime]] = defaultdict(list)
    for one in stored:
        fact = read(one.seq, one.stored_ns, one.payload, one.subject).fact
        assert isinstance(fact, PoolObserved)
        told[fact.org, fact.pool].append(fact.window_from)
    windows = [BEGAN + number * dt.timedelta(minutes=5) for number in range(WINDOWS)]
    assert dict(told) == {(pool.org, pool.name): windows for pool in POOLS}
