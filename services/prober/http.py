"""Guests over HTTP: `GET /healthz` answers `ok <boot id>`, and a guest that likes adds its clock in Unix ms.

Where it does not, the date in the answer's head tells its clock to the second, as with most servers.
"""

import asyncio
import re
from email.utils import parsedate_to_datetime
from typing import Final, cast

from services.prober.port import Pulse

_MOST_BYTES: Final = 4096
_HIGHEST_PORT: Final = 65_535
_REQUEST: Final = b"GET /healthz HTTP/1.0\r\nHost: %b\r\n\r\n"
_STATUS: Final = re.compile(rb"HTTP/1\.[01] 200(?: |\r\n)")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,6})[ \t]*\r\n", re.IGNORECASE)
_DATE: Final = re.compile(rb"\r\ndate:[ \t]*([!-~ ]{1,40}?)[ \t]*\r\n", re.IGNORECASE)
_BODY: Final = re.compile(rb"ok ([0-9a-zA-Z-]{1,64})(?: ([0-9]{1,16}))?\s*")


class HttpGuests:
    """Each probe is a connection of its own; nothing is kept between probes."""

    async def probe(self, address: str, timeout_seconds: float) -> Pulse | None:
        """The pulse of the guest at `host:port`; None when it does not answer properly in time.

        Connecting counts: a host takes connections for a paused guest, and answers them when it runs again.
        Safe to repeat, and safe to abandon: the connection is closed at once.
        """
        host, _, port = address.rpartition(":")
        if not port.isdecimal() or int(port) > _HIGHEST_PORT:
            return None
        loop = asyncio.get_running_loop()
        conversation: _Conversation | None = None
        try:
            async with asyncio.timeout(timeout_seconds):
                _, conversation = await loop.create_connection(
                    lambda: _Conversation(address, loop.create_future()), host.strip("[]"), int(port)
                )
                return read_pulse(await conversation.answer)
        except (OSError, TimeoutError):  # refused, unreachable, silent: the guest does not answer
            return None
        finally:
            if conversation is not None:
                conversation.close()


class _Conversation(asyncio.Protocol):
    """Asks as soon as it is connected, and hears until the answer is whole, too long, or over."""

    def __init__(self, address: str, answer: "asyncio.Future[bytes]") -> None:
        self._address = address
        self._heard = bytearray()
        self._transport: asyncio.Transport | None = None
        self.answer = answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asserted: uvloop's transports have the methods of asyncio's and are none of them.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(_REQUEST % self._address.encode())

    def data_received(self, data: bytes) -> None:
        self._heard += data
        if is_whole(self._heard) or len(self._heard) > _MOST_BYTES:
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc  # what was heard until then is judged by the same rule
        self._end()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _end(self) -> None:
        if not self.answer.done():
            self.answer.set_result(bytes(self._heard[:_MOST_BYTES]))


def is_whole(heard: bytes | bytearray) -> bool:
    """Whether the answer's body has the length that its head says; without one, its end is the connection's."""
    head, gap, body = heard.partition(b"\r\n\r\n")
    length = _LENGTH.search(head + b"\r\n")
    return bool(gap) and length is not None and len(body) >= int(length[1])


def read_pulse(answer: bytes) -> Pulse | None:
    """The pulse that an answer carries; None when it is not a proper one, or was cut short."""
    head, gap, body = answer.partition(b"\r\n\r\n")
    length = _LENGTH.search(head + b"\r\n")
    said = _BODY.fullmatch(body)
    if not gap or said is None or _STATUS.match(head + b"\r\n") is None:
        return None
    if length is not None and len(body) != int(length[1]):
        return None
    return Pulse(said[1].decode(), int(said[2]) if said[2] else None, _second(head))


def _second(head: bytes) -> int | None:
    """The Unix time of the head's date; None where there is none, or nobody can read it."""
    date = _DATE.search(head + b"\r\n")
    if date is None:
        return None
    try:
        return int(parsedate_to_datetime(date[1].decode()).timestamp())
    except (ValueError, OverflowError):
        return None
