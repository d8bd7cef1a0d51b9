"""Files carried from one place to another: the archive's, which never change, and a house's private ones, which do."""

import errno
import os
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Final

from events import durable
from events.tlog.files import DirectoryFiles, Files
from replay.audit.contents import contents
from replay.keeping.intent import KeepingError

Told = Callable[[int, int], None]
"""Hears how many events are done, and how many there are."""

PRIVATE: Final = 0o600
_CLOSED: Final = 0o700
_TEMPORARY: Final = (".draft", "lock")


def put_back(
    source: Files, target: Files, size: int, signed: Mapping[str, bytes], told: Told | None = None
) -> None:
    """The archive's first `size` events are in `target`, then what is `signed`: its key and, last, its checkpoint.

    Only files that an archive of this size consists of, whatever else lies there, and no symbolic link: what it points to is
    not the archive's. Safe to interrupt and to repeat. Raises `KeepingError` where another archive lies already: nothing is
    written over. `TileError` where one cannot be read.
    """
    plain = _Plain(source.root) if isinstance(source, DirectoryFiles) else source
    for path, data, done in chain(contents(plain, size), ((*one, size) for one in signed.items())):
        present = target.read(path)
        if present is not None and present != data:
            raise KeepingError(
                "PlaceTaken",
                f"{target} holds another {path}: there is an archive already. Nothing more was written.",
            )
        if present is None:
            target.write(path, data)
        if told is not None:
            told(done, size)


class _Plain(DirectoryFiles):
    """Files of a directory that somebody else filled: a link is none of them."""

    def read(self, path: str) -> bytes | None:
        """The file's bytes; None when there is none. `OSError` where the way to it is a link."""
        place = self.root
        for part in PurePosixPath(path).parts:
            place /= part
            if place.is_symlink():
                raise OSError(errno.ELOOP, "it is a symbolic link", path)
        return super().read(path)


def mirror(parts: Mapping[str, Path], target: Path) -> int:
    """Under `target` lies what lies in each of the parts now, for its owner alone; how many files that are.

    What is gone from a part is gone here too: a person who was erased must not live on in the copy. A file appears whole.
    """
    files = 0
    for name, source in parts.items():
        place = target / name
        wanted = {path.relative_to(source) for path in _files(source)} if source.is_dir() else set[Path]()
        for path in sorted(wanted):
            try:
                data = (source / path).read_bytes()
            except FileNotFoundError:  # gone since it was listed: the next copy leaves it out
                continue
            write(place / path, data)
            files += 1
        for path in _files(place):
            if path.relative_to(place) not in wanted:
                path.unlink()
    return files


def bring(source: Path, parts: Mapping[str, Path]) -> int:
    """Each part of the house is what was copied, readable by its owner alone; how many files that are."""
    files = 0
    for name, target in parts.items():
        for path in _files(source / name):
            write(target / path.relative_to(source / name), path.read_bytes())
            files += 1
    return files


def write(path: Path, data: bytes) -> None:
    """The file is there whole, for its owner alone; nothing is written where it is so already."""
    if path.is_file() and path.stat().st_mode & 0o777 == PRIVATE and path.read_bytes() == data:
        return
    _close(path.parent)
    durable.write(path, data)


def _close(directory: Path) -> None:
    """The directory is there; what had to be made for that is its owner's alone."""
    if not directory.is_dir():
        _close(directory.parent)
        directory.mkdir(mode=_CLOSED, exist_ok=True)


def copy(source: Path, target: Path) -> None:
    """The target holds what the source does, for its owner alone."""
    write(target, source.read_bytes())


def _files(directory: Path) -> list[Path]:
    found: list[Path] = []
    for parent, _, names in os.walk(directory):
        found += [
            Path(parent, name) for name in names if not name.endswith(_TEMPORARY) and ".draft-" not in name
        ]
    return sorted(found)
