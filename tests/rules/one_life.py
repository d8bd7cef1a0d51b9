"""One life of a worker at a desk: it works and reads its ledger until the block is over, and is gone then as if killed."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.registry import Writer
from tests.rules.desk import Desk


@asynccontextmanager
async def one_life(
    desk: Desk, name: Writer, work: Callable[[Ledger, Bus], Coroutine[Any, Any, None]]
) -> AsyncGenerator[None]:
    """What ends it before its time breaks the test."""
    bus = desk.worker_bus(name)
    ledger = Ledger(bus)
    tasks = [asyncio.create_task(work(ledger, bus)), asyncio.create_task(ledger.follow())]
    try:
        yield
        for task in tasks:
            if task.done():
                task.result()
        assert not any(task.done() for task in tasks), tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        bus.cut()
