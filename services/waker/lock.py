"""One waker per host: whoever holds the lock file is it."""

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


class HostTakenError(OSError):
    """Another waker works on this host; two would race for its domains."""

    code = "HostTaken"


@contextmanager
def hold(directory: Path, host: str) -> Generator[None]:
    """While this lasts nobody else holds the host, and the kernel lets go of it however this process ends.

    The file stays, since whoever deletes a lock file invites two holders; it names the last one's process.
    Raises `HostTakenError`.
    """
    path = directory / f"waker-{host}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            raise HostTakenError(
                f"Host {host} has a waker already (process {holder}, {path}); stop that one first. "
                "Nothing was started."
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
