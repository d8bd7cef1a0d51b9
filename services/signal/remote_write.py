"""Prometheus's remote write 1.0: what a request holds, or why it is none. Pure.

The message is protobuf in a snappy block. Of protobuf this needs varints, doubles and lengths, which are twenty lines; the
generated code and its library would be more to trust than to read.
"""

import struct
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final, cast

import cramjam

MOST_BYTES: Final = 16 * 1024 * 1024
"""Of a message when it is unpacked: 2,000 samples, the most that Prometheus sends at once, have some 400 kB."""

MOST_SERIES: Final = 20_000
MOST_SAMPLES: Final = 100_000
MOST_LABELS: Final = 128
"""Of one series."""

MOST_FIELDS: Final = 10 * MOST_SAMPLES
"""Of any kind, known or not: each takes some 0.7 us to read. A sender's usual 2,000 samples have some 70,000."""

STALE: Final = 0x7FF0000000000002
"""The bits of the NaN that says a series has ended."""

_VARINT, _EIGHT, _LENGTH, _FOUR = 0, 1, 2, 5
_TIMESTAMP, _NAME = 2, b"__name__"
_LONGEST_VARINT: Final = 10
_BITS: Final = 0x7F
_MORE: Final = 0x80
_decompress_raw: Final = cast("Callable[[bytes], object]", cramjam.snappy.decompress_raw)


class PushError(ValueError):
    """What was pushed is no request of remote write; the sentence says why. Sending it again cannot help."""

    code = "PushUnreadable"


@dataclass(frozen=True, slots=True)
class Pushed:
    """One series and its samples in the order in which they came: Unix milliseconds, and a value or None where the series ends."""

    labels: dict[str, str]
    samples: tuple[tuple[int, float | None], ...]


def read(body: bytes, names: Collection[bytes]) -> list[Pushed]:
    """The series of these names; of all others no more is read than their name. Raises `PushError`."""
    try:
        return list(_series(_unpacked(body), names))
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise PushError(f"The message ends too early or is no WriteRequest: {error}.") from error


def unpacked_bytes(body: bytes) -> int:
    """How long the message is once it is unpacked, as its first bytes say: what does not keep to it is no snappy block.

    Nothing is unpacked for that, so a caller can decide where to. Raises `PushError`.
    """
    try:
        length, _ = _varint(body, 0)
    except IndexError as error:
        raise PushError("The request has no body: remote write sends a snappy block.") from error
    if length > MOST_BYTES:
        raise PushError(f"The message has {length} bytes unpacked; at most {MOST_BYTES} are read.")
    return length


def _unpacked(body: bytes) -> bytes:
    unpacked_bytes(body)
    try:
        message = bytes(cast("bytes", _decompress_raw(body)))
    except cramjam.DecompressionError as error:
        raise PushError(f"The body is no snappy block: {error}.") from error
    return message


@dataclass(slots=True)
class _Tally:
    """What one message had so far. Each is refused at the first that is too many, not when all of them were read."""

    fields: int = 0
    series: int = 0
    samples: int = 0

    def field(self) -> None:
        self.fields += 1
        if self.fields > MOST_FIELDS:
            raise PushError(f"One request may have {MOST_FIELDS} fields; this has more. Send fewer at once.")

    def one_series(self) -> None:
        self.series += 1
        if self.series > MOST_SERIES:
            raise PushError(f"One request may have {MOST_SERIES} series; this has more. Send fewer at once.")

    def sample(self) -> None:
        self.samples += 1
        if self.samples > MOST_SAMPLES:
            raise PushError(
                f"One request may have {MOST_SAMPLES} samples; this has more. Send fewer at once."
            )


def _series(message: bytes, names: Collection[bytes]) -> Iterator[Pushed]:
    tally = _Tally()
    for number, kind, value in _fields(message, tally):
        if number != 1:
            continue  # metadata, which says nothing about values
        tally.one_series()
        pushed = _one(_message(value, kind, "A series"), names, tally)
        if pushed is not None:
            yield pushed


def _one(message: bytes, names: Collection[bytes], tally: _Tally) -> Pushed | None:
    """The series, if its name is one of these."""
    labels: list[tuple[bytes, bytes]] = []
    samples: list[tuple[int, float | None]] = []
    wanted: bool | None = None
    count = 0
    for number, kind, value in _fields(message, tally):
        if number == 1:
            count += 1
            if count > MOST_LABELS:
                raise PushError(
                    f"One series may have {MOST_LABELS} labels; this has more. Drop some of them."
                )
            content = _message(value, kind, "A label")
            if wanted is not False:
                labels.append(_label(content, tally))
                name, said = labels[-1]
                wanted = said in names if name == _NAME else wanted
        elif number == 2:  # noqa: PLR2004 - the field's number
            tally.sample()
            content = _message(value, kind, "A sample")
            if wanted is not False:
                samples.append(_sample(content, tally))
    if not wanted:
        return None
    return Pushed({name.decode(): said.decode() for name, said in labels}, tuple(samples))


def _message(value: int | bytes, kind: int, what: str) -> bytes:
    if not isinstance(value, bytes):
        raise PushError(f"{what} is no message: it has the wire type {kind}.")
    return value


def _label(message: bytes, tally: _Tally) -> tuple[bytes, bytes]:
    name = said = b""
    for number, kind, value in _fields(message, tally):
        if number not in {1, 2}:
            continue
        if not isinstance(value, bytes):
            raise PushError(f"A label is no text: it has the wire type {kind}.")
        if number == 1:
            name = value
        else:
            said = value
    return name, said


def _sample(message: bytes, tally: _Tally) -> tuple[int, float | None]:
    """Time and value. A zero need not be sent; the trap: an absent value beside a field that nobody knows is none."""
    bits: int | None = None
    at = 0
    unknown = None
    for number, kind, value in _fields(message, tally):
        if number == 1:
            if kind != _EIGHT or isinstance(value, bytes):
                raise PushError(f"A sample's value has the wire type {kind}; it is to be a double, {_EIGHT}.")
            bits = value
        elif number == _TIMESTAMP:
            if kind != _VARINT or isinstance(value, bytes):
                raise PushError(f"A sample's time has the wire type {kind}; it is to be a varint, {_VARINT}.")
            at = value
        else:
            unknown = number
    if bits is None and unknown is not None:
        raise PushError(f"A sample has no value in field 1, but something in field {unknown}.")
    value_read: float = struct.unpack("<d", struct.pack("<Q", bits or 0))[0]
    return at - (1 << 64) if at >> 63 else at, None if bits == STALE else value_read


def _fields(message: bytes, tally: _Tally) -> Iterator[tuple[int, int, int | bytes]]:
    """Number, wire type and value of each field: a whole number, or the bytes of what has a length."""
    place = 0
    while place < len(message):
        tally.field()
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = _varint(message, place)
        elif kind == _EIGHT:
            value, place = struct.unpack_from("<Q", message, place)[0], place + 8
        elif kind == _FOUR:
            value, place = struct.unpack_from("<I", message, place)[0], place + 4
        elif kind == _LENGTH:
            length, place = _varint(message, place)
            value, place = message[place : place + length], place + length
            if place > len(message):
                raise PushError("A field is longer than the message that it is in.")
        else:
            raise PushError(f"A field has the wire type {kind}, which there is not.")
        yield number, kind, value


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(_LONGEST_VARINT):
        byte = message[place + shift]
        value |= (byte & _BITS) << 7 * shift
        if not byte & _MORE:
            return value & 0xFFFFFFFFFFFFFFFF, place + shift + 1
    raise PushError("A number is longer than 64 bits.")
