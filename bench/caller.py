"""A publisher's connection, as thin as it can be: on a machine that all parts share, who asks must cost little.

Requests and answers are the protocol's own `PUB` and `MSG` lines, with the publisher's key and its own inbox; there
is no reconnection, and nothing else that a real publisher would want.
"""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Final, cast

import nkeys

from events import keys
from events.bus.permissions import inbox
from schemas.house import House

_END: Final = b"\r\n"
_sign: Final = cast("Callable[[bytearray], nkeys.KeyPair]", nkeys.from_seed)


class Caller(asyncio.Protocol):
    """Asks, and hands each answer to whoever waits for it."""

    def __init__(self, name: str, seed: bytes) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._name = name
        self._seed = seed
        self._inbox = inbox(name).encode() + b".%d." % id(self)
        self._transport: asyncio.WriteTransport | None = None
        self._rest = b""
        self._number = 0
        self._introduced = False
        self._answers: dict[int, asyncio.Future[bytes]] = {}

    def ask(self, subject: str, payload: bytes) -> asyncio.Future[bytes]:
        """The answer, when it comes."""
        assert self._transport is not None
        self._number += 1
        answer = self._answers[self._number] = asyncio.get_running_loop().create_future()
        line = b"PUB %b %b%d %d\r\n%b\r\n" % (
            subject.encode(), self._inbox, self._number, len(payload), payload,
        )  # fmt: skip
        self._transport.write(line)
        return answer

    def close(self) -> None:
        """The connection is gone."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The bus will introduce itself."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits hears of it."""
        for waiting in (self.ready, *self._answers.values()):
            if not waiting.done():
                waiting.set_exception(ConnectionError(f"{self._name} lost the bus: {exc}"))

    def data_received(self, data: bytes) -> None:
        """Every line and message that is whole is taken; the rest waits for more bytes."""
        data = self._rest + data
        at = 0
        while (end := data.find(_END, at)) >= 0:
            if data.startswith((b"MSG ", b"HMSG "), at):
                fields = data[at:end].split(b" ")
                begin, size = end + 2, int(fields[-1])
                if len(data) < begin + size + 2:
                    break
                at = begin + size + 2
                self._take(fields, data[begin : begin + size])
            else:
                line, at = data[at:end], end + 2
                self._hear(line)
        self._rest = data[at:]

    def _take(self, fields: list[bytes], body: bytes) -> None:
        answer = self._answers.pop(int(fields[1].rpartition(b".")[2]), None)
        if answer is None or answer.done():
            return
        if fields[0] == b"HMSG":  # the bus's own: nobody serves the subject
            answer.set_exception(LookupError(body.decode()))
        else:
            answer.set_result(body)

    def _hear(self, line: bytes) -> None:
        assert self._transport is not None
        if line.startswith(b"INFO ") and not self._introduced:
            self._introduced = True
            signature = _sign(bytearray(self._seed)).sign(json.loads(line[5:])["nonce"].encode())
            said = {
                "verbose": False,
                "pedantic": False,
                "headers": True,
                "no_responders": True,
                "lang": "python",
                "version": "bench",
                "protocol": 1,
                "name": self._name,
                "nkey": keys.public_key(self._seed),
                "sig": base64.urlsafe_b64encode(signature).rstrip(b"=").decode(),
            }
            subscribe = b"SUB %b* 1" % self._inbox
            self._transport.write(b"CONNECT %b\r\n%b\r\nPING\r\n" % (json.dumps(said).encode(), subscribe))
        elif line == b"PING":
            self._transport.write(b"PONG\r\n")
        elif line == b"PONG" and not self.ready.done():
            self.ready.set_result(None)
        elif line.startswith(b"-ERR"):
            raise ConnectionError(f"{self._name}: {line.decode()}")


async def call_as(house: House, name: str) -> Caller:
    """A connection of the house's user `name`."""
    seed = keys.read(keys.path_of(house.keys, name))
    host, _, port = house.bus_url.removeprefix("nats://").partition(":")
    _, caller = await asyncio.get_running_loop().create_connection(
        lambda: Caller(name, seed), host, int(port)
    )
    async with asyncio.timeout(5.0):
        await caller.ready
    return caller
