"""All workers of one house in one process: one reader for them all, one connection for each."""

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import msgspec

from events.bus.alone import Work
from events.bus.entrance import connect_as
from events.bus.ledger import Fold, Ledger
from events.bus.port import Bus
from events.clock import SystemClock
from projections.keeper import Keeper
from schemas.house import House

WORKERS: Final = ("signal", "gate", "waker", "prober", "announcer", "notifier")
"""Every worker there is, in the order of a request's way through them."""

VIEWS: Final = "views.db"
"""The file of the views, in the house's directory."""

log = logging.getLogger("virtscale.crew")


def work_of(name: str) -> Work:
    """The function that a worker's `__main__` runs."""
    work: Work = importlib.import_module(f"services.{name}.__main__").work
    return work


async def run(
    house: House,
    on_live: Callable[[Ledger], None],
    workers: Iterable[str] = WORKERS,
    *,
    views: bool = True,
    folds: Iterable[type[Fold]] = (),
) -> None:
    """The workers work until one of them fails; that failure is raised, for half a crew is none.

    `on_live` is given the ledger once it was read to its end: from then on requests are answered. `folds` are
    further ones that the caller wants to find there.
    """
    async with AsyncExitStack() as stack:

        async def connected(name: str) -> Bus:
            bus = await connect_as(house, name, log.warning)
            stack.push_async_callback(bus.close)
            return bus

        ledger = Ledger(await connected("reader"))
        for kind in folds:
            ledger.fold(kind)
        clock = SystemClock()
        hands: list[tuple[str, Work, House, Bus]] = []
        for name in workers:
            if name == "waker":
                for host in house.hosts:
                    alone = msgspec.structs.replace(house, hosts=(host,))
                    hands.append((name, work_of(name), alone, await connected(f"{name}-{host.name}")))
            else:
                hands.append((name, work_of(name), house, await connected(name)))
        async with asyncio.TaskGroup() as crew:
            # Workers before the reader: their folds must exist before the first event is read.
            for name, work, part, bus in hands:
                crew.create_task(_never_ends(name, work(part, ledger, bus, clock)), name=name)
            if views:
                keeper = Keeper(ledger, Path(house.directory) / VIEWS)
                crew.create_task(keeper.work(), name="views")
            crew.create_task(ledger.follow(), name="ledger")
            await ledger.live.wait()
            on_live(ledger)


async def _never_ends(name: str, work: Awaitable[None]) -> None:
    await work
    raise RuntimeError(f"The worker {name} ended by itself; a worker works for ever.")
