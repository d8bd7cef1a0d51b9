"""Where backups lie: `<backups>/<org>/<vm>/<copy>.qcow2`, readable by storage's user alone.

The directory of all has a mark in it from the first backup on. Where the mark is missing another disk than the backups' is mounted, or
none: nothing is written there then, and what is not found there is not said to be gone.
"""

import datetime as dt
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from events import durable
from services.storage.errors import StorageError
from services.storage.volumes import must_be_name

SUFFIX: Final = ".qcow2"
_OURS_ALONE: Final = 0o700

MARK: Final = ".virtscale-backups"
"""The file that says of a directory that backups are in it."""
_MARK: Final = (
    b"Backups of VMs are in this directory. Where this file is missing, its disk is taken to be away.\n"
)


class NoBackupsError(StorageError):
    """The house has no directory for backups."""

    code = "no-backups"

    def __init__(self) -> None:
        super().__init__(
            "The house has no directory for backups: name one as `backups` in house.json, best on another disk than the volumes'.",
            final=True,
        )


class InTheWayError(StorageError):
    """Where the backup is to be lies a file that this order did not make."""

    code = "BackupInTheWay"

    def __init__(self, file: Path) -> None:
        super().__init__(
            f"{file} is there already, and is no backup that this ledger knows: move it away, or choose another name. It was left as "
            "it is.",
            final=True,
        )


class BackupsAwayError(StorageError):
    """The directory of backups is not to be had, and there were some in it."""

    code = "BackupsAway"

    def __init__(self, root: Path) -> None:
        super().__init__(
            f"{root} has no file {MARK}, so the disk with its backups is not mounted there: mount it. Where they are lost for good, make "
            "an empty file of that name there. Nothing was written or removed."
        )


def _nothing() -> Iterable[Path]:
    return ()


class Backups:
    """The files of all backups. Its calls touch names and heads alone, never what is in a file, and do not wait for a disk to be read."""

    def __init__(self, root: Path, known: Callable[[], Iterable[Path]] = _nothing) -> None:
        """`known` are the places of backups that are somewhere, by the ledger."""
        self._root = root
        self._known = known

    def file(self, org: str, vm: str, copy: str) -> Path:
        """Where the backup is, or will be; nothing is made."""
        for name in (org, vm, copy):
            must_be_name(name)
        return self._root / org / vm / f"{copy}{SUFFIX}"

    def claim(self, file: Path, order: str) -> None:
        """The file that is or will be there is this order's; its directories are there, for nobody else to look into.

        Safe to repeat. `InTheWayError` where there is a file that another made, such as a house of before with the same directory: it
        would be taken for one that a former life had made whole. `BackupsAwayError` where those that were there are not.
        """
        must_be_there(self._root, (place for place in self._known() if self._root in place.parents))
        try:
            for directory in () if file.parent.is_dir() else reversed(file.parents):
                if directory == self._root or self._root in directory.parents:
                    directory.mkdir(mode=_OURS_ALONE, exist_ok=True)
                else:
                    directory.mkdir(exist_ok=True)
            _found(self._root)
            if _claimed(file) == order:
                return
            if file.exists():
                raise InTheWayError(file)
            durable.write(_claim_of(file), order.encode(), mode=0o600)
        except OSError as error:
            raise StorageError(f"No backup can be written to {file.parent}: {error.strerror}.") from error

    @staticmethod
    def settle(file: Path) -> None:
        """The ledger knows the backup; nothing else needs to. Safe to repeat."""
        with suppress(OSError):  # what stays goes with the backup
            _claim_of(file).unlink()

    @staticmethod
    def discard(file: Path, order: str) -> None:
        """Nothing of the backup that the order was to make is left; another's file stays."""
        try:
            if _claimed(file) == order:
                for one in (file, draft_of(file), _claim_of(file)):
                    one.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"The backup {file} cannot be removed: {error.strerror}.") from error

    @staticmethod
    def date(file: Path, taken_at: dt.datetime) -> None:
        """The file says when its contents were what they are: the snapshot that knew is about to go."""
        seconds = taken_at.timestamp()
        try:
            os.utime(file, (seconds, seconds))
        except OSError as error:
            raise StorageError(f"The backup {file} cannot be dated: {error.strerror}.") from error

    @staticmethod
    def dated(file: Path) -> dt.datetime | None:
        """What `date` said of the file; None where there is no such file."""
        try:
            return dt.datetime.fromtimestamp(file.stat().st_mtime, dt.UTC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"The backup {file} cannot be looked at: {error.strerror}.") from error

    @staticmethod
    def remove(file: Path, org: str, vm: str, copy: str) -> None:
        """There is no such file. It is removed by the place that was told of it, which may be another than today's.

        Safe to repeat. The trap is a place that is not the backup's: nothing is removed then. `BackupsAwayError` where its directory is
        not to be had, for what is not seen there is not gone.
        """
        if file.parts[-3:] != (org, vm, f"{copy}{SUFFIX}"):
            raise StorageError(f"{file} is no place of a backup {copy} of {org}/{vm}; nothing was removed.")
        must_be_there(root_of(file), (file,))
        try:
            for one in (file, draft_of(file), _claim_of(file)):
                one.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"The backup {file} cannot be removed: {error.strerror}.") from error


def root_of(file: Path) -> Path:
    """The directory of all backups, of the house as it was when this one was made."""
    return file.parents[2]


def must_be_there(root: Path, places: Iterable[Path]) -> None:
    """Raise `BackupsAwayError` unless the directory in which those places are is really here; one that has no mark yet gets it.

    A house of before had no mark: one backup that lies where the ledger says is as good.
    """
    try:
        if (root / MARK).exists():
            return
        known = list(places)
        if not known:
            return
        if not any(place.exists() for place in known):
            raise BackupsAwayError(root)
        _found(root)
    except OSError as error:
        raise StorageError(f"The backups in {root} cannot be looked at: {error.strerror}.") from error


def _found(root: Path) -> None:
    """Safe to repeat."""
    if not (root / MARK).exists():
        durable.write(root / MARK, _MARK)


def draft_of(file: Path) -> Path:
    """What a copy is called until it is whole."""
    return file.with_name(f"{file.name}.part")


def _claim_of(file: Path) -> Path:
    """Beside a backup that is being made: whose it is."""
    return file.with_name(f"{file.name}.order")


def _claimed(file: Path) -> str | None:
    try:
        return _claim_of(file).read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
