"""All files in a host's directory of disks, read at once: 500 disks in some 20 ms, or in 150 ms by the host's libvirt; it blocks."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, runtime_checkable
from xml.etree import ElementTree as ET

import libvirt

from schemas.volume import POOL, layer_over, sleep_of
from services.storage import qemu_img
from services.storage.errors import StorageError
from services.storage.files.trash import TRASH
from services.storage.link import Link, refresh

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
    absent: str = "no such file"
    """What is known of one that is not among them."""

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


def surveyed(link: Link, directory: Path) -> Survey:
    """What lies in the directory, as it is read where it is mounted here, else as its host's libvirt lists it."""
    return survey(directory) if directory.is_dir() else listed(link.connected(), directory)


def listed(connection: libvirt.virConnect, directory: Path) -> Survey:
    """The files right in the directory as the host's libvirt lists them, for a directory that is not mounted here.

    Nothing is made there: a host that has no such pool, or one that is off, says nothing about any disk. The trap: a file that libvirt may
    not read is not listed.
    """
    try:
        pool = connection.storagePoolLookupByName(POOL)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
            raise
        raise StorageError(
            f"The directory of disks {directory} is not mounted here, and its host's libvirt has no pool {POOL}; nothing is known of what "
            "lies there."
        ) from error
    where = ET.fromstring(pool.XMLDesc()).findtext("target/path")  # noqa: S314 - libvirt's own words
    if where != str(directory) or not pool.isActive():
        raise StorageError(
            f"The directory of disks {directory} is not mounted here, and its host's libvirt has its pool {POOL} in {where}, "
            f"{'on' if pool.isActive() else 'off'}; nothing is known of what lies there."
        )
    refresh(pool)
    found = dict(_described(pool))
    return Survey(found, newest(found), "no such file that its host's libvirt lists")


def _described(pool: libvirt.virStoragePool) -> Iterator[tuple[str, Lying]]:
    for one in pool.listAllVolumes():
        try:
            volume = ET.fromstring(one.XMLDesc())  # noqa: S314 - libvirt's own words
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:  # gone since it was listed
                raise
            continue
        form = volume.find("target/format")
        ours = one.name().endswith(_DISK) and form is not None and form.get("type") == "qcow2"
        size = int(volume.findtext("capacity") or 0)
        parent = volume.findtext("backingStore/path")
        yield one.name(), Lying(size, parent) if ours and size <= _MOST_BYTES else Lying(None, None)


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
