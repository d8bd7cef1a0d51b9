"""All workers of one house in one process: one reader for them all, one connection for each."""

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import AsyncExitStack
from itertools import chain
from pathlib import Path
from typing import Final

import msgspec

from events.bus import heap, mark
from events.bus.alone import Work
from events.bus.entrance import connect_as
from events.bus.ledger import Ledger
from events.bus.nats import NatsBus
from events.bus.port import Bus
from events.clock import clock_of
from events.fold import Fold
from projections.keeper import Keeper
from schemas.house import HostPlace, House

WAKER: Final = "waker"
WORKERS: Final = (
    "sealer",
    "signal",
    "forecaster",
    "gate",
    "storage",
    WAKER,
    "prober",
    "announcer",
    "steward",
    "deleter",
    "notifier",
)
"""Every worker there is: the sealer, without which nobody writes, and the others in the order of a request's way."""

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
    workers: Collection[str] = WORKERS,
    *,
    views: bool = True,
    folds: Iterable[type[Fold]] = (),
    arrivals: asyncio.Queue[HostPlace] | None = None,
) -> None:
    """The workers work until one of them fails; that failure is raised, for half a crew is none.

    `on_live` is given the ledger once it was read to its end and the sealer lets everybody write: from then on requests
    are answered. `folds` are further ones that the caller wants to find there. `arrivals` are hosts that come later: each gets its waker. The
    trap: its folds must exist by then, so the house needs one host to begin with.
    """
    async with AsyncExitStack() as stack:

        async def connected(name: str) -> NatsBus:
            bus = await connect_as(house, name, log.warning)
            stack.push_async_callback(bus.close)
            return bus

        reader, place = await connected("reader"), mark.path_of(house.marks, "crew")
        await mark.compare(reader, place)
        ledger = Ledger(reader)
        for kind in folds:
            ledger.fold(kind)
        clock = clock_of(house.clock)

        async def wake_on(place: HostPlace, bus: Bus) -> None:
            """Ends when the host was removed, and the crew goes on without it."""
            await work_of(WAKER)(msgspec.structs.replace(house, hosts=(place,)), ledger, bus, clock)
            log.info("host %s was removed: its waker has ended", place.name)

        buses = {
            name: await connected(name)
            for name in chain(
                (name for name in workers if name != WAKER),
                (_waker(host) for host in house.hosts if WAKER in workers),
            )
        }
        async with asyncio.TaskGroup() as crew:
            # Workers before the reader: their folds must exist before the first event is read.
            for name in workers:
                if name != WAKER:
                    work = work_of(name)(house, ledger, buses[name], clock)
                    crew.create_task(_never_ends(name, work), name=name)
            for host in house.hosts if WAKER in workers else ():
                crew.create_task(wake_on(host, buses[_waker(host)]), name=_waker(host))
            if views:
                keeper = Keeper(ledger, Path(house.directory) / VIEWS)
                crew.create_task(keeper.work(), name="views")
            crew.create_task(ledger.follow(), name="ledger")
            crew.create_task(mark.keep(ledger, place), name="mark")
            await heap.settle(ledger)
            for bus in buses.values():  # the sealer may have a long past to compare first
                await bus.permitted()
            on_live(ledger)
            while arrivals is not None:
                host = await arrivals.get()
                crew.create_task(wake_on(host, await connected(_waker(host))), name=_waker(host))


def _waker(host: HostPlace) -> str:
    return f"{WAKER}-{host.name}"


async def _never_ends(name: str, work: Awaitable[None]) -> None:
    await work
    raise RuntimeError(f"The worker {name} ended by itself; a worker works for ever.")
