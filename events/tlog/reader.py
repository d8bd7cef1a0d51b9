"""An archive read: any hash of its tree and any range of its entries, with a few files in memory at most.

Nothing here is believed: a signature is checked by `checkpoint.opened`, and that entries, hashes and root agree by whoever
verifies. What is refused here is a file that is missing, or that cannot be what its name says.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from events.stored import Stored
from events.tlog import checkpoint, note
from events.tlog.files import Files
from events.tlog.leaf import EntryError, parse
from events.tlog.tiles import (
    LEVELS,
    WIDTH,
    TileError,
    bundle_path,
    decode_bundle,
    decode_tile,
    tile_path,
    width_of,
)
from events.tlog.tree import complete

CHECKPOINT: Final = "checkpoint"
VKEY: Final = "vkey"

_MOST_TILES: Final = 64
"""Kept in memory: half a MiB of hashes, and eight times what one proof in a log of 2**64 reads."""


class Archive:
    """The tiles, bundles and checkpoint of one log, up to the size of the checkpoint that was read last."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._size: int | None = None
        self._tiles: OrderedDict[tuple[int, int], list[bytes]] = OrderedDict()

    def checkpoint_note(self) -> str | None:
        """The checkpoint as it stands there now, None when there is none; `size` is its size from now on.

        Raises `NoteError` for a file that is no checkpoint, `TileError` for one that cannot be read. Its signature is not
        checked here.
        """
        data = self._read(CHECKPOINT)
        if data is None:
            self._size = 0
            return None
        text, _ = note.split(data)
        self._size = checkpoint.parse(text).size
        return data.decode()

    def vkey(self) -> str | None:
        """The public key that the archive gives for itself, which proves nothing; None when it gives none."""
        data = self._read(VKEY)
        return None if data is None else data.decode(errors="replace").strip()

    @property
    def size(self) -> int:
        """How many entries the checkpoint covers that was read last; it is read now if it never was."""
        if self._size is None:
            self.checkpoint_note()
        return self._size or 0

    def hash(self, level: int, index: int) -> bytes:
        """The hash of the complete subtree of `2**level` leaves at `index` (a `Hashes`). Raises `TileError`."""
        tile_level, within = divmod(level, LEVELS)
        tile, start = divmod(index << within, WIDTH)
        hashes = self.tile(tile_level, tile)
        end = start + (1 << within)
        if index < 0 or end > len(hashes):
            raise TileError(
                f"The archive's {self.size} entries have no complete subtree {index} of level {level}."
            )
        return complete(hashes[start:end]) if within else hashes[start]

    def tile(self, level: int, index: int) -> list[bytes]:
        """The hashes of a tile, as many as the checkpoint covers. Raises `TileError`."""
        width = width_of(index, self.size >> (LEVELS * level))
        known = self._tiles.get((level, index))
        if known is not None and len(known) >= width:
            self._tiles.move_to_end((level, index))
            return known[:width] if len(known) > width else known
        if not width:
            raise TileError(f"The archive's {self.size} entries have no tile {index} of level {level}.")
        path = tile_path(level, index, width)
        hashes = decode_tile(self._whole(path, tile_path(level, index)), width, path)
        self._tiles[level, index] = hashes
        if len(self._tiles) > _MOST_TILES:
            self._tiles.popitem(last=False)
        return hashes

    def bundle(self, index: int) -> list[bytes]:
        """The entries of a bundle, as many as the checkpoint covers. Raises `TileError`."""
        width = width_of(index, self.size)
        if not width:
            raise TileError(f"The archive's {self.size} entries have no bundle {index}.")
        path = bundle_path(index, width)
        return decode_bundle(self._whole(path, bundle_path(index)), width, path)

    def entries(self, first_seq: int, last_seq: int) -> Iterator[bytes]:
        """The entries of the events `first_seq` to `last_seq`, in order. Raises `TileError`."""
        if first_seq < 1 or last_seq > self.size:
            raise TileError(
                f"The archive holds events 1 to {self.size}; {first_seq} to {last_seq} were asked for."
            )
        for index in range((first_seq - 1) // WIDTH, (last_seq - 1) // WIDTH + 1):
            start = index * WIDTH
            yield from self.bundle(index)[max(0, first_seq - 1 - start) : last_seq - start]

    def stored(self, first_seq: int, last_seq: int) -> Iterator[Stored]:
        """The events `first_seq` to `last_seq`, in order and without a hole. Raises `TileError` and `EntryError`."""
        for seq, entry in enumerate(self.entries(first_seq, last_seq), start=first_seq):
            stored = parse(entry)
            if stored.seq != seq:
                raise EntryError(f"The archive's entry of event {seq} says that it is event {stored.seq}.")
            yield stored

    def _whole(self, path: str, full: str) -> bytes:
        """The file; a partial one that is gone has its hashes at the head of the full one."""
        data = self._read(path)
        if data is None and path != full:
            data = self._read(full)
        if data is None:
            raise TileError(f"The archive of {self.size} entries lacks {path}.")
        return data

    def _read(self, path: str) -> bytes | None:
        try:
            return self._files.read(path)
        except OSError as error:
            raise TileError(
                f"The archive's file {path} cannot be read: {error.strerror or error}."
            ) from error
