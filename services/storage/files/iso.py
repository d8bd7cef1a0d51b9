"""A small ISO 9660 image with Joliet names: a few files in one folder, and the same bytes whenever and wherever it is made.

Written here because what others offer puts the moment and the time zone of its making into the image in eight places; two
seeds could then not be compared by their bytes, and a repeat could not be told from a change.

What stands where is ECMA-119 (ISO 9660) and Microsoft's Joliet specification; all numbers below are theirs. The first set of
names is of upper case letters alone, so a reader without Joliet sees META_DATA; every kernel that is met reads Joliet.
"""

import struct
from collections.abc import Mapping
from typing import Final

SECTOR: Final = 2048
_SYSTEM_SECTORS: Final = 16
_PRIMARY, _JOLIET, _END = 16, 17, 18
_PATH_TABLES: Final = {_PRIMARY: (19, 20), _JOLIET: (21, 22)}
"""The same table in both orders of bytes."""
_FOLDERS: Final = {_PRIMARY: 23, _JOLIET: 24}
_FIRST_DATA: Final = 25
_PATH_TABLE_BYTES: Final = 10
_DATE: Final = bytes((70, 1, 1, 0, 0, 0, 0))
"""1970-01-01 in UTC: no image says when it was made."""
_NO_DATE: Final = b"0" * 16 + b"\0"
_UCS2: Final = b"%/E"
_FOLDER: Final = 2


def image(label: str, files: Mapping[str, bytes]) -> bytes:
    """An image with this label and these files in its root; the order in which they are given makes no difference.

    Names are lower case letters, digits and dashes, a few of them: both folders are of one sector.
    """
    names = sorted(files)
    places: dict[str, int] = {}
    at = _FIRST_DATA
    for name in names:
        # An empty file has no place.
        places[name] = at if files[name] else 0
        at += _sectors(files[name])
    parts = [
        bytes(_SYSTEM_SECTORS * SECTOR),
        _descriptor(_PRIMARY, label, at),
        _descriptor(_JOLIET, label, at),
        _padded(b"\xffCD001\x01"),
    ]
    for folder in _FOLDERS.values():
        parts += [_padded(struct.pack(f"{order}BBIHBx", 1, 0, folder, 1, 0)) for order in "<>"]
    for kind in _FOLDERS:
        own = _record(b"\0", _FOLDERS[kind], SECTOR, _FOLDER)
        above = _record(b"\1", _FOLDERS[kind], SECTOR, _FOLDER)
        records = [_record(_identifier(kind, name), places[name], len(files[name]), 0) for name in names]
        parts.append(_padded(own + above + b"".join(records)))
    parts += [_padded(files[name]) for name in names if files[name]]
    return b"".join(parts)


def _descriptor(kind: int, label: str, sectors: int) -> bytes:
    """What the image is, once for each of the two sets of names; they differ in how text is written."""
    little, big = _PATH_TABLES[kind]
    return _padded(
        b"".join(
            (
                bytes((1 if kind == _PRIMARY else 2,)),
                b"CD001\x01\0",
                _text(kind, "", 32),
                _text(kind, label, 32),
                bytes(8),
                _both32(sectors),
                (b"" if kind == _PRIMARY else _UCS2).ljust(32, b"\0"),
                _both16(1),
                _both16(1),
                _both16(SECTOR),
                _both32(_PATH_TABLE_BYTES),
                struct.pack("<II", little, 0),
                struct.pack(">II", big, 0),
                _record(b"\0", _FOLDERS[kind], SECTOR, _FOLDER),
                *(_text(kind, "", size) for size in (128, 128, 128, 128, 37, 37, 37)),
                _NO_DATE * 4,
                b"\1\0",
            )
        )
    )


def _record(identifier: bytes, place: int, size: int, flags: int) -> bytes:
    length = 33 + len(identifier)
    length += length % 2
    head = bytes((length, 0)) + _both32(place) + _both32(size) + _DATE + bytes((flags, 0, 0)) + _both16(1)
    return (head + bytes((len(identifier),)) + identifier).ljust(length, b"\0")


def _identifier(kind: int, name: str) -> bytes:
    if kind == _JOLIET:
        return f"{name};1".encode("utf-16-be")
    return f"{name.upper().replace('-', '_')}.;1".encode("ascii")


def _text(kind: int, text: str, size: int) -> bytes:
    if kind == _PRIMARY:
        return text.encode("ascii").ljust(size, b" ")
    return text.ljust(size // 2).encode("utf-16-be").ljust(size, b"\0")


def _both16(number: int) -> bytes:
    return struct.pack("<H", number) + struct.pack(">H", number)


def _both32(number: int) -> bytes:
    return struct.pack("<I", number) + struct.pack(">I", number)


def _sectors(content: bytes) -> int:
    return -(-len(content) // SECTOR)


def _padded(content: bytes) -> bytes:
    return content.ljust(max(_sectors(content), 1) * SECTOR, b"\0")
