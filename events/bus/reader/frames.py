"""From the bytes of a connection to messages of the ledger: no socket, no clock, and no client on the path.

A message costs one match of a pattern on the receive buffer, 2.5 us on a busy core with all else; nats-py's fetch takes 23 us
(docs/performance.md). What the pattern does not know takes the careful way, which knows everything.
"""

import datetime as dt
import re
from typing import Final

import msgspec

from events.bus.permissions import LEDGER
from events.bus.port import Stored, UnansweredError
from events.bus.wire import id_in, text

MOST_FRAME_BYTES: Final = 1 << 20
"""The bus takes 60,000 bytes; what the server adds to them is not much. More than this is no frame."""

MOST_LINE_BYTES: Final = 1 << 16
"""The longest line is the server's INFO, a kilobyte or so."""

_NS: Final = 1_000_000_000
_CRLF: Final = b"\r\n"

# The server writes its own six fields behind the headers that the message was stored with.
_STREAM: Final = b"Nats-Stream: " + LEDGER.encode()
_FIELDS: Final = (
    _STREAM + rb"\r\n"
    rb"Nats-Subject: ([^\r\n]++)\r\n"
    rb"Nats-Sequence: ([0-9]+)\r\n"
    rb"Nats-Time-Stamp: ([0-9T:-]{19})\.?([0-9]{0,9})Z\r\n"
    rb"Nats-Num-Pending: [0-9]+\r\n"
    rb"Nats-Last-Sequence: [0-9]+\r\n\r\n"
)

# A message as a pen stores it: its id first, then perhaps what it expected or which batch it was part of. Only visible
# characters, so that there is one reading of it.
_USUAL: Final = re.compile(
    rb"([0-9]+) ([0-9]+)\r\nNATS/1\.0\r\nNats-Msg-Id: ([!-~]++)\r\n(?:Nats-[EB][!-~]++ [!-~]++\r\n)*+"
    + _FIELDS
)
_LAST: Final = re.compile(_FIELDS)
_STATUS: Final = re.compile(rb"NATS/1\.0 ([0-9]{3})")
_PENDING: Final = re.compile(rb"\r\nNats-Num-Pending: ([0-9]+)\r\n")
_BEHIND: Final = re.compile(rb"\r\nNats-Last-Sequence: ([0-9]+)\r\n")


class FrameError(UnansweredError):
    """The connection carries what no nats-server says; it must be given up, and another may do better."""

    code = "BusGarbled"


class Ended(msgspec.Struct, frozen=True):
    """An answer is over: its status, the last sequence in it, and how many messages the ledger holds behind that."""

    status: str
    last: int
    pending: int


class Said(msgspec.Struct, frozen=True):
    """A line of the server that carries no message: `INFO`, `PING`, `PONG`, `+OK`, `-ERR`."""

    verb: str
    text: str


Sign = Ended | Said


class Frames:
    """Splits what arrives, however it is cut, into the messages and signs that it holds.

    `subject` is the one subject that is listened to. Both lists grow as bytes are fed; whoever reads empties them.
    """

    def __init__(self, subject: str) -> None:
        self.stored: list[Stored] = []
        self.signs: list[Sign] = []
        self._prefix = f"HMSG {subject} 1 ".encode()
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 0
        self._second = b""
        self._second_ns = 0

    def feed(self, data: bytes) -> None:
        """Everything that is whole by now is in the lists; raises `FrameError` for what cannot be a frame."""
        self._parts.append(data)
        self._have += len(data)
        if self._have < self._need:
            return
        buffer = b"".join(self._parts) if len(self._parts) > 1 else data
        at = self._split(buffer)
        rest = buffer[at:] if at else buffer
        self._parts = [rest] if rest else []
        self._have = len(rest)

    def _split(self, buffer: bytes) -> int:
        """Where the first frame begins that is not whole."""
        at = 0
        while True:
            at = self._quickly(buffer, at)
            following = self._carefully(buffer, at)
            if following is None:
                return at
            at = following

    def _quickly(self, buffer: bytes, at: int) -> int:
        """Behind the last of the usual messages that follow each other here."""
        length, prefix, skip = len(buffer), self._prefix, len(self._prefix)
        match, put = _USUAL.match, self.stored.append
        while buffer.startswith(prefix, at):
            found = match(buffer, at + skip)
            if found is None:
                break
            headers, total, id_, subject, seq, second, fraction = found.groups()
            begin, payload = found.end(2) + 2, found.end()
            end = begin + int(total)
            # Headers that go on behind what looks like their end were written so by whoever stored them.
            if payload != begin + int(headers) or end + 2 > length:
                break
            if second != self._second:
                self._second, self._second_ns = second, _unix_ns(second)
            put(
                Stored(
                    int(seq),
                    self._second_ns + int(fraction.ljust(9, b"0")),
                    text(subject),
                    id_.decode(),
                    buffer[payload:end],
                )
            )
            at = end + 2
        return at

    def _carefully(self, buffer: bytes, at: int) -> int | None:
        """Behind the frame at this place, whatever it is; None when it is not whole."""
        line_end = buffer.find(_CRLF, at, at + MOST_LINE_BYTES)
        if line_end < 0:
            if len(buffer) - at >= MOST_LINE_BYTES:
                raise FrameError(f"The bus sent a line of more than {MOST_LINE_BYTES} bytes.")
            self._need = 0
            return None
        line = buffer[at:line_end]
        verb, _, rest = line.partition(b" ")
        if verb not in {b"HMSG", b"MSG"}:
            self.signs.append(Said(_text(verb), _text(rest)))
            return line_end + 2
        begin = line_end + 2
        headers, total = _sizes(verb, rest)
        if len(buffer) < begin + total + 2:
            self._need = begin + total + 2 - at
            return None
        # Without headers it is no answer to what is asked here, and on another subject it is nobody's.
        if verb == b"HMSG" and line.startswith(self._prefix):
            self._answer(buffer[begin : begin + headers], buffer[begin + headers : begin + total])
        return begin + total + 2

    def _answer(self, block: bytes, payload: bytes) -> None:
        fields = _LAST.fullmatch(block, max(0, block.rfind(_STREAM)))
        if fields is not None:
            subject, seq, second, fraction = fields.groups()
            stored_ns = _unix_ns(second) + int(fraction.ljust(9, b"0"))
            # What stands before the server's own fields is the writer's, and may say anything.
            id_ = id_in(block[: fields.start()])
            self.stored.append(Stored(int(seq), stored_ns, text(subject), id_, payload))
            return
        status = _STATUS.match(block)
        if status is None:
            raise FrameError(f"The bus sent an answer that is no message of the ledger: {block[:200]!r}.")
        self.signs.append(Ended(_text(status[1]), _number(_BEHIND, block), _number(_PENDING, block)))


def _sizes(verb: bytes, rest: bytes) -> tuple[int, int]:
    words = rest.split(b" ")
    try:
        total = int(words[-1])
        headers = int(words[-2]) if verb == b"HMSG" else 0
    except (ValueError, IndexError) as error:
        raise FrameError(f"The bus sent a message without its size: {rest[:200]!r}.") from error
    if not 0 <= headers <= total <= MOST_FRAME_BYTES:
        raise FrameError(f"The bus sent a message of {total} bytes; at most {MOST_FRAME_BYTES} can be.")
    return headers, total


def _number(pattern: re.Pattern[bytes], block: bytes) -> int:
    found = pattern.search(block)
    return int(found[1]) if found is not None else 0


def _unix_ns(second: bytes) -> int:
    try:
        moment = dt.datetime.fromisoformat(f"{_text(second)}+00:00")
    except ValueError as error:
        raise FrameError(f"The bus sent a message of the time {_text(second)!r}.") from error
    return int(moment.timestamp()) * _NS


def _text(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")
