"""Where an archive's files are: a directory in which a file is there whole or not at all, and stays after a power cut."""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from events import durable
from events.tlog.tiles import MOST_FILE_BYTES

_DRAFT: Final = ".draft"


class Files(Protocol):
    """Files by relative paths with slashes. Every call may raise `OSError`."""

    def read(self, path: str) -> bytes | None:
        """The file's bytes; None when there is none. `OSError` for one that no archive's file can be."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """The file holds these bytes and will after a power cut; until then it is as it was before."""
        ...

    def listed(self, prefix: str) -> list[str]:
        """The paths of the files in the directory `prefix` and below it, sorted; all files for an empty one."""
        ...

    def remove(self, path: str) -> None:
        """There is no such file; it may come back with a power cut."""
        ...


class DirectoryFiles:
    """Files of one directory, which is made when the first of them is written.

    A draft is written beside the file, fsynced and renamed over it, and the directory is fsynced: after a cut at any moment there is
    the old file or the new one. A draft that was left behind is overwritten by the next and never listed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def read(self, path: str) -> bytes | None:
        """The file's bytes; None when there is none.

        `OSError` for what is no plain file or longer than `MOST_FILE_BYTES`: an archive can be a stranger's, and what it
        holds is looked at only once it is read.
        """
        try:
            descriptor = os.open(self._at(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, "Not a plain file", path)
            if found.st_size > MOST_FILE_BYTES:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
            with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
                return file.read()
        finally:
            os.close(descriptor)

    def write(self, path: str, data: bytes) -> None:
        """The file holds these bytes and will after a power cut."""
        target = self._at(path)
        self._made(target.parent)
        durable.write(target, data, mode=0o644)

    def listed(self, prefix: str) -> list[str]:
        """The paths of the files in the directory `prefix` and below it, sorted."""
        start = self._at(prefix) if prefix else self.root
        return sorted(path.relative_to(self.root).as_posix() for path in _walk(start))

    def remove(self, path: str) -> None:
        """There is no such file, and no directory that held nothing else."""
        target = self._at(path)
        target.unlink(missing_ok=True)
        for directory in target.parents:
            if directory == self.root or not _emptied(directory):
                return

    def _at(self, path: str) -> Path:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or path.endswith(_DRAFT):
            raise ValueError(f"No file of an archive is named {path!r}.")
        return self.root.joinpath(*parts)

    def _made(self, directory: Path) -> None:
        """The directory is there and entered in the one above it."""
        if directory.is_dir():
            return
        self._made(directory.parent)
        directory.mkdir(exist_ok=True)
        durable.sync(directory.parent)


def _walk(directory: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(directory):
        for name in names:
            if not name.endswith(_DRAFT):
                yield Path(parent, name)


def _emptied(directory: Path) -> bool:
    try:
        directory.rmdir()
    except OSError:
        return False
    return True
