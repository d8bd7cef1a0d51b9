"""C2SP tlog-tiles: where hashes and entries stand, 256 to a file, and what an entry bundle is made of.

A tile of level L holds the hashes of complete subtrees of `256**L` leaves. A file of fewer than 256 is partial and has its
width in its name, so that nothing ever written has to change: it is followed by a wider one.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from events.tlog.leaf import MOST_ENTRY_BYTES
from events.tlog.tree import HASH_BYTES

WIDTH: Final = 256
LEVELS: Final = 8
"""How many levels of the tree a tile covers: it holds `2**LEVELS` hashes."""

_GROUP: Final = 1000
_LENGTH: Final = struct.Struct(">H")

MOST_FILE_BYTES: Final = WIDTH * (_LENGTH.size + MOST_ENTRY_BYTES)
"""Of a bundle of the longest entries, some 16 MiB; nothing else in an archive is longer."""


class TileError(ValueError):
    """A tile or a bundle is not there, or not what its name says; the sentence names the file."""

    code = "TileUnreadable"


def tile_path(level: int, index: int, width: int = WIDTH) -> str:
    """Where the tile stands: `tile/0/x001/234`, and `tile/0/x001/234.p/17` as long as it holds 17."""
    return f"tile/{level}/{_place(index, width)}"


def bundle_path(index: int, width: int = WIDTH) -> str:
    """Where the entries of level-0 tile `index` stand."""
    return f"tile/entries/{_place(index, width)}"


def width_of(index: int, count: int) -> int:
    """How many of `count` hashes (or entries) stand in file `index`: 256, fewer in the last one, or none."""
    return max(0, min(WIDTH, count - index * WIDTH)) if index >= 0 else 0


def encode_tile(hashes: Iterable[bytes]) -> bytes:
    """A tile's bytes."""
    return b"".join(hashes)


def decode_tile(data: bytes, width: int, path: str) -> list[bytes]:
    """The first `width` hashes of a tile that may be wider. Raises `TileError`, which names `path`."""
    if len(data) % HASH_BYTES or len(data) < width * HASH_BYTES or len(data) > WIDTH * HASH_BYTES:
        raise TileError(f"Tile {path} has {len(data)} bytes; {width} hashes are {width * HASH_BYTES}.")
    return [data[start : start + HASH_BYTES] for start in range(0, width * HASH_BYTES, HASH_BYTES)]


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """A bundle's bytes: each entry with its length in two bytes before it."""
    pack = _LENGTH.pack
    return b"".join([part for entry in entries for part in (pack(len(entry)), entry)])


def decode_bundle(data: bytes, width: int, path: str) -> list[bytes]:
    """The first `width` entries of a bundle that may hold more. Raises `TileError`, which names `path`."""
    entries: list[bytes] = []
    start, end, unpack = 0, len(data), _LENGTH.unpack_from
    while start < end and len(entries) < WIDTH:
        head = start + _LENGTH.size
        if head > end:
            break
        following = head + unpack(data, start)[0]
        if following > end:
            break
        entries.append(data[head:following])
        start = following
    if start != end or len(entries) < width:
        raise TileError(
            f"Bundle {path} has {end} bytes with {len(entries)} whole entries; {width} should be there, of at most "
            f"{MOST_ENTRY_BYTES} bytes each."
        )
    return entries[:width]


def _place(index: int, width: int) -> str:
    rest, last = divmod(index, _GROUP)
    place = f"{last:03d}"
    while rest:
        rest, group = divmod(rest, _GROUP)
        place = f"x{group:03d}/{place}"
    return place if width == WIDTH else f"{place}.p/{width}"
