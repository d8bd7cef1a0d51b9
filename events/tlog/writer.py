"""An archive written: entries go into bundles, their hashes into tiles, and then a checkpoint says that they are there.

The order is the promise. Everything that a checkpoint covers is on disk before it, and nothing it covers is ever changed, so a
writer that is killed between any two writes opens again at the last checkpoint and writes the same bytes once more.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from events.tlog import checkpoint, note
from events.tlog.files import Files
from events.tlog.leaf import leaf_hash
from events.tlog.reader import CHECKPOINT, Archive
from events.tlog.tiles import LEVELS, WIDTH, TileError, bundle_path, encode_bundle, encode_tile, tile_path
from events.tlog.tree import Frontier, complete

_MOST_READY_BYTES: Final = 4 * 1024 * 1024
"""What may wait in memory to be written, besides the last bundle; with more than that `add` writes it."""

_SWEPT: Final = 16
"""How many full tiles of each level are looked at for left partial ones at the start: 4,096 events in one checkpoint."""


class TilesUnwrittenError(OSError):
    """The disk did not take a file. The checkpoint is the one before, and the same call may be made again."""

    code = "TilesUnwritten"


class TileWriter:
    """The one who writes an archive. It opens where the last checkpoint ends; `add` and `commit` go on from there.

    Raises `TileError` when the files do not meet the checkpoint, `NoteError` when that is none. Whose checkpoint it is must be
    known to the caller, who has the key. Two writers at once would write over each other: hold a lock.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._edges: list[list[bytes]] = []
        """By level of tile, the hashes of the one that is not full yet."""
        self._bundle: list[bytes] = []
        self._size = 0
        self._committed = 0
        self._ready: list[tuple[str, bytes]] = []
        self._ready_bytes = 0
        self._filled: list[str] = []
        """Full tiles and bundles whose partial forerunners may go once a checkpoint covers them."""
        self._open()

    @property
    def size(self) -> int:
        """How many entries there are, those that no checkpoint covers yet included."""
        return self._size

    @property
    def committed(self) -> int:
        """How many entries the checkpoint on disk covers."""
        return self._committed

    @property
    def frontier(self) -> Frontier:
        """The frontier over all entries so far; it is made at every asking, of up to 255 hashes per level of tile."""
        hashes: list[bytes] = []
        for edge in reversed(self._edges):
            start = 0
            for bit in range(LEVELS - 1, -1, -1):
                if len(edge) & (1 << bit):
                    hashes.append(complete(edge[start : start + (1 << bit)]))
                    start += 1 << bit
        return Frontier.of(self._size, hashes)

    def add(self, entry: bytes) -> None:
        """The entry is the next one, in memory; it is on disk with the next `commit`.

        When a lot is waiting that part goes to disk first, and `TilesUnwrittenError` means that this entry was not taken.
        """
        if self._ready_bytes > _MOST_READY_BYTES:
            self.flush()
        self._bundle.append(entry)
        self._edges[0].append(leaf_hash(entry))
        self._size += 1
        if len(self._bundle) == WIDTH:
            self._close_bundle()

    def flush(self) -> None:
        """What is full is on disk; no checkpoint covers it yet. Raises `TilesUnwrittenError`."""
        while self._ready:
            path, data = self._ready[0]
            self._write(path, data)
            del self._ready[0]
            self._ready_bytes -= len(data)

    def commit(self, signed_checkpoint: str) -> None:
        """Everything up to the checkpoint is on disk, and then the checkpoint is.

        It must be of `size` entries and their root, or be of those already committed, for instance with a witness's signature
        that came late. Raises `TilesUnwrittenError`: then the old checkpoint stands, and the same call may be made again.
        """
        claimed = checkpoint.parse(note.split(signed_checkpoint)[0])
        if claimed.size not in {self._size, self._committed}:
            raise TileError(
                f"A checkpoint of {claimed.size} entries does not cover an archive of {self._size}; nothing was written."
            )
        if claimed.size == self._size:
            self._check_root(claimed, self.frontier.root())
            self.flush()
            for path, data in self._partials():
                self._write(path, data)
        else:
            archive = Archive(self._files)
            held = archive.checkpoint_note()
            if held is None or checkpoint.parse(note.split(held)[0]) != claimed:
                raise TileError(
                    f"A checkpoint of {claimed.size} entries is not the one that stands there; nothing was written."
                )
        self._write(CHECKPOINT, signed_checkpoint.encode())
        self._committed = claimed.size
        if claimed.size == self._size:
            self._sweep()

    def _open(self) -> None:
        archive = Archive(self._files)
        held = archive.checkpoint_note()
        size = archive.size
        self._size = self._committed = size
        self._edges = [[]]
        if held is None or not size:
            return
        for level in range((size.bit_length() - 1) // LEVELS + 1):
            count = size >> (LEVELS * level)
            edge = list(archive.tile(level, count // WIDTH)) if count % WIDTH else []
            self._edges[level:] = [edge]
            full = count // WIDTH
            self._filled += [tile_path(level, index) for index in range(max(0, full - _SWEPT), full)]
        if size % WIDTH:
            self._bundle = archive.bundle(size // WIDTH)
        full = size // WIDTH
        self._filled += [bundle_path(index) for index in range(max(0, full - _SWEPT), full)]
        self._check_root(checkpoint.parse(note.split(held)[0]), self.frontier.root())
        for seq, entry in enumerate(self._bundle, start=size - size % WIDTH + 1):
            if leaf_hash(entry) != self._edges[0][(seq - 1) % WIDTH]:
                raise TileError(f"The archive's entry of event {seq} is not the one that was sealed.")

    def _check_root(self, claimed: checkpoint.Checkpoint, root: bytes) -> None:
        if claimed.root != root:
            raise TileError(
                f"The archive's {claimed.size} entries hash to {root.hex()}, but the checkpoint of {claimed.origin} says "
                f"{claimed.root.hex()}; nothing was written."
            )

    def _close_bundle(self) -> None:
        index = self._size // WIDTH - 1
        self._make_ready(bundle_path(index), encode_bundle(self._bundle))
        self._bundle = []
        level = 0
        while len(self._edges[level]) == WIDTH:
            edge = self._edges[level]
            index = (self._size >> (LEVELS * (level + 1))) - 1
            self._make_ready(tile_path(level, index), encode_tile(edge))
            self._edges[level] = []
            level += 1
            if level == len(self._edges):
                self._edges.append([])
            self._edges[level].append(complete(edge))

    def _make_ready(self, path: str, data: bytes) -> None:
        self._ready.append((path, data))
        self._ready_bytes += len(data)
        self._filled.append(path)

    def _partials(self) -> Iterator[tuple[str, bytes]]:
        """What is not full, as far as it has grown since the last checkpoint."""
        if self._bundle and self._size != self._committed:
            yield bundle_path(self._size // WIDTH, len(self._bundle)), encode_bundle(self._bundle)
        for level, edge in enumerate(self._edges):
            count = self._size >> (LEVELS * level)
            if edge and count != self._committed >> (LEVELS * level):
                yield tile_path(level, count // WIDTH, len(edge)), encode_tile(edge)

    def _sweep(self) -> None:
        """Partial forerunners of full tiles are gone: whoever reads an older checkpoint finds their hashes in the full ones.

        What the disk does not let go of is tried again with the next checkpoint. It harms nobody: its hashes are right.
        """
        with suppress(OSError):
            while self._filled:
                for partial in self._files.listed(f"{self._filled[-1]}.p"):
                    self._files.remove(partial)
                del self._filled[-1]

    def _write(self, path: str, data: bytes) -> None:
        try:
            self._files.write(path, data)
        except OSError as error:
            raise _unwritten(path, self._committed, error) from error


def _unwritten(path: str, committed: int, error: OSError) -> TilesUnwrittenError:
    return TilesUnwrittenError(
        f"The archive's disk did not take {path}: {error.strerror or error}. The checkpoint on it still covers events 1 to "
        f"{committed}, whole; make room, or mend the disk, and sealing goes on from there."
    )
