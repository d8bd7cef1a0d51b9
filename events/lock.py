"""One at a time: whoever holds a lock file is the one, and the kernel lets go of it however a process ends."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


class TakenError(OSError):
    """Somebody else is the one; the sentence names the process."""

    code = "Taken"


@contextmanager
def hold(path: Path, what: str) -> Generator[None]:
    """While this lasts nobody else holds `path`; `what` says in the error what the holder has, as a subject.

    The file stays, since whoever deletes a lock file invites two holders; it names the last one's process.
    Raises `TakenError`.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            raise TakenError(
                f"{what} already (process {holder}, {path}); stop that one first. Nothing was started."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
