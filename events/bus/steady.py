"""A client whose reader outlives whatever an outsider sends.

A publisher chooses the bytes of a message's headers, subject and reply. In the client as it comes, one that
parses badly ends the only task that reads the connection, and all others' messages wait for the ping to notice.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.protocol.parser import Parser

from events.bus import wire

_END: Final = b"\r\n"
_VERSION: Final = "NATS/1.0"
_STATUS: Final = wire.STATUS
_LEDGER: Final = b"vs."


class StrictParser(Parser):
    """Splits what the server sends where the server does: at spaces alone.

    The client's own patterns also split at a vertical tab, which a subject may hold: who publishes on
    `in.acme.shop.7<VT>1` would choose the subscription that the message reaches, and so forge an answer.
    """

    def __init__(self, take: Callable[[int, bytes, bytes, bytes, bytes], None], client: Client) -> None:
        cast("Any", super()).__init__(client)
        self._take = take

    def reset(self) -> None:
        """Nothing is left of what was read."""
        super().reset()
        self._read = bytearray()

    async def parse(self, data: bytes = b"") -> None:
        """Every message that is whole is with the client; the rest waits for more bytes."""
        read = self._read
        read.extend(data)
        done = 0
        while (end := read.find(_END, done)) >= 0:
            if not read.startswith((b"MSG ", b"HMSG "), done):
                line, done = bytes(read[done : end + 2]), end + 2
                await super().parse(line)
                if read is not self._read:  # the line ended the connection, and with it what came behind
                    return
                continue
            fields = bytes(read[done:end]).split(b" ")
            header_bytes = int(fields.pop(-2)) if fields[0] == b"HMSG" else 0
            begin, size_bytes = end + 2, int(fields[-1])
            if len(read) < begin + size_bytes + 2:
                break
            headers = bytes(read[begin : begin + header_bytes])
            payload = bytes(read[begin + header_bytes : begin + size_bytes])
            done = begin + size_bytes + 2
            reply = fields[3] if len(fields) > 4 else b""  # noqa: PLR2004 - MSG subject sid [reply] size
            self._take(int(fields[2]), fields[1], reply, payload, headers)
        del read[:done]


class SteadyClient(Client):
    """The client with a reader that no message ends; should it end all the same, the connection is made anew.

    Messages reach their ear as they are read, without the client's queue and task for each subscription.
    """

    def __init__(self, on_failure: Callable[[Exception], None]) -> None:
        super().__init__()
        self._ps = StrictParser(self._take, self)
        self._ears: dict[int, Callable[[Msg], None]] = {}
        self._on_failure = on_failure

    async def hear(self, subject: str, queue: str, on_message: Callable[[Msg], None]) -> Subscription:
        """Messages on `subject` reach `on_message` in order; what it raises is told to `on_failure`."""
        sid = self._sid + 1
        self._ears[sid] = on_message  # before the server knows of it: the first message may be quick
        client: Any = super()  # its subscribe takes a Future of nothing said
        subscription: Subscription = await client.subscribe(subject, queue)
        assert subscription._id == sid, sid  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
        return subscription

    @property
    def server_id(self) -> str:
        """Of the server that greeted this connection last; it has a new one at every start."""
        return str(self._server_info.get("server_id", ""))

    async def put(self, commands: Sequence[bytes]) -> None:
        """The commands are on their way, in order and as one write where there is room for them.

        Never to a later server: what is not written when the connection breaks is forgotten, since it was meant for
        the store that this server had.
        """
        if not self.is_connected:
            raise nats.errors.ConnectionClosedError
        for command in commands:
            await self._send_command(command)
        if self._flush_queue is not None and self._flush_queue.empty():
            await self._flush_pending()

    async def _attempt_reconnect(self) -> None:
        self._pending, self._pending_data_size = [], 0
        await super()._attempt_reconnect()

    def _remove_sub(self, sid: int, max_msgs: int = 0) -> None:
        super()._remove_sub(sid, max_msgs)
        self._ears.pop(sid, None)

    def _take(self, sid: int, subject: bytes, reply: bytes, payload: bytes, headers: bytes) -> None:
        """The message is with its ear; dropped when nobody hears it, or when it is no text where to answer.

        What the ledger holds is never dropped, whatever its subject is.
        """
        on_message = self._ears.get(sid)
        if on_message is None:
            return
        try:
            stands = wire.text(subject) if subject.startswith(_LEDGER) else subject.decode()
            message = Msg(self, stands, reply.decode(), payload, read_headers(headers))
        except UnicodeDecodeError:  # nobody could be answered
            return
        try:
            on_message(message)
        except Exception as error:  # noqa: BLE001 - one message must not end the connection of all others
            self._on_failure(error)

    async def _read_loop(self) -> None:
        """The connection was read to its end; a reader that ended before it is a connection that broke."""
        await super()._read_loop()
        task = asyncio.current_task()
        if self.is_connected and task is not None and not task.cancelling():
            await self._process_op_err(nats.errors.UnexpectedEOF())


def read_headers(raw: bytes) -> dict[str, str] | None:
    """A message's headers, with the status of one that has one; none when the bytes are no headers.

    The last of two with one name counts. Whatever an outsider sends is answered here, in any case without an error.
    """
    if not raw:
        return None
    lines = wire.text(raw).split("\r\n")
    fields: dict[str, str] = {}
    if not lines[0].startswith(_VERSION):
        return None
    status = lines[0][len(_VERSION) :].split(maxsplit=1)
    if status and status[0].isdecimal():
        fields[_STATUS] = status[0]
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon:
            continue
        if name.strip() == wire.STREAM in fields:
            fields[wire.COPIED] = value.strip()
        fields[name.strip()] = value.strip()
    return fields or None
