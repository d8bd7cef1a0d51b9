"""The floor: a bare durable publish of the same bytes, on the same server and disk, in the same run."""

import asyncio
import time
from typing import Final

import msgspec

from events.bus.nats import NatsBus
from events.bus.port import Outgoing
from events.bus.streams import STREAM_CREATE

_STREAM: Final = "FLOOR"


async def lay(admin: NatsBus) -> None:
    """There is a stream beside the ledger, of the same kind, that nobody reads."""
    definition = {
        "name": _STREAM,
        "subjects": ["floor.>"],
        "storage": "file",
        "num_replicas": 1,
        "discard": "new",
        "max_bytes": 512 * 1024**2,
        "allow_atomic": True,
        "allow_direct": True,
    }
    await admin.ask(STREAM_CREATE.format(_STREAM), msgspec.json.encode(definition), 5.0)


class Floor:
    """Publishes bytes and waits until they are on disk."""

    def __init__(self, bus: NatsBus, run: str) -> None:
        self._bus = bus
        self._run = run
        self._number = 0

    def _next(self, payload: bytes) -> Outgoing:
        self._number += 1
        return Outgoing("floor.one", f"{self._run}-{self._number}", payload)

    async def one_by_one(self, payload: bytes, count: int) -> list[float]:
        """Milliseconds that each of so many took."""
        took: list[float] = []
        for _ in range(count):
            began = time.perf_counter()
            await self._bus.append(self._next(payload))
            took.append((time.perf_counter() - began) * 1000)
        return took

    async def at_once(self, payload: bytes, publishers: int, seconds: float) -> float:
        """Messages per second with so many publishers that each wait for their own acknowledgement."""
        began, count = time.perf_counter(), 0

        async def loop() -> None:
            nonlocal count
            while time.perf_counter() - began < seconds:
                await self._bus.append(self._next(payload))
                count += 1

        await asyncio.gather(*(loop() for _ in range(publishers)))
        return count / (time.perf_counter() - began)
