"""All files in a host's directory of disks, read at once: 500 disks in some 20 ms; it blocks."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from schemas.volume import layer_over, sleep_of
from services.storage import qemu_img
from services.storage.errors import StorageError
from services.storage.files.trash import TRASH

_DISK: Final = ".qcow2"
_MOST_BYTES: Final = 2**53
"""What an event can say; a head with more is no disk's."""


@dataclass(frozen=True, slots=True)
class Lying:
    """One file; both are None where it is no qcow2 file, or cannot be read."""

    size_bytes: int | None
    parent: str | None


@dataclass(frozen=True, slots=True)
class Survey:
    """What lies in a directory, by the names of its files."""

    files: Mapping[str, Lying]
    newest: Mapping[str, int] = field(default_factory=dict[str, int])
    """The newest sleep that any layer over a file has its name from."""

    def top(self, name: str) -> Lying:
        """The file that is written when the volume of this name is: itself, or its newest layer."""
        sleep = self.newest.get(name)
        return self.files[name if sleep is None else layer_over(name, sleep)]


@runtime_checkable
class Surveyed(Protocol):
    """A driver that can say everything that lies where it keeps volumes."""

    async def survey(self) -> Survey:
        """All of it, as it is. `StorageError` where the place is not to be seen from here: that says nothing about what lies there."""
        ...


def survey(directory: Path) -> Survey:
    """The files right in the directory; what is in the trash is not looked at."""
    try:
        with os.scandir(directory) as entries:
            found = {
                entry.name: _lying(Path(entry.path)) if entry.name.endswith(_DISK) else Lying(None, None)
                for entry in entries
                if entry.name != TRASH
            }
    except OSError as error:
        raise StorageError(
            f"The directory of disks {directory} cannot be read ({error.strerror}); nothing is known of what lies there."
        ) from error
    return Survey(found, newest(found))


def newest(files: Iterable[str]) -> Mapping[str, int]:
    """The newest sleep that a layer over each file has its name from, where there is any."""
    found: dict[str, int] = {}
    for file in files:
        volume = f"{'.'.join(file.split('.')[:2])}{_DISK}"
        sleep = sleep_of(file, volume)
        if sleep is not None:
            found[volume] = max(sleep, found.get(volume, 0))
    return found


def _lying(file: Path) -> Lying:
    try:
        head = qemu_img.head(file)
    except (OSError, UnicodeDecodeError):  # gone since it was listed, or no file of ours
        head = None
    if head is None or head.size_bytes > _MOST_BYTES:
        return Lying(None, None)
    return Lying(head.size_bytes, head.parent)
