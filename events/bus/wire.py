"""What goes over the wire to JetStream and what its answers mean, in one place and without a connection.

Every code and shape here was seen from nats-server 2.15.1.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Final

import msgspec

from events.bus.port import (
    Ack,
    BusError,
    FullError,
    KnownError,
    Outgoing,
    StaleError,
    Store,
    Stored,
    UnansweredError,
)

MSG_ID: Final = "Nats-Msg-Id"
EXPECT: Final = "Nats-Expected-Last-Subject-Sequence"
BATCH_ID: Final = "Nats-Batch-Id"
BATCH_SEQUENCE: Final = "Nats-Batch-Sequence"
BATCH_COMMIT: Final = "Nats-Batch-Commit"

STREAM: Final = "Nats-Stream"
"""What the server writes on each message that DIRECT.GET gives. Stored with a message, it says that the message is such an
answer, which somebody who may read had sent into the ledger (permissions.py): a copy, and no event."""

COPIED: Final = f"{STREAM} again"
"""Under this `steady.read_headers` keeps a second `STREAM` of one message: no header has a name with a space."""

STATUS: Final = "Status"
NO_RESPONDERS: Final = "503"
HEARTBEAT: Final = "100"
END_OF_BATCH: Final = "204"
NOT_FOUND: Final = "404"
EXPIRED: Final = "408"

_STALE: Final = frozenset({10071, 10164})
_KNOWN: Final = frozenset({10201})
_FULL: Final = frozenset({10002, 10023, 10028, 10047, 10077})
NO_MESSAGE: Final = 10037
NO_STREAM: Final = 10059

_ACK_TOKENS: Final = 9
"""`$JS.ACK.<stream>.<consumer>.<deliveries>.<seq>.<consumer seq>.<stored ns>.<pending>`; with a domain, two
more stand in third place, and the sequence two places further on."""


class ApiError(msgspec.Struct, frozen=True):
    """JetStream's own words for what went wrong."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class _PubAck(msgspec.Struct, frozen=True):
    error: ApiError | None = None
    seq: int = 0
    duplicate: bool = False


class _State(msgspec.Struct, frozen=True):
    last_seq: int
    first_seq: int = 0
    bytes: int = 0


class StreamInfo(msgspec.Struct, frozen=True):
    """A stream's definition and where it stands; `error` instead, when there is none."""

    error: ApiError | None = None
    config: dict[str, object] = {}
    created: str = ""
    state: _State = _State(0)


class _Message(msgspec.Struct, frozen=True):
    subject: str
    seq: int
    time: str
    data: bytes = b""
    hdrs: bytes = b""


class _MessageAnswer(msgspec.Struct, frozen=True):
    error: ApiError | None = None
    message: _Message | None = None


class Answer(msgspec.Struct, frozen=True):
    """Any answer of the API of which only the error matters."""

    error: ApiError | None = None


_pub_acks: Final = msgspec.json.Decoder(_PubAck)
_stream_infos: Final = msgspec.json.Decoder(StreamInfo)
_messages: Final = msgspec.json.Decoder(_MessageAnswer)
_answers: Final = msgspec.json.Decoder(Answer)


def headers(message: Outgoing) -> dict[str, str]:
    """The headers of a single append."""
    fields = {MSG_ID: message.id}
    if message.expect is not None:
        fields[EXPECT] = str(message.expect)
    return fields


def batch_headers(message: Outgoing, batch: str, place: int, size: int) -> dict[str, str]:
    """The headers of the member at `place` (from 1) of an atomic batch; the last one commits it (ADR-50)."""
    fields = headers(message) | {BATCH_ID: batch, BATCH_SEQUENCE: str(place)}
    if place == size:
        fields[BATCH_COMMIT] = "1"
    return fields


def block(fields: Mapping[str, str]) -> bytes:
    """The headers as they go over the wire; nothing when there are none.

    Names and values are ours and hold no line break: ids, sequences and words of the server.
    """
    if not fields:
        return b""
    return "\r\n".join(["NATS/1.0", *(f"{key}: {value}" for key, value in fields.items()), "", ""]).encode()


def publish(subject: str, reply: str, headers: bytes, payload: bytes) -> bytes:
    """The command that publishes; `headers` as `block` gives them."""
    to = f"{subject} {reply}" if reply else subject
    if not headers:
        return b"PUB %b %d\r\n%b\r\n" % (to.encode(), len(payload), payload)
    size = len(headers) + len(payload)
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (to.encode(), len(headers), size, headers, payload)


def size_bytes(payload: bytes, fields: Mapping[str, str]) -> int:
    """What the server counts against its limit: headers, their framing, and the payload.

    The client counts the payload alone, and the server answers the difference by closing the connection.
    """
    framing = len("NATS/1.0\r\n") + len("\r\n")
    return framing + sum(len(key) + len(value) + 4 for key, value in fields.items()) + len(payload)


def ack(raw: bytes, what: str) -> Ack:
    """The ack in a publish answer, or the error that it holds; `what` names the append in its sentence."""
    try:
        answer = _pub_acks.decode(raw)
    except msgspec.DecodeError as error:
        raise UnansweredError(f"The bus answered {what} with what is no answer: {raw[:80]!r}.") from error
    if answer.error is not None:
        raise refusal(answer.error, what)
    return Ack(answer.seq, answer.duplicate)


def refusal(error: ApiError, what: str) -> BusError:
    """The error of the port that an answer of JetStream stands for; what is not known is `Unanswered`."""
    said = f"{error.description} ({error.err_code})"
    if error.err_code in _STALE:
        return StaleError(f"The bus refused {what} as stale: {said}; read, fold and decide again.")
    if error.err_code in _KNOWN:
        return KnownError(f"The bus refused {what}: {said}; none of it was stored now.")
    if error.err_code in _FULL:
        return FullError(f"The bus has no room for {what}: {said}; nothing was stored. Give it more disk.")
    return UnansweredError(f"The bus could not say what became of {what}: {said}.")


def stream_info(raw: bytes) -> StreamInfo:
    """The decoded answer of STREAM.INFO."""
    return _stream_infos.decode(raw)


def store(info: StreamInfo, server_id: str) -> Store:
    """Where a stream stands. That it begins later than it was made to is no roll, but a store that is damaged."""
    state, most = info.state, info.config.get("max_bytes")
    return Store(
        first_seq=began(info),
        last_seq=state.last_seq,
        bytes=state.bytes,
        max_bytes=max(most, 0) if isinstance(most, int) else 0,
        created=info.created,
        server_id=server_id,
    )


def began(info: StreamInfo) -> int:
    """Where the stream was made to begin. What it holds may begin later, when its store is damaged: that is a hole."""
    first = info.config.get("first_seq")
    return first if isinstance(first, int) and first > 1 else 1


def api_error(raw: bytes) -> ApiError | None:
    """The error in an answer of the API, if it is one."""
    return _answers.decode(raw).error


def message_on(raw: bytes, subject: str) -> Stored | None:
    """The message in an answer of STREAM.MSG.GET about this very subject; None when there is none."""
    answer = _messages.decode(raw)
    if answer.message is not None:
        found = answer.message
        return Stored(found.seq, nanoseconds(found.time), subject, id_in(found.hdrs), found.data)
    error = answer.error or ApiError(description="no message in it")
    if error.err_code == NO_MESSAGE:
        return None
    raise refusal(error, "a read by subject")


def direct(fields: Mapping[str, str], payload: bytes) -> Stored:
    """The message in one part of a DIRECT.GET answer, whose headers carry what the stream knows of it."""
    return Stored(
        int(fields["Nats-Sequence"]),
        nanoseconds(fields["Nats-Time-Stamp"]),
        fields["Nats-Subject"],
        "" if COPIED in fields else fields.get(MSG_ID, ""),
        payload,
    )


def delivered(subject: str, reply: str, fields: Mapping[str, str] | None, payload: bytes) -> Stored:
    """The message that a consumer delivered; sequence and time stand in the reply subject."""
    tokens = reply.split(".")
    at = 5 if len(tokens) == _ACK_TOKENS else 7
    own = fields or {}
    return Stored(
        int(tokens[at]), int(tokens[at + 2]), subject, "" if STREAM in own else own.get(MSG_ID, ""), payload
    )


def nanoseconds(text: str) -> int:
    """Unix time in nanoseconds of an RFC 3339 instant in UTC, of which Python would keep microseconds."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    seconds = int(dt.datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * 1_000_000_000 + int(fraction.ljust(9, "0") or "0")


def instant(unix_ns: int) -> str:
    """Unix time in nanoseconds as an RFC 3339 instant in UTC."""
    seconds, fraction = divmod(unix_ns, 1_000_000_000)
    whole = dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{fraction:09d}Z"


def id_in(block: bytes) -> str:
    """The message id among the headers that a message was stored with: of several the last, without its outer blanks.

    None (empty) for a copy that the bus itself wrote: what somebody else's pen signed is not said again by it.
    """
    found = ""
    for line in block.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon and name.strip() == STREAM.encode():
            return ""
        if colon and name.strip() == MSG_ID.encode():
            found = text(value.strip())
    return found


def text(raw: bytes) -> str:
    """Bytes of a subject or a header as text: whatever they are, and never the same for others."""
    return raw.decode("utf-8", "surrogateescape")
