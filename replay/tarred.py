"""An export in one file: a plain tar that is read without unpacking it, and that may be cut anywhere."""

import tarfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from events.tlog.files import DirectoryFiles, Files


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
        """The file's bytes; None when there is none, or not all of it."""
        place = self._places.get(path)
        if place is None:
            return None
        self._tar.seek(place[0])
        return self._tar.read(place[1])

    def write(self, path: str, data: bytes) -> None:
        """Not for this kind of files: a tar is written in one go (replay.export)."""
        raise OSError(f"{path} ({len(data)} bytes) cannot be written into a tar that is read.")

    def listed(self, prefix: str) -> list[str]:
        """The paths below `prefix`, sorted."""
        start = f"{prefix}/" if prefix else ""
        return sorted(path for path in self._places if path.startswith(start))

    def remove(self, path: str) -> None:
        """Not for this kind of files either."""
        raise OSError(f"{path} cannot be removed from a tar that is read.")


def members(tar: BinaryIO, length: int) -> Iterator[tuple[str, int, int]]:
    """Name, beginning and length of every file in the tar that is there in whole, in order."""
    try:
        with tarfile.open(fileobj=tar, mode="r:") as opened:
            while (member := opened.next()) is not None:
                if member.offset_data + member.size > length:
                    return
                if member.isreg():
                    yield member.name.removeprefix("./"), member.offset_data, member.size
    except tarfile.TarError:
        return


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
