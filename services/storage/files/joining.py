"""The layer that a sleep left above a volume goes into it, for a VM that wants more of its disk than to sleep with it.

QEMU does so where a domain has the disk open, awake or asleep; else it is done to the files. A kill between any two lines leaves what
the next call goes on with: until the layer's file is gone, all that it has is read from it.
"""

import asyncio
import fcntl
import os
import struct
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, cast
from xml.etree import ElementTree as ET

import libvirt

from services.storage import qemu_img
from services.storage.errors import StorageError
from services.storage.files.chain import disk_with, files_of, target_of
from services.storage.files.qcow2 import JOIN_SECONDS
from services.storage.lane import Lane
from services.storage.link import Link
from services.storage.volumes import COPY_SECONDS, InUseError, PinnedError

_COMMIT: Final = libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE | libvirt.VIR_DOMAIN_BLOCK_COMMIT_DELETE

_NOBODY_ELSE_WRITES: Final = 201
"""The byte that QEMU locks in a file which nobody beside it may write."""
_FLOCK: Final = struct.Struct("hhqqi0q")

_FIRST_PAUSE_SECONDS: Final = 0.02
_LONGEST_PAUSE_SECONDS: Final = 0.5

_SETTLE_SECONDS: Final = 0.5
"""From the removal of a layer on, while the lock is held: a QEMU that had opened the file by then asks for its own lock, and is refused."""


Chain = Callable[[], tuple[Path, list[Path]]]
"""A volume's file, and the layers above it, the newest first: as they are when it is asked."""


class Joins:
    """One host's joins, one after the other in a lane of their own: neither a boot nor a backup waits for them."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._lane = Lane(f"storage-{link.place.name}-joins")

    async def join(self, chain: Chain, domain: str | None) -> None:
        """No layer is left above the volume. `domain` is the one that may have it open."""
        loop = asyncio.get_running_loop()
        ends_at, pause = loop.time() + JOIN_SECONDS, _FIRST_PAUSE_SECONDS
        while not await self._link.call(self._lane, "join", lambda: self._step(chain, domain), COPY_SECONDS):
            if loop.time() > ends_at:
                await self._link.call(self._lane, "abandon", lambda: self._abandon(chain, domain))
                raise StorageError(
                    f"What {domain} wrote into the layer above its disk was not copied within {JOIN_SECONDS:g} s."
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _step(self, chain: Chain, name: str | None) -> bool:
        """One step; whether no layer is left."""
        file, layers = chain()
        if not layers:
            return True
        domain = self._link.domain(name)
        if domain is not None and domain.isActive():
            return _step_of_qemu(domain, file, layers)
        if domain is not None and domain.hasManagedSaveImage(0):
            # Its memory knows its files by name.
            raise PinnedError(
                f"{file.name} has the layer {layers[0].name} above it, and {name} sleeps on disk with it: wake it, and ask again.",
                final=True,
            )
        _commit(file, layers)
        return True

    def _abandon(self, chain: Chain, name: str | None) -> None:
        """Nothing is being copied; what was copied is under the layer, which hides it. Safe to repeat."""
        file, _ = chain()
        domain = self._link.domain(name)
        disk = disk_with(domain.XMLDesc(), str(file)) if domain is not None and domain.isActive() else None
        if domain is not None and disk is not None and disk.find("mirror") is not None:
            domain.blockJobAbort(target_of(disk))


def _step_of_qemu(domain: libvirt.virDomain, file: Path, layers: list[Path]) -> bool:
    disk = disk_with(domain.XMLDesc(), str(file))
    if disk is None:
        raise PinnedError(
            f"{layers[0].name} lies above {file.name}, and {domain.name()} has neither as its disk."
        )
    if disk.find("mirror") is not None:
        return _pivot(domain, disk)
    if files_of(disk)[0] != str(file):
        commit = cast("Callable[..., int]", domain.blockCommit)
        commit(target_of(disk), str(file), None, 0, _COMMIT)
        return False
    # What lies there still has nothing that is not in the volume: QEMU goes on without it.
    for layer in layers:
        if qemu_img.written(layer):
            raise InUseError(
                f"Somebody else than {domain.name()} writes to {layer.name}; nothing was changed."
            )
        layer.unlink(missing_ok=True)
    return True


def _pivot(domain: libvirt.virDomain, disk: ET.Element) -> bool:
    """QEMU writes to the volume where it has caught up. Never the end: whoever asks looks once more."""
    job = cast("dict[str, int]", domain.blockJobInfo(target_of(disk)))
    if job and job["cur"] == job["end"]:
        domain.blockJobAbort(target_of(disk), libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
    return False


def _commit(file: Path, layers: list[Path]) -> None:
    """The newest layer, from which the domain would start, is in the volume; older ones are remains of what was joined before."""
    top = layers[0]
    head = qemu_img.head(top)
    if head is None or head.parent != str(file):
        raise PinnedError(
            f"{top.name} lies above {file.name} by its name alone; move it away, and ask again.", final=True
        )
    before = top.stat().st_mtime_ns
    # Without emptying the layer: as long as it is there, it has all that was written to it.
    qemu_img.run("commit", "-q", "-d", "-f", "qcow2", str(top), seconds=COPY_SECONDS)
    with file.open("rb") as volume:
        os.fsync(volume.fileno())
    with _closed(top):
        if top.stat().st_mtime_ns != before:
            raise InUseError(f"{top.name} was written while it went into {file.name}; it is kept.")
        for layer in reversed(layers):  # the newest last: a domain would start from an older one
            layer.unlink(missing_ok=True)
        time.sleep(_SETTLE_SECONDS)


@contextmanager
def _closed(layer: Path) -> Generator[None]:
    """No QEMU has the file open for writing, and none that begins gets it. The lock is the kernel's, and ends with this process."""
    handle = os.open(layer, os.O_RDWR)
    try:
        fcntl.fcntl(
            handle, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _NOBODY_ELSE_WRITES, 1, 0)
        )
        if qemu_img.written(layer):
            raise InUseError(f"{layer.name} was opened while it went into its volume; it is kept.")
        yield
    except BlockingIOError as error:
        raise InUseError(f"{layer.name} was opened while it went into its volume; it is kept.") from error
    except OSError as error:
        raise StorageError(f"{layer} cannot be removed: {error.strerror}.") from error
    finally:
        os.close(handle)
