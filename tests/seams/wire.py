"""A wire between a worker and the bus that a test can hold, in the middle of whatever the worker says."""

import asyncio
from contextlib import suppress
from typing import Literal

from lab.ports import LOOPBACK

Side = Literal["before", "after"]
CHUNK = 1 << 16


class Wire:
    """Forwards bytes both ways; a trap holds them when the worker says a certain word."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._word = b""
        self._side: Side = "after"
        self._up, self._down = asyncio.Event(), asyncio.Event()
        self._up.set()
        self._down.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.sprung = asyncio.Event()
        """The worker said the word, and the wire has been held since."""

    async def open(self) -> int:
        """The port on which the worker finds the bus."""
        self._server = await asyncio.start_server(self._join, LOOPBACK, 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def trap(self, word: bytes, side: Side) -> None:
        """From this word on the bus hears nothing (`before`), or the worker hears nothing (`after`)."""
        self._word, self._side = word, side

    def hold(self) -> None:
        """Nothing passes either way."""
        self._up.clear()
        self._down.clear()

    def release(self) -> None:
        """What was held passes now, however late."""
        self._word = b""
        self._up.set()
        self._down.set()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, bus = await asyncio.open_connection(LOOPBACK, self._port)
        for task in (
            asyncio.create_task(self._pump(reader, bus, self._up, listening=True)),
            asyncio.create_task(self._pump(upstream, writer, self._down, listening=False)),
        ):
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        gate: asyncio.Event,
        *,
        listening: bool,
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(CHUNK):
                if listening and self._word and self._word in data:
                    (self._up if self._side == "before" else self._down).clear()
                    self.sprung.set()
                await gate.wait()
                sink.write(data)
                await sink.drain()
        sink.close()
