"""Two worlds with the same bus in them: nats-server as a child process, and the twin in memory."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from events import keys
from events.bus import nats, permissions, streams
from events.bus.memory import MemoryBus, MemoryServer
from events.bus.permissions import Permit
from events.bus.port import Bus, Outgoing, Stored
from lab.bus import BusServer, BusUser
from tests.support import eventually, free_port

FENCE = "vs.acme.gate.org.acme.gate.decided"
OTHER_FENCE = "vs.globex.gate.org.globex.gate.decided"
OVERDUE = "vs.acme.gate.vm.{}.order.overdue"
REQUESTED = "vs.acme.signal.pool.web.scale.requested"

GATE = permissions.worker("gate")
SIGNAL = permissions.worker("signal")
NOTIFIER = permissions.worker("notifier")
SEALER = permissions.worker("sealer")
WAKER = permissions.worker("waker", "h1")
SHOP = permissions.publisher("acme", "shop")
VIEW = permissions.reader("view")
ADMIN = permissions.admin()
PERMITS = (*permissions.workers(["h1", "h2"]), SHOP, VIEW, permissions.operator(), ADMIN)


class World(Protocol):
    """A bus server, and as many connections to it as a test wants."""

    faults: list[str]

    async def connect(
        self, permit: Permit, *, timeout_seconds: float = 5.0, permit_seconds: float = 0.0
    ) -> Bus: ...

    async def kill_server(self) -> None: ...

    async def start_server(self) -> None: ...


class MemoryWorld:
    def __init__(self, dedup_seconds: float, ledger_bytes: int | None) -> None:
        loop = asyncio.get_running_loop()
        self.server = MemoryServer(
            lambda: int(loop.time() * 1e9), dedup_seconds=dedup_seconds, ledger_bytes=ledger_bytes
        )
        self.faults: list[str] = []
        self._buses: list[MemoryBus] = []

    async def connect(
        self, permit: Permit, *, timeout_seconds: float = 5.0, permit_seconds: float = 0.0
    ) -> Bus:
        bus = MemoryBus(
            self.server,
            permit,
            on_fault=self.faults.append,
            timeout_seconds=timeout_seconds,
            permit_seconds=permit_seconds,
        )
        self._buses.append(bus)
        return bus

    async def kill_server(self) -> None:
        self.server.stop()

    async def start_server(self) -> None:
        self.server.start()

    async def close(self) -> None:
        for bus in self._buses:
            await bus.close()


class NatsWorld:
    def __init__(self, directory: Path) -> None:
        self._keys = directory / "keys"
        users = [
            BusUser(
                permit.name,
                keys.create(keys.path_of(self._keys, permit.name)),
                permit.publish,
                permit.subscribe,
                permit.allow_responses,
            )
            for permit in PERMITS
        ]
        self.server = BusServer(directory, free_port(), users)
        self.faults: list[str] = []
        self._buses: list[Bus] = []

    async def open(self, dedup_seconds: float, ledger_bytes: int) -> None:
        await self.server.start()
        admin = await self.connect(ADMIN)
        await streams.establish(admin, dedup_seconds=dedup_seconds, ledger_bytes=ledger_bytes)

    async def connect(
        self, permit: Permit, *, timeout_seconds: float = 5.0, permit_seconds: float = 0.0
    ) -> Bus:
        bus = await nats.connect(
            self.server.url,
            permit.name,
            seed=keys.read(keys.path_of(self._keys, permit.name)),
            inbox=permit.inbox,
            on_fault=self.faults.append,
            timeout_seconds=timeout_seconds,
            permit_seconds=permit_seconds,
        )
        self._buses.append(bus)
        return bus

    async def kill_server(self) -> None:
        await self.server.kill()

    async def start_server(self) -> None:
        await self.server.restart()

    async def close(self) -> None:
        for bus in self._buses:
            await bus.close()
        await self.server.stop()


@asynccontextmanager
async def a_world(
    kind: str, directory: Path, *, dedup_seconds: float = 600.0, ledger_bytes: int = 64 * 1024**2
) -> AsyncGenerator[World]:
    if kind == "memory":
        memory = MemoryWorld(dedup_seconds, ledger_bytes)
        try:
            yield memory
        finally:
            await memory.close()
        return
    server = NatsWorld(directory)
    try:
        await server.open(dedup_seconds, ledger_bytes)
        yield server
    finally:
        await server.close()


def out(subject: str, id: str, payload: bytes = b"{}", expect: int | None = None) -> Outgoing:
    return Outgoing(subject, id, payload, expect)


async def forgotten(bus: Bus, id: str = "probe") -> None:
    """The ids that were stored before this call are known no more."""

    async def stored_anew() -> bool:
        return not (await bus.append(out(OVERDUE.format("probe"), id))).duplicate

    await bus.append(out(OVERDUE.format("probe"), id))
    await eventually(stored_anew, 5.0, every_seconds=0.02, why="the dedup window never ends")


class Follower:
    """Reads a tail into a list, and knows what a reader sees who puts it right."""

    def __init__(self, bus: Bus, after: int = 0) -> None:
        self.after = after
        self.raw: list[Stored] = []
        self._tail: AsyncGenerator[list[Stored]] = bus.tail(after)
        self._task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for group in self._tail:
            self.raw.extend(group)

    @property
    def seen(self) -> list[Stored]:
        """Without what came again, and up to the first gap."""
        straight: list[Stored] = []
        for message in self.raw:
            if message.seq == self.after + len(straight) + 1:
                straight.append(message)
        return straight

    async def reach(self, seq: int, deadline_seconds: float = 10.0) -> list[Stored]:
        await eventually(
            lambda: bool(self.seen) and self.seen[-1].seq >= seq,
            deadline_seconds,
            why=f"the tail does not reach {seq}; it has {[m.seq for m in self.raw][-5:]}",
        )
        return self.seen

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._tail.aclose()
