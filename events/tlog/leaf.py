"""What is hashed of a message: all that the bus keeps of it, in one unambiguous row of bytes.

An entry is `virtscale-entry/v1`, a line feed, the sequence and the stored time in nanoseconds as eight bytes each, then
subject and message id with two bytes of length before each, then the payload; integers are unsigned and big-endian. So a message
that was moved, dated back, readdressed or renamed is another leaf, as one with another payload is.
"""

import struct
from hashlib import sha256
from typing import Final

from events.stored import Stored

MOST_ENTRY_BYTES: Final = 65_535
"""A C2SP entry bundle gives an entry's length in two bytes."""

_BYTES: Final = ("utf-8", "surrogateescape")
"""As the bus's readers take bytes for text: what no event stands on may be no UTF-8, and is another leaf for each such name."""

_PREFIX: Final = b"virtscale-entry/v1\n"
_HEAD: Final = struct.Struct(f">{len(_PREFIX)}sQQH")
_LENGTH: Final = struct.Struct(">H")


class EntryError(ValueError):
    """Bytes that are no entry, or a message that cannot become one; the sentence says which."""

    code = "EntryUnreadable"


def entry(stored: Stored) -> bytes:
    """The bytes of the message that its leaf is the hash of. Raises `EntryError` for one past `MOST_ENTRY_BYTES`."""
    subject, name = stored.subject.encode(*_BYTES), stored.id.encode(*_BYTES)
    length = _HEAD.size + len(subject) + _LENGTH.size + len(name) + len(stored.payload)
    if length > MOST_ENTRY_BYTES:
        raise EntryError(
            f"Message {stored.seq} would be an entry of {length} bytes; an entry bundle takes {MOST_ENTRY_BYTES} at most. "
            "Nothing was sealed from there on; no bus of this project takes a message of that length."
        )
    head = _HEAD.pack(_PREFIX, stored.seq, stored.stored_ns, len(subject))
    return b"".join((head, subject, _LENGTH.pack(len(name)), name, stored.payload))


def parse(data: bytes) -> Stored:
    """The message that the entry was made of. Raises `EntryError`."""
    if not data.startswith(_PREFIX):
        raise EntryError(f"An entry of {len(data)} bytes does not begin with {_PREFIX.decode().strip()}.")
    try:
        _, seq, stored_ns, length = _HEAD.unpack_from(data)
        middle = _HEAD.size + length
        (name_length,) = _LENGTH.unpack_from(data, middle)
        start = middle + _LENGTH.size
        end = start + name_length
        if end > len(data):
            raise EntryError(f"An entry of {len(data)} bytes ends within its message id.")
        return Stored(
            seq,
            stored_ns,
            data[_HEAD.size : middle].decode(*_BYTES),
            data[start:end].decode(*_BYTES),
            data[end:],
        )
    except struct.error:
        raise EntryError(f"An entry of {len(data)} bytes ends before its message id.") from None


def leaf_hash(entry: bytes) -> bytes:
    """RFC 6962's hash of a leaf: SHA-256 of a zero byte and the entry."""
    return sha256(b"\0" + entry).digest()
