"""Users of the pool: real HTTP requests at a given rate, on connections that are kept, each with how long it took.

Open loop: a request is due when the rate says so, whether or not others were answered, and its time counts from then. So a
pool that is slow is measured as slow, and nobody waits politely.
"""

import asyncio
import re
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

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


@dataclass(slots=True)
class Requests:
    """Every request that ended: when it was due (loop time), how long it took, and who answered.

    Twenty bytes a request: an hour at 100 a second is 7 MB.
    """

    due_at: "array[float]" = field(default_factory=lambda: array("d"))
    took_ms: "array[float]" = field(default_factory=lambda: array("d"))
    by: "array[int]" = field(default_factory=lambda: array("i"))
    """The place in `vms` of the VM that answered; -1 where the request failed."""
    vms: dict[str, int] = field(default_factory=dict[str, int])
    failures: dict[str, int] = field(default_factory=dict[str, int])
    """By what went wrong."""

    def __len__(self) -> int:
        return len(self.due_at)

    @property
    def failed(self) -> int:
        """Requests that were not answered with 200."""
        return sum(self.failures.values())

    def answered(self, due_at: float, took_ms: float, vm: str) -> None:
        """A VM answered."""
        self.due_at.append(due_at)
        self.took_ms.append(took_ms)
        self.by.append(self.vms.setdefault(vm, len(self.vms)))

    def failing(self, due_at: float, took_ms: float, why: str) -> None:
        """Nobody did."""
        self.due_at.append(due_at)
        self.took_ms.append(took_ms)
        self.by.append(-1)
        self.failures[why] = self.failures.get(why, 0) + 1


class Users:
    """Whoever asks the pool for something, together: `work` sends requests until it is cancelled."""

    def __init__(
        self, host: str, port: int, per_second: Callable[[float], float], requests: Requests
    ) -> None:
        """`per_second` gives the rate for a time of the loop; below 0.01 nothing is sent."""
        self._host = host
        self._port = port
        self._per_second = per_second
        self._requests = requests
        self._line = _REQUEST % f"{host}:{port}".encode()
        self._kept: list[_Connection] = []
        self._slots = asyncio.Semaphore(MOST_OPEN)
        self.under_way = 0

    async def work(self) -> None:
        """Requests are sent as the rate says, evenly; when this is cancelled, every connection is closed."""
        loop = asyncio.get_running_loop()
        due_at = loop.time()
        try:
            async with asyncio.TaskGroup() as requests:
                while True:
                    rate = self._per_second(due_at)
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
            self._requests.failing(due_at, 0.0, "too many waiting")
            return
        self.under_way += 1
        requests.create_task(self._request(due_at))

    async def _request(self, due_at: float) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(due_at + PATIENCE_SECONDS), self._slots:
                status, vm = await self._ask()
            took_ms = (loop.time() - due_at) * 1000
            if status == _OK:
                self._requests.answered(due_at, took_ms, vm)
            else:
                self._requests.failing(due_at, took_ms, f"status {status.decode(errors='replace')}")
        except TimeoutError:
            self._requests.failing(due_at, PATIENCE_SECONDS * 1000, f"no answer in {PATIENCE_SECONDS:g} s")
        except (OSError, EOFError, ValueError) as error:
            self._requests.failing(due_at, (loop.time() - due_at) * 1000, type(error).__name__)
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
