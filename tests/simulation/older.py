"""The end of some worlds: the bus comes back with an older copy of its store, and nobody may write to it."""

import asyncio
from typing import Final

from events.bus.memory_server import MemoryServer
from events.bus.port import Stored
from events.bus.store import Store
from tests.simulation.sealing import LAG_SECONDS
from tests.simulation.world import World

MOST_LOST: Final = 20
WATCHED_SECONDS: Final = 2 * LAG_SECONDS


def go_back(server: MemoryServer, store: Store, lost: int) -> None:
    """The server is killed, and starts again without the last messages of its store."""
    server.stop()
    del store.messages[len(store.messages) - lost :]
    store._last_on = {one.subject: one.seq for one in store.messages}
    store._known = {one.id: one.seq for one in store.messages}
    server.start()


async def comes_back_older(world: World) -> None:
    """The bus has lost some of what was sealed, everybody asks for more, and nothing is stored; the sealer halts."""
    sealing, server = world.sealing, world.server
    assert sealing is not None
    lost = 1 + world.chance("older copy").rng.randrange(min(MOST_LOST, server.ledger.last))
    sealing.older = True

    def stored(one: Stored) -> None:
        world.truth.breaks(
            f"Event {one.seq} is stored on an older copy, where another one was: {one.subject}."
        )

    server.stored = stored
    world.note(f"the bus comes back without its last {lost} events")
    go_back(server, server.ledger, lost)
    asking = [
        asyncio.create_task(client.ask("scale", {"pool": client.pools[0], "key": "older", "add": 1}))
        for client in world.clients
    ]
    await asyncio.wait(asking, timeout=WATCHED_SECONDS)
    for task in asking:
        task.cancel()
    if not sealing.halted:
        world.truth.breaks("The sealer goes on over an older copy of what it sealed.")
