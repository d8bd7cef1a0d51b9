"""Users of the pool: real HTTP requests at a given rate, on connections that are kept, each with how long it took.

Open loop: a request is due when the rate says so, whether or not others were answered, and its time counts from then. So a
pool that is slow is measured as slow, and nobody waits politely.
"""

import asyncio
import re
import time
from collections.abc import Callable
from typing import Final

import msgspec

MOST_OPEN: Final = 128
"""Connections at a time; a request for which there is none left waits for one, and its time counts."""

MOST_WAITING: Final = 2000
"""Requests under way or waiting; of more, a request fails at once, as at a user's side that gives up."""

PATIENCE_SECONDS: Final = 10.0
_HURRY_SECONDS: Final = 0.25
_MOST_BYTES: Final = 1 << 16
_OK: Final = b"200"
_REQUEST: Final = b"GET / HTTP/1.1\r\nHost: %b\r\nUser-Agent: virtscale-demo\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,7})[ \t]*\r\n", re.IGNORECASE)
_CLOSE: Final = re.compile(rb"\r\nconnection:[ \t]*close[ \t]*\r\n", re.IGNORECASE)

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _HungUpError(Exception):
    """A kept connection was closed before it answered: nobody took the request, and it is sent again on a new one."""


class Ended(msgspec.Struct, frozen=True, array_like=True):
    """One request that is over."""

    due_at: float
    """Unix seconds."""
    took_ms: float
    vm: str
    """Who answered with 200, as it names itself; empty where nobody did."""
    why: str
    """What went wrong, where something did."""


class Users:
    """Whoever asks the pool for something, together: `work` sends requests until it is cancelled."""

    def __init__(
        self, host: str, port: int, per_second: Callable[[float], float], ended: Callable[[Ended], None]
    ) -> None:
        """`per_second` gives the rate for a Unix time; below 0.01 nothing is sent. `ended` hears of each request."""
        self._host = host
        self._port = port
        self._per_second = per_second
        self._ended = ended
        self._offset = 0.0
        self._line = _REQUEST % f"{host}:{port}".encode()
        self._kept: list[_Connection] = []
        self._slots = asyncio.Semaphore(MOST_OPEN)
        self.under_way = 0

    async def work(self) -> None:
        """Requests are sent as the rate says, evenly; when this is cancelled, every connection is closed."""
        loop = asyncio.get_running_loop()
        due_at = loop.time()
        self._offset = time.time() - due_at
        try:
            async with asyncio.TaskGroup() as requests:
                while True:
                    rate = self._per_second(due_at + self._offset)
                    if rate < 0.01:  # noqa: PLR2004 - as promised above
                        due_at += _HURRY_SECONDS
                    else:
                        due_at += 1 / rate
                    if (pause := due_at - loop.time()) > 0:
                        await asyncio.sleep(pause)
                    if rate >= 0.01:  # noqa: PLR2004
                        self._send(requests, due_at)
        finally:
            for _, writer in self._kept:
                writer.transport.abort()

    def _send(self, requests: asyncio.TaskGroup, due_at: float) -> None:
        if self.under_way >= MOST_WAITING:
            self._tell(due_at, why="too many waiting")
            return
        self.under_way += 1
        requests.create_task(self._request(due_at))

    def _tell(self, due_at: float, *, vm: str = "", why: str = "") -> None:
        took_ms = round((asyncio.get_running_loop().time() - due_at) * 1000, 3)
        self._ended(Ended(due_at + self._offset, took_ms, vm, why))

    async def _request(self, due_at: float) -> None:
        try:
            async with asyncio.timeout_at(due_at + PATIENCE_SECONDS), self._slots:
                status, vm = await self._ask()
            if status == _OK:
                self._tell(due_at, vm=vm)
            else:
                self._tell(due_at, why=f"status {status.decode(errors='replace')}")
        except TimeoutError:
            self._tell(due_at, why=f"no answer in {PATIENCE_SECONDS:g} s")
        except (OSError, EOFError, ValueError) as error:
            self._tell(due_at, why=type(error).__name__)
        finally:
            self.under_way -= 1

    async def _ask(self) -> tuple[bytes, str]:
        while self._kept:
            try:
                return await self._on(self._kept.pop(), kept=True)
            except _HungUpError:
                continue
        return await self._on(await asyncio.open_connection(self._host, self._port, limit=_MOST_BYTES))

    async def _on(self, connection: _Connection, *, kept: bool = False) -> tuple[bytes, str]:
        """The status and the body's first word; the connection is kept where the answer allows it, else closed."""
        reader, writer = connection
        reusable = False
        try:
            writer.write(self._line)
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                heard = error.partial if isinstance(error, asyncio.IncompleteReadError) else b""
                if kept and not heard:
                    raise _HungUpError from error
                raise
            except asyncio.LimitOverrunError as error:
                raise ValueError("the head of an answer has no end") from error
            length = _LENGTH.search(head)
            if length is None:
                body = await reader.read(_MOST_BYTES)
            else:
                body = await reader.readexactly(int(length[1]))
                reusable = _CLOSE.search(head) is None
            return head[9:12], body.decode(errors="replace").strip()
        finally:
            if reusable:
                self._kept.append(connection)
            else:
                writer.transport.abort()
