"""qemu-img, each run bounded in time; and what a qcow2 file says without it."""

import datetime as dt
import fcntl
import hashlib
import os
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from services.storage.errors import StorageError
from services.storage.tied import TIED
from services.storage.volumes import QUICK_SECONDS, InUseError, Snapshot

_FLOCK: Final = struct.Struct("hhqqi0q")
_LOCKS: Final = 100
_WRITES: Final = 101
"""The byte of a file that QEMU keeps locked while it may write there (QEMU, block/file-posix.c: 100 + the permission's bit)."""
_MOST_LOCKS: Final = 200
"""From 100 on are the bytes of what it does with the file, from 200 on those of what it lets nobody else do."""
_HEAD: Final = struct.Struct(">4sIQIIQ")
"""The head of a qcow2 file: magic, version, where the name of the file below is and how long, -, size (docs/interop/qcow2.txt)."""
_TABLE_AT: Final = 60
_TABLE: Final = struct.Struct(">IQ")
"""From that byte of the head on: how many snapshots there are, and where their table is."""
_ENTRY: Final = struct.Struct(">12xHHII12xI")
"""One of them: the lengths of its id and name, when it was taken (s, ns), the length of what is between this and the id."""
_MORE: Final = struct.Struct(">8xQ")
"""What is between: the size of the disk then. A program of before wrote none, and could not grow a disk with a snapshot either."""
_THIRD: Final = 3
_NOT_FOUND: Final = 127
_MISSING: Final = (
    "qemu-img or setpriv is missing; run `apt-get install --no-install-recommends qemu-utils util-linux`."
)
_MAGIC: Final = b"QFI\xfb"


@dataclass(frozen=True, slots=True)
class Head:
    """What a qcow2 file says of itself at its beginning."""

    size_bytes: int
    """Of the disk in it."""
    parent: str | None
    """The file it lies over."""
    version: int


def run(*arguments: str, seconds: float = QUICK_SECONDS) -> str:
    """What `qemu-img` said. `InUseError` where another process writes to the file; killed after `seconds`."""
    try:
        done = subprocess.run(  # noqa: S603 - arguments of our own, found on PATH
            (*TIED, "qemu-img", *arguments),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except FileNotFoundError as error:
        raise StorageError(_MISSING, final=True) from error
    except subprocess.TimeoutExpired as error:
        raise StorageError(
            f"`qemu-img {arguments[0]}` did not end within {seconds:g} s, and was killed."
        ) from error
    if done.returncode == 0:
        return done.stdout
    if done.returncode == _NOT_FOUND:
        raise StorageError(_MISSING, final=True)
    said = (done.stderr.strip().splitlines() or ["it said nothing"])[0]
    kind = InUseError if "lock" in said else StorageError
    raise kind(f"`qemu-img {arguments[0]}` failed: {said}.")


def snapshots(file: Path) -> tuple[Snapshot, ...]:
    """The snapshots inside the file, the oldest first, also while a domain writes to it."""
    found: list[Snapshot] = []
    with file.open("rb") as stream:
        *_, size_bytes = _HEAD.unpack(stream.read(_HEAD.size))
        stream.seek(_TABLE_AT)
        number, where = _TABLE.unpack(stream.read(_TABLE.size))
        for _ in range(number):
            stream.seek(where)
            id_length, name_length, seconds, nanoseconds, extra = _ENTRY.unpack(stream.read(_ENTRY.size))
            more = stream.read(extra)
            then_bytes = _MORE.unpack_from(more)[0] if extra >= _MORE.size else size_bytes
            stream.seek(id_length, os.SEEK_CUR)
            name = stream.read(name_length).decode()
            taken_at = dt.datetime.fromtimestamp(seconds, dt.UTC) + dt.timedelta(
                microseconds=nanoseconds // 1000
            )
            found.append(Snapshot(name, taken_at, str(file), then_bytes))
            where += (_ENTRY.size + extra + id_length + name_length + 7) // 8 * 8
    return tuple(sorted(found, key=lambda one: (one.taken_at, one.name)))


def snapshot(file: Path, name: str) -> Snapshot | None:
    """The one of that name."""
    return next((one for one in snapshots(file) if one.name == name), None)


def head(file: Path) -> Head | None:
    """What the file says of itself; None for one that is no qcow2 file. `OSError` where it cannot be read."""
    with file.open("rb") as stream:
        first = stream.read(_HEAD.size)
        if len(first) < _HEAD.size or not first.startswith(_MAGIC):
            return None
        _, version, where, length, _, size_bytes = _HEAD.unpack(first)
        stream.seek(where)
        return Head(size_bytes, stream.read(length).decode() if where else None, version)


def renew(file: Path) -> None:
    """The file is of qcow2's third version: one of the second can have snapshots or grow, but not both. Nobody may write to it."""
    found = head(file)
    if found is not None and found.version < _THIRD:
        run("amend", "-f", "qcow2", "-o", "compat=1.1", str(file))


def written(file: Path) -> bool:
    """Whether a QEMU has the file open for writing, asleep or not; answered by the kernel of the file's host."""
    return _locked(file, _WRITES, 1)


def opened(file: Path) -> bool:
    """Whether a QEMU has the file open, if only to read what another disk lies over."""
    return _locked(file, _LOCKS, _MOST_LOCKS)


def _locked(file: Path, first: int, count: int) -> bool:
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, first, count, 0)
    with file.open("rb") as stream:
        found = fcntl.fcntl(stream, fcntl.F_OFD_GETLK, asked)
    return bool(_FLOCK.unpack(found)[0] != fcntl.F_UNLCK)


def sha256(file: Path) -> str:
    """The digest of the file's bytes, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def settle(draft: Path, file: Path) -> None:
    """The draft is the file, whole and on the disk, whatever happens next."""
    _sync(draft)
    draft.rename(file)
    _sync(file.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
