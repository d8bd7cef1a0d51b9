"""An export in one file: a plain tar that is read without unpacking it, and that may be cut anywhere."""

import errno
import os
import tarfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from events.tlog.files import DirectoryFiles, Files
from events.tlog.leaf import MOST_ENTRY_BYTES
from events.tlog.tiles import WIDTH

_MOST_MEMBERS: Final = 4_000_000
"""Some 500 million events: two files for each 256. Their places take half a GiB of memory."""
_MOST_BYTES: Final = WIDTH * (2 + MOST_ENTRY_BYTES)
"""Of a bundle of the longest entries; nothing else in an archive is longer."""

_NAME: Final = slice(0, 100)
_SIZE: Final = slice(124, 136)
_SUM: Final = slice(148, 156)
_KIND: Final = 156
_MAGIC: Final = slice(257, 263)
_PREFIX: Final = slice(345, 500)
_PLAIN: Final = b"0\0"
_BLANK_SUM: Final = 8 * ord(" ")
"""A header's sum is taken with blanks in the place of the sum."""


class PlaceError(Exception):
    """Where an archive should be there is none, or none may be written there; the sentence says what to do."""

    code = "ExportUnreadable"


class TarFiles:
    """The files of a tar, for reading only; of one that was cut short, those that are whole.

    Of two members with one name the later one counts, as it would after unpacking.
    """

    def __init__(self, tar: BinaryIO, length: int) -> None:
        self._tar = tar
        self._places = {name: (at, size) for name, at, size in members(tar, length)}

    def read(self, path: str) -> bytes | None:
        """The file's bytes; None when there is none, or not all of it. `OSError` for one that no archive's file can be."""
        place = self._places.get(path)
        if place is None:
            return None
        if place[1] > _MOST_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        self._tar.seek(place[0])
        return self._tar.read(place[1])

    def write(self, path: str, data: bytes) -> None:
        """Not for this kind of files: a tar is written in one go (replay.audit.export)."""
        raise OSError(f"{path} ({len(data)} bytes) cannot be written into a tar that is read.")

    def listed(self, prefix: str) -> list[str]:
        """The paths below `prefix`, sorted."""
        start = f"{prefix}/" if prefix else ""
        return sorted(path for path in self._places if path.startswith(start))

    def remove(self, path: str) -> None:
        """Not for this kind of files either."""
        raise OSError(f"{path} cannot be removed from a tar that is read.")


def members(tar: BinaryIO, length: int) -> Iterator[tuple[str, int, int]]:
    """Name, beginning and length of every file in the tar that is there in whole, in order.

    Plain members alone, as an export has them and every tar program writes them for such names. It ends where the tar does, is cut,
    or is no tar any more; each step goes forward, so whoever made it, it is read in one pass. Raises `PlaceError` for
    more members than an archive has files.
    """
    at = 0
    for _ in range(_MOST_MEMBERS):
        tar.seek(at)
        head = tar.read(tarfile.BLOCKSIZE)
        size = _size(head)
        begin = at + tarfile.BLOCKSIZE
        if size is None or begin + size > length:
            return
        if head[_KIND] in _PLAIN:
            yield _name(head).removeprefix("./"), begin, size
        at = begin + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    raise PlaceError(f"This tar has more than {_MOST_MEMBERS:,} members: no export of this version has.")


def _size(head: bytes) -> int | None:
    """How long the member is that begins with this block; None where no member begins."""
    if len(head) < tarfile.BLOCKSIZE or not head.strip(b"\0"):
        return None
    fields = head[_SIZE].strip(b" \0"), head[_SUM].strip(b" \0")
    if not all(field and not field.strip(b"01234567") for field in fields):
        return None  # also a size past 8 GiB or below zero, which is not written in digits
    size, said = (int(field, 8) for field in fields)
    return size if said == _BLANK_SUM + sum(head) - sum(head[_SUM]) else None


def _name(head: bytes) -> str:
    name, prefix = (head[part].split(b"\0")[0].decode(errors="replace") for part in (_NAME, _PREFIX))
    return f"{prefix}/{name}" if prefix and head[_MAGIC] == b"ustar\0" else name


@contextmanager
def files_at(path: Path) -> Generator[Files]:
    """The files of an archive: a sealer's directory, an export in a directory, or one in a tar. Raises `PlaceError`."""
    if path.is_dir():
        yield DirectoryFiles(path)
        return
    try:
        tar = path.open("rb")
    except OSError as error:
        raise PlaceError(
            f"{path} cannot be read: {error.strerror}. Name a directory or a tar that `virtscale ledger export` wrote."
        ) from error
    with tar:
        files = TarFiles(tar, path.stat().st_size)
        if not files.listed(""):
            raise PlaceError(
                f"{path} is no tar, or holds no file: name what `virtscale ledger export` wrote."
            )
        yield files
