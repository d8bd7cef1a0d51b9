"""A client whose reader outlives whatever an outsider sends.

A publisher chooses the bytes of a message's headers, subject and reply. In the client as it comes, one that
parses badly ends the only task that reads the connection, and all others' messages wait for the ping to notice.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.protocol.parser import Parser

_END: Final = b"\r\n"


class StrictParser(Parser):
    """Splits what the server sends where the server does: at spaces alone.

    The client's own patterns also split at a vertical tab, which a subject may hold: who publishes on
    `in.acme.shop.7<VT>1` would choose the subscription that the message reaches, and so forge an answer.
    """

    def __init__(
        self, take: Callable[[int, bytes, bytes, bytes, bytes], Awaitable[None]], client: Client
    ) -> None:
        cast("Any", super()).__init__(client)
        self._take = take

    def reset(self) -> None:
        """Nothing is left of what was read."""
        super().reset()
        self._read = bytearray()

    async def parse(self, data: bytes = b"") -> None:
        """Every message that is whole is with the client; the rest waits for more bytes."""
        self._read.extend(data)
        while (end := self._read.find(_END)) >= 0:
            line = bytes(self._read[:end])
            if not line.startswith((b"MSG ", b"HMSG ")):
                del self._read[: end + len(_END)]
                await super().parse(line + _END)
                continue
            fields = line.split(b" ")
            header_bytes = int(fields.pop(-2)) if fields[0] == b"HMSG" else 0
            begin, size_bytes = end + len(_END), int(fields[-1])
            if len(self._read) < begin + size_bytes + len(_END):
                return
            headers = bytes(self._read[begin : begin + header_bytes])
            payload = bytes(self._read[begin + header_bytes : begin + size_bytes])
            del self._read[: begin + size_bytes + len(_END)]
            reply = fields[3] if len(fields) > 4 else b""  # noqa: PLR2004 - MSG subject sid [reply] size
            await self._take(int(fields[2]), fields[1], reply, payload, headers)


class SteadyClient(Client):
    """The client with a reader that no message ends; should it end all the same, the connection is made anew."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = StrictParser(self._process_msg, self)

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        """The message's headers; none when they are no headers."""
        try:
            return await super()._process_headers(headers)  # pyright: ignore[reportUnknownMemberType]
        except Exception:  # noqa: BLE001 - the bytes are an outsider's, and parsing them fails in any way
            return None

    def _build_message(  # pyright: ignore[reportIncompatibleMethodOverride] - its caller expects None too
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> Msg | None:
        """The message; none, which drops it, when its subject or reply is no text: nobody could be answered."""
        try:
            return super()._build_message(sid, subject, reply, data, headers)
        except UnicodeDecodeError:
            return None

    async def _read_loop(self) -> None:
        """The connection was read to its end; a reader that ended before it is a connection that broke."""
        await super()._read_loop()
        task = asyncio.current_task()
        if self.is_connected and task is not None and not task.cancelling():
            await self._process_op_err(nats.errors.UnexpectedEOF())
