"""Files that are there whole or not at all, and stay after a power cut."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

PRIVATE: Final = 0o600
"""For the owner alone; what a directory that had to be made for such a file gets follows from it."""


def write(path: Path, data: bytes | bytearray, *, mode: int = PRIVATE) -> None:
    """The file holds these bytes, or what it held before; a directory that it lacks is made, for its owner alone.

    Safe to repeat. Two processes must not write one file at once. Raises `OSError`, and leaves no draft then.
    """
    draft = path.with_name(f"{path.name}.draft")
    _draft(draft, data, mode)
    try:
        draft.replace(path)
    except OSError:
        _forget(draft)
        raise
    sync(path.parent)


def create(path: Path, data: bytes, *, mode: int = PRIVATE) -> bool:
    """The file is there and is not written over; whether these bytes are what it holds now.

    Of two processes that create the same file at once, both find the first one's: it is a link that is made, not a rename.
    """
    draft = path.with_name(f"{path.name}.draft-{os.getpid()}")
    _draft(draft, data, mode)
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    sync(path.parent)
    return True


def sync(directory: Path) -> None:
    """What was made, renamed or removed in the directory stays so after a power cut."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _draft(draft: Path, data: bytes | bytearray, mode: int) -> None:
    draft.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError:
        _forget(draft)
        raise


def _forget(draft: Path) -> None:
    with suppress(OSError):  # the disk that did not take it may not let go of it either
        draft.unlink(missing_ok=True)
