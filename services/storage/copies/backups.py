"""Where backups lie: `<backups>/<org>/<vm>/<copy>.qcow2`, readable by storage's user alone.

The directory of all has a mark in it from the first backup on. Where the mark is missing another disk than the backups' is mounted, or
none: nothing is written there then, and what is not found there is not said to be gone.
"""

import datetime as dt
import os
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from events import durable
from services.storage.errors import StorageError
from services.storage.lane import Calls
from services.storage.volumes import LeftError, must_be_name

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
    """The files of all backups: their names and heads, never what is in them.

    Every call that touches a file is made by `calls`, one after the other: a directory that hangs, as one on the network may, keeps
    backups waiting and nothing else.
    """

    def __init__(self, root: str, calls: Calls, known: Callable[[], Iterable[Path]] = _nothing) -> None:
        """`root` is empty for a house without backups; `known` are the places of backups that are somewhere, by the ledger."""
        self._root = Path(root) if root else None
        self._calls = calls
        self._known = known

    def file(self, org: str, vm: str, copy: str) -> Path:
        """Where the backup is, or will be; nothing is made. `NoBackupsError` where the house has none."""
        if self._root is None:
            raise NoBackupsError
        for name in (org, vm, copy):
            must_be_name(name)
        return self._root / org / vm / f"{copy}{SUFFIX}"

    async def claim(self, file: Path, order: str) -> None:
        """The file that is or will be there is this order's; its directories are there, for nobody else to look into.

        Safe to repeat. `InTheWayError` where there is a file that another made, such as a house of before with the same directory: it
        would be taken for one that a former life had made whole. `BackupsAwayError` where those that were there are not.
        """
        root = root_of(file)
        marked = await self._calls("look for backups", lambda: _exists(root / MARK))
        # Gone through here, where nobody changes the ledger meanwhile, and only where it tells anything.
        known = [] if marked else [place for place in self._known() if root in place.parents]
        await self._calls("claim a backup", lambda: _claim(root, file, order, known))

    async def settle(self, file: Path) -> None:
        """The ledger knows the backup; nothing else needs to. Safe to repeat."""
        await self._calls("settle a backup", lambda: _settle(file))

    async def discard(self, org: str, vm: str, copy: str, order: str) -> None:
        """Nothing of the backup that the order was to make is left; another's file stays. A house without backups made none."""
        if self._root is not None:
            file = self.file(org, vm, copy)
            await self._calls("discard a backup", lambda: _discard(file, order))

    async def date(self, file: Path, taken_at: dt.datetime) -> None:
        """The file says when its contents were what they are: the snapshot that knew is about to go."""
        await self._calls("date a backup", lambda: _date(file, taken_at))

    async def dated(self, file: Path) -> dt.datetime | None:
        """What `date` said of the file; None where there is no such file."""
        return await self._calls("look at a backup", lambda: _dated(file))

    async def remove(self, file: Path, org: str, vm: str, copy: str) -> None:
        """There is no such file. It is removed by the place that was told of it, which may be another than today's.

        Safe to repeat. The trap is a place that is not the backup's: nothing is removed then. `BackupsAwayError` where its directory is
        not to be had, for what is not seen there is not gone.
        """
        if file.parts[-3:] != (org, vm, f"{copy}{SUFFIX}"):
            raise StorageError(f"{file} is no place of a backup {copy} of {org}/{vm}; nothing was removed.")
        await self._calls("remove a backup", lambda: _remove(file))

    async def erase(self, org: str, vm: str, known: dict[str, Path]) -> int:
        """No backup of the VM is left, and none is in the making; how many there were, by the ledger or where they lie.

        `known` are places by the names of backups; some may lie where backups lay before. Safe to repeat. One file is a call: to unlink
        a large one takes its file system some tenths of a second.
        """
        places = list(known.values())
        for root in {root_of(place) for place in places}:
            there = [place for place in places if root_of(place) == root]
            await self._calls("look for backups", lambda root=root, there=there: must_be_there(root, there))
        own = self.file(org, vm, "any").parent if self._root is not None else None
        files = await self._calls("list backups", lambda: _listed(own)) if own is not None else []
        # What is half made is none, nor is a note of whose one is.
        count = len({*places, *(file for file in files if file.suffix == SUFFIX)})
        for file in files:
            await self._calls("remove a backup", lambda file=file: _unlink(file))
        if own is not None:
            await self._calls("remove a directory of backups", lambda: _remove_directory(own))
        for name, place in known.items():
            await self.remove(place, org, vm, name)
        gone = places if own is None else [own, *places]
        left = await self._calls("look for backups", lambda: [str(path) for path in gone if _exists(path)])
        if left:
            raise LeftError(f"{', '.join(left)} is still there after it was removed.")
        return count


def root_of(file: Path) -> Path:
    """The directory of all backups, of the house as it was when this one was made."""
    return file.parents[2]


def must_be_there(root: Path, places: Iterable[Path]) -> None:
    """Raise `BackupsAwayError` unless the directory in which those places are is really here; one that has no mark yet gets it.

    A house of before had no mark: one backup that lies where the ledger says is as good.
    """
    with _told(f"The backups in {root} cannot be looked at"):
        if (root / MARK).exists():
            return
        known = list(places)
        if not known:
            return
        if not any(place.exists() for place in known):
            raise BackupsAwayError(root)
        _found(root)


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


@contextmanager
def _told(sentence: str) -> Generator[None]:
    """What the system refuses is a `StorageError` that begins with this."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{sentence}: {error.strerror}.") from error


def _claim(root: Path, file: Path, order: str, known: list[Path]) -> None:
    must_be_there(root, known)
    with _told(f"No backup can be written to {file.parent}"):
        for directory in () if file.parent.is_dir() else reversed(file.parents):
            if directory == root or root in directory.parents:
                directory.mkdir(mode=_OURS_ALONE, exist_ok=True)
            else:
                directory.mkdir(exist_ok=True)
        _found(root)
        if _claimed(file) == order:
            return
        if file.exists():
            raise InTheWayError(file)
        durable.write(_claim_of(file), order.encode(), mode=0o600)


def _settle(file: Path) -> None:
    with suppress(OSError):  # what stays goes with the backup
        _claim_of(file).unlink()


def _discard(file: Path, order: str) -> None:
    with _told(f"The backup {file} cannot be looked at"):
        ours = _claimed(file) == order
    if ours:
        _unlink(file)


def _date(file: Path, taken_at: dt.datetime) -> None:
    seconds = taken_at.timestamp()
    with _told(f"The backup {file} cannot be dated"):
        os.utime(file, (seconds, seconds))


def _dated(file: Path) -> dt.datetime | None:
    with _told(f"The backup {file} cannot be looked at"):
        try:
            return dt.datetime.fromtimestamp(file.stat().st_mtime, dt.UTC)
        except FileNotFoundError:
            return None


def _remove(file: Path) -> None:
    must_be_there(root_of(file), (file,))
    _unlink(file)


def _unlink(file: Path) -> None:
    """Also what is half made of it, and the note of whose it is."""
    with _told(f"The backup {file} cannot be removed"):
        for one in (file, draft_of(file), _claim_of(file)):
            one.unlink(missing_ok=True)


def _exists(path: Path) -> bool:
    with _told(f"The backups at {path} cannot be looked at"):
        return path.exists()


def _listed(directory: Path) -> list[Path]:
    with _told(f"The backups in {directory} cannot be looked at"):
        return sorted(directory.iterdir()) if directory.is_dir() else []


def _remove_directory(directory: Path) -> None:
    with _told(f"The directory {directory} cannot be removed"):
        if directory.is_dir():
            directory.rmdir()
