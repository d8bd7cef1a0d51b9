"""Where backups lie: `<backups>/<org>/<vm>/<copy>.qcow2`, readable by storage's user alone."""

import datetime as dt
import os
from pathlib import Path
from typing import Final

from services.storage.errors import StorageError
from services.storage.volumes import must_be_name

_SUFFIX: Final = ".qcow2"
_OURS_ALONE: Final = 0o700


class NoBackupsError(StorageError):
    """The house has no directory for backups."""

    code = "no-backups"

    def __init__(self) -> None:
        super().__init__(
            "The house has no directory for backups: name one as `backups` in house.json, best on another disk than the volumes'.",
            final=True,
        )


class Backups:
    """The files of all backups. Its calls touch names and heads alone, never what is in a file, and do not wait for a disk to be read."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def file(self, org: str, vm: str, copy: str) -> Path:
        """Where the backup is, or will be; nothing is made."""
        for name in (org, vm, copy):
            must_be_name(name)
        return self._root / org / vm / f"{copy}{_SUFFIX}"

    def make_room(self, file: Path) -> None:
        """Its directories are there, for nobody else to look into. `StorageError` where they cannot be made."""
        try:
            for directory in reversed(file.parents):
                if directory == self._root or self._root in directory.parents:
                    directory.mkdir(mode=_OURS_ALONE, exist_ok=True)
                else:
                    directory.mkdir(exist_ok=True)
        except OSError as error:
            raise StorageError(f"No backup can be written to {file.parent}: {error.strerror}.") from error

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

        Safe to repeat. The trap is a place that is not the backup's: nothing is removed then.
        """
        if file.parts[-3:] != (org, vm, f"{copy}{_SUFFIX}"):
            raise StorageError(f"{file} is no place of a backup {copy} of {org}/{vm}; nothing was removed.")
        try:
            for one in (file, draft_of(file)):
                one.unlink(missing_ok=True)
        except NotADirectoryError:
            return  # where no directory is, no file is
        except OSError as error:
            raise StorageError(f"The backup {file} cannot be removed: {error.strerror}.") from error


def draft_of(file: Path) -> Path:
    """What a copy is called until it is whole."""
    return file.with_name(f"{file.name}.part")
