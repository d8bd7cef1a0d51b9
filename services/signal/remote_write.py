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

STALE: Final = 0x7FF0000000000002
"""The bits of the NaN that says a series has ended."""

_VARINT, _EIGHT, _LENGTH, _FOUR = 0, 1, 2, 5
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
    """The series of these names; all others are counted and left unread. Raises `PushError`."""
    try:
        return list(_series(_unpacked(body), names))
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise PushError(f"The message ends too early or is no WriteRequest: {error}.") from error


def _unpacked(body: bytes) -> bytes:
    try:
        length, _ = _varint(body, 0)
    except IndexError as error:
        raise PushError("The request has no body: remote write sends a snappy block.") from error
    if length > MOST_BYTES:
        raise PushError(f"The message has {length} bytes unpacked; at most {MOST_BYTES} are read.")
    try:
        message = bytes(cast("bytes", _decompress_raw(body)))
    except cramjam.DecompressionError as error:
        raise PushError(f"The body is no snappy block: {error}.") from error
    return message


def _series(message: bytes, names: Collection[bytes]) -> Iterator[Pushed]:
    series = samples = 0
    for number, value in _fields(message):
        if number != 1:
            continue  # metadata, which says nothing about values
        if not isinstance(value, bytes):
            raise PushError("A series is no message.")
        series += 1
        labels: list[bytes] = []
        found: list[bytes] = []
        for part, content in _fields(value):
            if part == 1 and isinstance(content, bytes):
                labels.append(content)
            elif part == 2 and isinstance(content, bytes):  # noqa: PLR2004 - the field's number
                found.append(content)
        samples += len(found)
        if series > MOST_SERIES or samples > MOST_SAMPLES or len(labels) > MOST_LABELS:
            raise PushError(
                f"One request may have {MOST_SERIES} series, {MOST_SAMPLES} samples and {MOST_LABELS} labels on a series; this "
                "has more. Send fewer at once."
            )
        pairs = [_label(one) for one in labels]
        if any(name == b"__name__" and value in names for name, value in pairs):
            read_labels = {name.decode(): value.decode() for name, value in pairs}
            yield Pushed(read_labels, tuple(_sample(one) for one in found))


def _label(message: bytes) -> tuple[bytes, bytes]:
    parts = dict(_fields(message))
    name, value = parts.get(1, b""), parts.get(2, b"")
    if not isinstance(name, bytes) or not isinstance(value, bytes):
        raise PushError("A label is no text.")
    return name, value


def _sample(message: bytes) -> tuple[int, float | None]:
    parts = dict(_fields(message))
    bits, at = parts.get(1, 0), parts.get(2, 0)
    if isinstance(bits, bytes) or isinstance(at, bytes):
        raise PushError("A sample is no number.")
    value: float = struct.unpack("<d", struct.pack("<Q", bits))[0]
    return at - (1 << 64) if at >> 63 else at, None if bits == STALE else value


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: a whole number, or the bytes of what has a length."""
    place = 0
    while place < len(message):
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
        yield number, value


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(_LONGEST_VARINT):
        byte = message[place + shift]
        value |= (byte & _BITS) << 7 * shift
        if not byte & _MORE:
            return value & 0xFFFFFFFFFFFFFFFF, place + shift + 1
    raise PushError("A number is longer than 64 bits.")
