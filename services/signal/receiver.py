"""The door for remote write: Prometheus pushes what it has scraped, and the triggers hear it 20 ms later, not 5 s.

HTTP/1.1 as senders of remote write speak it, which is one path, one method, and bodies of a known length. It stands on loopback
unless the house says otherwise: whoever can reach it can make pools grow, as far as the cap.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from services.signal.metrics import PUSHES
from services.signal.remote_write import MOST_BYTES, Pushed, PushError, read, unpacked_bytes

PATH: Final = "/api/v1/write"
MOST_BODY: Final = 4 * 1024 * 1024
"""Of one request, packed. A sender's usual 2,000 samples have some 100 kB."""

MOST_HEAD: Final = 16 * 1024
MOST_CONNECTIONS: Final = 64
"""A Prometheus opens one for each of its shards, seldom more than a few."""

LARGE: Final = 16 * 1024
"""What is more than this *unpacked* is read in a thread, so that the intake waits for none of it.

A packed body says nothing about that: 61 kB can hold 1.3 MB. So much has at most 8,000 fields, which take some 6 ms."""

MOST_WAITING: Final = 8
"""Large bodies that wait for the one that is being read; one more is answered 429, and its sender comes again."""

_AT_ONCE: Final = 25
"""Series that are handed on without letting others in: with 200 queries of one name that takes 5 to 10 ms."""

_SAMPLES_AT_ONCE: Final = 1_000

READ_SECONDS: Final = 10.0
"""From the first byte of a request to its last."""

IDLE_SECONDS: Final = 300.0
"""Without a request for so long a connection is ended; senders open another."""

_AGAIN_SECONDS: Final = 1.0

Names = Callable[[], frozenset[bytes]]
Take = Callable[[list[Pushed]], None]

log = logging.getLogger("virtscale.signal")


@dataclass(frozen=True, slots=True)
class _Reply:
    status: HTTPStatus
    text: str = ""

    def __bytes__(self) -> bytes:
        body = self.text.encode()
        again = "Retry-After: 1\r\n" if self.status in _LATER else ""
        ends = "" if self.status in _GOES_ON else "Connection: close\r\n"
        head = f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n{again}{ends}"
        length = "" if self.status is HTTPStatus.NO_CONTENT else f"Content-Length: {len(body)}\r\n"
        return f"{head}{length}\r\n".encode() + body


_LATER: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_GOES_ON: Final = (HTTPStatus.NO_CONTENT, HTTPStatus.BAD_REQUEST, HTTPStatus.TOO_MANY_REQUESTS)
"""After these the next request may come on the same connection: the body was read."""


class _RefusedError(Exception):
    """The request is answered with this, and the connection ends."""

    code = "PushRefused"

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.reply = _Reply(status, text)


class Receiver:
    """Takes pushes at one address and hands on the series that matter. `names` says which those are."""

    def __init__(self, address: str, names: Names, take: Take) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._names = names
        self._take = take
        self._connections = 0
        self._waiting = 0
        self._reading = asyncio.Lock()
        self._turn = asyncio.Lock()

    async def work(self) -> None:
        """Pushes are taken, for ever; an address that somebody has (a former life of ours) is waited for."""
        async with asyncio.TaskGroup() as senders:

            def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                senders.create_task(self._connected(reader, writer))

            server = await self._open(connected)
            async with server:
                await server.serve_forever()

    async def _open(
        self, connected: Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]
    ) -> asyncio.Server:
        said = False
        while True:
            try:
                return await asyncio.start_server(connected, self._host, self._port, limit=MOST_HEAD)
            except OSError as error:
                if not said:
                    log.warning("remote write waits for %s:%d: %s", self._host, self._port, error.strerror)
                said = True
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the sender has left, or forgot to go on: it keeps what was not answered
        finally:
            self._connections -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request is answered; True when another may follow."""
        try:
            first = await asyncio.wait_for(reader.readline(), IDLE_SECONDS)
            if not first:
                return False
            async with asyncio.timeout(READ_SECONDS):
                body = await _body(reader, first)
            if self._connections > MOST_CONNECTIONS:
                raise _RefusedError(
                    HTTPStatus.SERVICE_UNAVAILABLE, f"More than {MOST_CONNECTIONS} connections are open.\n"
                )
            reply = await self._push(body)
        except _RefusedError as refused:
            reply = refused.reply
        except ValueError:  # of the stream's reader: a line without an end
            reply = _Reply(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"A line has more than {MOST_HEAD} bytes."
            )
        PUSHES.labels(str(reply.status.value)).inc()
        writer.write(bytes(reply))
        async with asyncio.timeout(READ_SECONDS):
            await writer.drain()
        return reply.status in _GOES_ON

    async def _push(self, body: bytes) -> _Reply:
        try:
            if unpacked_bytes(body) <= LARGE:
                pushed = await self._read_here(body)
            elif self._waiting >= MOST_WAITING:
                return _Reply(
                    HTTPStatus.TOO_MANY_REQUESTS, f"{MOST_WAITING} large requests wait to be read already."
                )
            else:
                pushed = await self._read_beside(body)
        except PushError as error:
            return _Reply(HTTPStatus.BAD_REQUEST, f"{error} Nothing was taken.\n")
        for some in _portions(pushed):
            async with self._turn:
                self._take(some)
                await asyncio.sleep(0)
        return _Reply(HTTPStatus.NO_CONTENT)

    async def _read_here(self, body: bytes) -> list[Pushed]:
        """What a small body says. One a turn of the loop: as many as there are connections would be no small time together."""
        async with self._turn:
            pushed = read(body, self._names())
            await asyncio.sleep(0)
        return pushed

    async def _read_beside(self, body: bytes) -> list[Pushed]:
        """What a thread has read, one body at a time: two would only take turns, and each a share of the loop's time."""
        self._waiting += 1
        try:
            async with self._reading:
                return await asyncio.to_thread(read, body, self._names())
        finally:
            self._waiting -= 1


def _portions(pushed: list[Pushed]) -> Iterator[list[Pushed]]:
    """The same samples in the same order, so few at once that whoever takes them stops nobody for long."""
    some: list[Pushed] = []
    samples = 0
    for one in _pieces(pushed):
        if some and (len(some) >= _AT_ONCE or samples + len(one.samples) > _SAMPLES_AT_ONCE):
            yield some
            some, samples = [], 0
        some.append(one)
        samples += len(one.samples)
    if some:
        yield some


def _pieces(pushed: list[Pushed]) -> Iterator[Pushed]:
    for one in pushed:
        for begin in range(0, len(one.samples), _SAMPLES_AT_ONCE):
            yield Pushed(one.labels, one.samples[begin : begin + _SAMPLES_AT_ONCE])


async def _body(reader: asyncio.StreamReader, first: bytes) -> bytes:
    """The request's body; `_RefusedError` for what is no push."""
    method, _, rest = first.decode("latin-1").partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    headers = await _headers(reader)
    if path != PATH:
        raise _RefusedError(HTTPStatus.NOT_FOUND, f"Remote write goes to {PATH}.")
    if method != "POST":
        raise _RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, f"Remote write is a POST to {PATH}.")
    kind = headers.get("content-type", "application/x-protobuf")
    if not kind.startswith("application/x-protobuf") or "proto=io.prometheus.write.v2" in kind:
        raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Remote write 1.0 is read, and no other.")
    if headers.get("content-encoding", "snappy") != "snappy":
        raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The body is to be a snappy block.")
    length = headers.get("content-length", "")
    if not (length.isascii() and length.isdecimal()):
        raise _RefusedError(HTTPStatus.LENGTH_REQUIRED, "The request does not say how long its body is.")
    if len(length) > len(str(MOST_BYTES)) or int(length) > MOST_BODY:
        raise _RefusedError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The body has {length[:20]} bytes; at most {MOST_BODY} are read. Send fewer samples at once.",
        )
    return await reader.readexactly(int(length))


async def _headers(reader: asyncio.StreamReader) -> dict[str, str]:
    found: dict[str, str] = {}
    total = 0
    while (line := await reader.readline()).strip():
        total += len(line)
        if total > MOST_HEAD:
            raise _RefusedError(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"The headers have more than {MOST_HEAD} bytes."
            )
        name, _, value = line.decode("latin-1").partition(":")
        found[name.strip().lower()] = value.strip()
    return found
