"""Folds put away in the middle of a long reading, so that it can go on there.

A snapshot is trusted only where it was made by this very code, from this very ledger, on a machine that has not been
started anew since: it is then what the reading would come to again. Anything else is no error, the reading begins at its
beginning. The bytes are Python's own (`pickle`), since folds are plain objects. Whoever can write such bytes can have a program
run that reads them: so they are looked at only when their digest is right, in a file of our own that nobody else may write.
"""

import hashlib
import os
import pickle
import sqlite3
import stat
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

import msgspec

import events
import projections
import replay
import schemas
from events.bus.port import Stored
from projections.swapping import BESIDE

CREATE: Final = """
CREATE TABLE snapshot (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    seq INTEGER, message BLOB, code TEXT, goal TEXT, boot TEXT, digest BLOB, folds BLOB
)
"""

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """Folds as of `seq`, as bytes, and what they may be trusted by."""

    seq: int
    message: bytes
    """A hash of the ledger's message at `seq`."""
    code: str
    goal: str
    """Which tables are built, and up to where: a reading to another place has other rows in its file."""
    boot: str
    digest: bytes
    folds: bytes

    @staticmethod
    def of(folds: Iterable[object], last: Stored, goal: str) -> "Snapshot":
        """The folds as they stand, which include `last` and nothing behind it."""
        packed = pickle.dumps(list(folds), protocol=5)
        digest = hashlib.sha256(packed).digest()
        return Snapshot(last.seq, hash_of(last), code(), goal, _boot(), digest, packed)

    def fits(self, goal: str) -> bool:
        """Whether it was made by this code, for this goal, since the machine was started, and is whole."""
        made = (self.code, self.goal, self.boot) == (code(), goal, _boot())
        return made and hashlib.sha256(self.folds).digest() == self.digest

    def unpacked(self) -> list[Any]:
        """The folds; only after `fits`."""
        return cast("list[Any]", pickle.loads(self.folds))  # noqa: S301 - ours, and whole

    @property
    def row(self) -> tuple[object, ...]:
        """What the table `snapshot` holds of it."""
        return (1, *msgspec.structs.astuple(self))


WRITE: Final = "INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


def found(path: Path) -> Snapshot | None:
    """The snapshot in a file that an interrupted reading left; None where there is none that can be read or trusted."""
    beside = [path.with_name(f"{path.name}{end}") for end in BESIDE]
    if not _is_ours(path) or not all(_is_ours(one) for one in beside if os.path.lexists(one)):
        return None
    base = sqlite3.connect(path)
    try:
        row = base.execute("SELECT * FROM snapshot").fetchone()
        return None if row is None else msgspec.convert(row[1:], Snapshot)
    except (sqlite3.DatabaseError, msgspec.ValidationError):
        return None  # cut short, or by another version: the reading begins anew
    finally:
        base.close()


def _is_ours(path: Path) -> bool:
    """Whether it is a file of this user's that nobody else may write; in a directory for all, others make files, too."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def hash_of(stored: Stored) -> bytes:
    """All that the ledger says of a message, in 32 bytes."""
    return hashlib.sha256(msgspec.msgpack.encode(stored)).digest()


@cache
def code() -> str:
    """A hash of all code that folds and their files are made of, and of what runs it.

    It is that of the files when it is first asked for, and so is asked for before the reading begins: an upgrade puts other
    files in the place of those that run.
    """
    whole = hashlib.sha256(f"{sys.version} {msgspec.__version__}".encode())
    for package in (schemas, events, projections, replay):
        root = Path(cast("str", package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            whole.update(f"{path.relative_to(root)}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def _boot() -> str:
    return _BOOT.read_text(encoding="ascii").strip() if _BOOT.exists() else ""
