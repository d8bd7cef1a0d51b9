"""An archive's entries, hashed once more from their bytes, and everything that does not fit on the way.

One pass from the first bundle to the last, one core, no object for an event: 256 entries are cut, hashed and compared with
their tile at a time. What is kept of them is one hash for each bundle, 32 bytes for 256 events.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from events.bus.port import BusError
from events.envelope import read
from events.registry import UnknownEventError
from events.tlog.files import Files
from events.tlog.leaf import EntryError, parse
from events.tlog.tiles import LEVELS, WIDTH, bundle_path, tile_path
from events.tlog.tree import HASH_BYTES, complete

Told = Callable[[int, int], None]
"""Hears how many entries were hashed, and how many there are."""

_MOST_FAULTS: Final = 100
_MOST_MISSING: Final = 1024
"""Bundles without an entry, one after the other, behind which nothing more is looked for: 262,144 events, more than any one
directory of an archive holds. A checkpoint may name any size, and looking for 2**63 entries would never end."""
_BEGINS: Final = b"virtscale-entry/v1\n"
_LEAST_BYTES: Final = len(_BEGINS) + 20
_SUBJECT_AT: Final = len(_BEGINS) + 16


@dataclass(frozen=True, slots=True)
class Fault:
    """One file that is not as it must be; `seq` is the first entry that it is about."""

    seq: int
    code: str
    sentence: str
    in_tile: bool = False
    """Whether the tile is at fault, or may be: what the entries say decides."""
    above: bool = False
    """Whether it is a tile above the lowest, which differs as well wherever an entry does."""


@dataclass(frozen=True, slots=True)
class Read:
    """A file as it was found: its bytes, or why there are none."""

    path: str
    data: bytes | None
    why: str = ""


def wide(files: Files, path: Callable[[int], str], width: int) -> Read:
    """The file of so many entries or hashes, or a wider one of the same place: an archive grows while it is read.

    A wider file begins with what the narrower one held, so whoever reads it takes the beginning. What the disk does not give
    counts as missing: that is what a broken disk looks like.
    """
    try:
        data = files.read(path(width))
        if data is not None or width == WIDTH:
            return Read(path(width), data, f"There is no file {path(width)}.")
        full = files.read(path(WIDTH))
    except OSError as error:
        return Read(path(width), None, f"{path(width)} cannot be read: {error.strerror or error}.")
    if full is None:
        return Read(path(width), None, f"There is no file {path(width)}.")
    return Read(path(WIDTH), full)


class Hashed:
    """The hashes that the entries make, at every level; filled by `through`."""

    def __init__(self, files: Files, size: int) -> None:
        self._files = files
        self._size = size
        self._levels: list[list[bytes | None]] = [[]]
        """The hashes of full bundles, of 256 of these, and so on."""
        self._leaves: tuple[int, list[bytes]] = (-1, [])
        """Of the bundle that was looked at last."""
        self.faults: list[Fault] = []
        self.most_faults = False
        """Whether there are more faults than were kept or looked for."""
        self.events = self.noise = 0
        self.unread: Fault | None = None
        """The first entry that is no event which this version reads."""

    def through(self, told: Told | None, *, events: bool) -> None:
        """Every entry is hashed and compared with its tile; with `events` each is also read as an event.

        It ends early where `_MOST_MISSING` bundles are missing in a row: what stands behind these is not proven.
        """
        missing = 0
        for bundle in range(-(-self._size // WIDTH)):
            done = min((bundle + 1) * WIDTH, self._size)
            leaves = self._bundle(bundle, done - bundle * WIDTH, events=events)
            if done == (bundle + 1) * WIDTH:
                self._levels[0].append(complete(leaves) if len(leaves) == WIDTH else None)
            if told is not None:
                told(done, self._size)
            missing = 0 if leaves else missing + 1
            if missing == _MOST_MISSING:
                self.most_faults = True
                break
        self._rise()

    def of(self, level: int, index: int) -> bytes | None:
        """What the entries say of a complete subtree; None where one of them cannot be read."""
        if level >= LEVELS:
            tile, up = divmod(level - LEVELS, LEVELS)
            if tile < len(self._levels):
                known = self._levels[tile][index << up : (index + 1) << up]
                return _joined(known) if len(known) == 1 << up else None
            return _joined([self.of(level - 1, 2 * index), self.of(level - 1, 2 * index + 1)])
        bundle, place = divmod(index << level, WIDTH)
        if self._leaves[0] != bundle:
            width = min(WIDTH, self._size - bundle * WIDTH)
            found = wide(self._files, lambda width: bundle_path(bundle, width), width)
            self._leaves = (bundle, cut(found.data or b"", bundle * WIDTH + 1, width)[0])
        leaves = self._leaves[1][place : place + (1 << level)]
        return complete(leaves) if len(leaves) == 1 << level else None

    def tile(self, level: int, index: int) -> bytes | None:
        """What the tiles say of a complete subtree; None where the file is missing or too short."""
        at, up = divmod(level, LEVELS)
        tile, place = divmod(index << up, WIDTH)
        width = min(WIDTH, (self._size >> LEVELS * at) - tile * WIDTH)
        data = wide(self._files, lambda width: tile_path(at, tile, width), width).data
        found = (data or b"")[place * HASH_BYTES : (place + (1 << up)) * HASH_BYTES]
        if len(found) != HASH_BYTES << up:
            return None
        return complete([found[begin : begin + HASH_BYTES] for begin in range(0, len(found), HASH_BYTES)])

    def _bundle(self, bundle: int, width: int, *, events: bool) -> list[bytes]:
        first = bundle * WIDTH + 1
        found = wide(self._files, lambda width: bundle_path(bundle, width), width)
        path, data = found.path, found.data
        if data is None:
            self._fault(Fault(first, "EntryMissing", found.why))
            self._compare(bundle, width, [])
            return []
        leaves, wrong, end = cut(data, first, width)
        if wrong is not None:
            self._fault(Fault(wrong[0], wrong[1], f"{path} {wrong[2]}"))
        elif end < len(data) and path == bundle_path(bundle, width):
            more = f"{path} goes on behind its last entry with {len(data) - end} bytes that nobody sealed."
            self._fault(Fault(first + width - 1, "EntryLonger", more, in_tile=True))
        if events:
            self._read(data, first, len(leaves))
        self._compare(bundle, width, leaves)
        return leaves

    def _compare(self, bundle: int, width: int, leaves: list[bytes]) -> None:
        """The tile beside the bundle holds the hashes of its entries."""
        found = wide(self._files, lambda width: tile_path(0, bundle, width), width)
        path, tile = found.path, found.data
        first = bundle * WIDTH + 1
        if tile is None:
            self._fault(Fault(first, "TileMissing", found.why, in_tile=True))
        elif path == tile_path(0, bundle, width) and len(tile) != HASH_BYTES * width:
            says = f"{path} has {len(tile)} bytes and must have {HASH_BYTES * width}."
            self._fault(Fault(first, "TileAltered", says, in_tile=True))
        elif tile[: HASH_BYTES * len(leaves)] != b"".join(leaves):
            place = next(
                at for at, leaf in enumerate(leaves) if tile[HASH_BYTES * at : HASH_BYTES * (at + 1)] != leaf
            )
            says = f"The hash of entry {first + place} is not the one in {path}."
            self._fault(Fault(first + place, "TileAltered", says, in_tile=True))

    def _rise(self) -> None:
        """The hashes of all levels, and the tiles above the lowest compared with them."""
        at = 1
        while self._size >> LEVELS * at:
            below = self._levels[at - 1]
            for tile in range(-(-len(below) // WIDTH)):
                hashes = below[tile * WIDTH : (tile + 1) * WIDTH]
                found = wide(
                    self._files, lambda width, at=at, tile=tile: tile_path(at, tile, width), len(hashes)
                )
                self._above(found, at, tile, hashes)
            self._levels.append(
                [_joined(below[begin : begin + WIDTH]) for begin in range(0, len(below) - WIDTH + 1, WIDTH)]
            )
            at += 1

    def _above(self, found: Read, at: int, tile: int, hashes: list[bytes | None]) -> None:
        """A tile above the lowest holds the hashes of what is below it."""
        each = WIDTH**at
        first, data = tile * WIDTH * each + 1, found.data
        if data is None:
            self._fault(Fault(first, "TileMissing", found.why, in_tile=True, above=True))
            return
        for place, known in enumerate(hashes):
            if known is not None and data[HASH_BYTES * place : HASH_BYTES * (place + 1)] != known:
                begin = first + place * each
                says = f"{found.path} says otherwise of entries {begin} to {begin + each - 1} than they do."
                self._fault(Fault(begin, "TileAltered", says, in_tile=True, above=True))
                return
        if found.path == tile_path(at, tile, len(hashes)) and len(data) != HASH_BYTES * len(hashes):
            says = f"{found.path} has {len(data)} bytes and must have {HASH_BYTES * len(hashes)}."
            self._fault(Fault(first, "TileAltered", says, in_tile=True, above=True))

    def _read(self, data: bytes, first: int, count: int) -> None:
        """Each entry is an event that this version reads, or a message that no pen wrote."""
        at = 0
        for seq in range(first, first + count):
            end = at + 2 + (data[at] << 8 | data[at + 1])
            try:
                stored = parse(data[at + 2 : end])
                if stored.id:
                    read(seq, stored.stored_ns, stored.payload, stored.subject)
                    self.events += 1
                else:
                    self.noise += 1
            except (EntryError, UnknownEventError, BusError) as error:
                self.unread = self.unread or Fault(seq, "EventUnreadable", str(error))
            at = end

    def _fault(self, fault: Fault) -> None:
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(fault)
        else:
            self.most_faults = True


def cut(data: bytes, first: int, width: int) -> tuple[list[bytes], tuple[int, str, str] | None, int]:
    """The leaf hashes of a bundle's entries, what is wrong with the first that has none, and where the last one ends.

    An entry that says another sequence than its place is hashed all the same: which of the two is right, the root says.
    """
    leaves: list[bytes] = []
    wrong: tuple[int, str, str] | None = None
    add, sha256 = leaves.append, hashlib.sha256
    at, length = 0, len(data)
    for seq in range(first, first + width):
        begin = at + 2
        end = begin + (data[at] << 8 | data[at + 1]) if begin <= length else length + 1
        if end > length:
            says = f"ends at byte {length}, before entry {seq} does."
            return leaves, wrong or (seq, "EntryMissing", says), at
        entry = data[begin:end]
        if wrong is None and not _is_at(entry, seq):
            wrong = (seq, "EntryMisplaced", f"holds at the place of sequence {seq} what is no entry of it.")
        add(sha256(b"\x00" + entry).digest())
        at = end
    return leaves, wrong, at


def _is_at(entry: bytes, seq: int) -> bool:
    """Whether it begins as the entry of this sequence does, and holds the subject and message id that it says."""
    if len(entry) < _LEAST_BYTES or not entry.startswith(_BEGINS + seq.to_bytes(8, "big")):
        return False
    id_at = _SUBJECT_AT + 4 + (entry[_SUBJECT_AT] << 8 | entry[_SUBJECT_AT + 1])
    return id_at <= len(entry) and id_at + (entry[id_at - 2] << 8 | entry[id_at - 1]) <= len(entry)


def _joined(hashes: list[bytes | None]) -> bytes | None:
    known = [one for one in hashes if one is not None]
    return complete(known) if known and len(known) == len(hashes) else None
