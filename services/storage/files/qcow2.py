"""Disks as qcow2 files in one directory of a host, by way of that host's libvirt.

A volume lies over its template's `disk.qcow2`. To pin it, libvirt lets the domain write into a new file above it, which costs
some ten milliseconds under the domain's job lock, asleep or not; to give the pin up, QEMU copies what lies in that file down
and goes on with the volume. So there are at most two files above the template's, and their names say what they are.

All goes through libvirt: QEMU holds a lock on the files of a domain that sleeps, and only libvirt's description of it, which a
restart reads, says which file it writes to.
"""

import asyncio
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Final, TypeVar, cast
from xml.etree import ElementTree as ET

import libvirt

from schemas.house import HostPlace
from schemas.seed import Seed
from schemas.template import BASE
from schemas.volume import layer_over, sleep_of, volume_name
from services.storage import qemu_img
from services.storage.errors import StorageError, WokeError
from services.storage.files.chain import disk_with, files_of, target_of
from services.storage.files.remains import clear
from services.storage.files.seed import lay
from services.storage.lane import Lane
from services.storage.link import Link, refresh
from services.storage.port import Look, Made, Sleeper, Standing

T = TypeVar("T")

JOIN_SECONDS: Final = 600.0
"""How long a pin may take to be given up: 60 GiB at 100 MB/s."""

_POLL_SECONDS: Final = 0.02
_LONGEST_POLL_SECONDS: Final = 0.5
_COMMIT: Final = libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE | libvirt.VIR_DOMAIN_BLOCK_COMMIT_DELETE
_SNAPSHOT: Final = (
    libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
    | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
    | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC
)
_STANDINGS: Final[dict[int, Standing]] = {
    libvirt.VIR_DOMAIN_PAUSED: "paused",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "paused",
    libvirt.VIR_DOMAIN_SHUTOFF: "off",
    libvirt.VIR_DOMAIN_CRASHED: "off",
}


class Qcow2:
    """The disks of one host; `services.storage.port.Volumes` says what each call promises.

    Two lanes: what waits for the lock of one domain must not keep another VM's boot from its disk.
    """

    def __init__(self, place: HostPlace, templates: Path) -> None:
        self._place = place
        self._templates = templates
        self._link = Link(place)
        self._making = Lane(f"storage-{place.name}-volumes")
        self._pinning = Lane(f"storage-{place.name}-pins")

    async def make(self, org: str, vm: str, template: str) -> Made:
        """The volume exists, owned as libvirt's driver runs its guests."""
        return await self._call(self._making, "make", lambda: self._make(org, vm, template))

    async def lay_seed(self, org: str, vm: str, seed: Seed) -> None:
        """The seed disk lies among the disks."""
        await self._call(self._making, "lay a seed", lambda: lay(self._link.pool(), org, vm, seed))

    async def clear(self, org: str, vm: str) -> None:
        """No file with the VM's name is left, in the directory or its trash."""
        await self._call(
            self._making, "clear", lambda: clear(self._link.pool(), Path(self._place.volumes), org, vm)
        )

    async def look(self, sleeper: Sleeper) -> Look:
        """The chain as libvirt has it, after all that was asked of the domain before."""
        return await self._call(self._pinning, "look", lambda: self._look(sleeper))

    async def join(self, sleeper: Sleeper, asleep: Callable[[], bool]) -> None:
        """The upper layer is in the volume, and its file is gone."""
        loop = asyncio.get_running_loop()
        ends_at, pause = loop.time() + JOIN_SECONDS, _POLL_SECONDS
        await self._call(self._pinning, "join", lambda: self._begin_join(sleeper))
        while not await self._call(self._pinning, "join", lambda: self._joined(sleeper)):
            if not asleep():
                await self.abandon(sleeper)
                raise WokeError(f"{sleeper.domain} woke while its former pin was given up.")
            if loop.time() > ends_at:
                await self.abandon(sleeper)
                raise StorageError(
                    f"What {sleeper.domain} wrote since its former pin was not copied within {JOIN_SECONDS:g} s."
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_POLL_SECONDS)

    async def abandon(self, sleeper: Sleeper) -> None:
        """What was copied so far is in the volume, under a layer that hides it."""
        await self._call(self._pinning, "abandon", lambda: self._abandon(sleeper))

    async def pin(self, sleeper: Sleeper, asleep_since: int) -> str:
        """The volume is written no more: the domain writes into a layer with the sleep's name."""
        await self._call(self._pinning, "pin", lambda: self._pin(sleeper, asleep_since))
        return sleeper.volume

    # ------------------------------------------------------------------------------------------ blocking, in a lane

    def _make(self, org: str, vm: str, template: str) -> Made:
        base = self._templates / template / BASE
        size_bytes = size_of(base)
        volume, fresh = self._link.make(volume_name(org, vm), size_bytes, base)
        found = ET.fromstring(volume.XMLDesc())  # noqa: S314 - libvirt's own words
        if found.findtext("backingStore/path") != str(base):
            raise StorageError(
                f"{volume.path()} on host {self._place.name} is no disk over {base}; move it away, and boot the VM again.",
                final=True,
            )
        return Made(volume.path(), size_bytes, fresh)

    def _look(self, sleeper: Sleeper) -> Look:
        try:
            domain = self._link.connected().lookupByName(sleeper.domain)
            disk = disk_with(domain.XMLDesc(), sleeper.volume)
            if disk is not None and domain.isActive():
                # Waits for the job that holds the domain: what a former life of storage asked is over when this is answered.
                domain.blockInfo(target_of(disk))
                disk = disk_with(domain.XMLDesc(), sleeper.volume)
            standing = _STANDINGS.get(int(domain.state()[0]), "running")
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return Look("missing", 0, None)
        if disk is None:
            return Look(standing, 0, None)
        files = files_of(disk)
        layers = files.index(sleeper.volume) + 1
        return Look(standing, layers, sleep_of(files[0], sleeper.volume), disk.find("mirror") is not None)

    def _begin_join(self, sleeper: Sleeper) -> None:
        domain, disk = self._asleep(sleeper)
        # The volume is named as what is copied into: QEMU's "one layer down" of a disk with one layer is the template's.
        if disk.find("mirror") is None and files_of(disk)[0] != sleeper.volume:
            commit = cast("Callable[..., int]", domain.blockCommit)
            commit(target_of(disk), sleeper.volume, None, 0, _COMMIT)

    def _joined(self, sleeper: Sleeper) -> bool:
        domain, disk = self._domain(sleeper)
        if disk.find("mirror") is None:
            # Ended by another life, or by QEMU: whoever asked looks at the disk again.
            return True
        target = target_of(disk)
        job = cast("dict[str, int]", domain.blockJobInfo(target))
        if not job or job["cur"] != job["end"]:
            return False
        domain.blockJobAbort(target, libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
        return True

    def _abandon(self, sleeper: Sleeper) -> None:
        try:
            domain = self._link.connected().lookupByName(sleeper.domain)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise
            return  # what QEMU was doing ended with it
        disk = disk_with(domain.XMLDesc(), sleeper.volume)
        if disk is not None and disk.find("mirror") is not None:
            domain.blockJobAbort(target_of(disk))

    def _pin(self, sleeper: Sleeper, asleep_since: int) -> None:
        domain, disk = self._asleep(sleeper)
        layer = layer_over(sleeper.volume, asleep_since)
        self._clear(sleeper.volume)
        described = (
            f"<domainsnapshot><name>s{asleep_since}</name><memory snapshot='no'/><disks>"
            f"<disk name='{escape(target_of(disk))}' snapshot='external' type='file'><driver type='qcow2'/>"
            f"<source file='{escape(layer)}'/></disk></disks></domainsnapshot>"
        )
        domain.snapshotCreateXML(described, _SNAPSHOT)

    def _clear(self, volume: str) -> None:
        """No layer of before lies beside the volume, which is the only one on the chain: a domain that is defined anew gets the
        newest there is. What a failed attempt left has no data; what a join left has data that is in the volume since.
        """
        pool = self._link.pool()
        refresh(pool)
        for one in pool.listAllVolumes():
            if sleep_of(one.path(), volume) is not None:
                one.delete()

    def _asleep(self, sleeper: Sleeper) -> tuple[libvirt.virDomain, ET.Element]:
        """The domain, which sleeps in memory. One that is off may have its memory on disk, and that knows its files by name."""
        domain, disk = self._domain(sleeper)
        if _STANDINGS.get(int(domain.state()[0])) != "paused":
            raise WokeError(f"{sleeper.domain} does not sleep in memory any more.")
        return domain, disk

    def _domain(self, sleeper: Sleeper) -> tuple[libvirt.virDomain, ET.Element]:
        domain = self._link.connected().lookupByName(sleeper.domain)
        disk = disk_with(domain.XMLDesc(), sleeper.volume)
        if disk is None:
            raise StorageError(f"{sleeper.domain} does not have the disk {sleeper.volume}.", final=True)
        return domain, disk

    async def _call(self, lane: Lane, what: str, call: Callable[[], T]) -> T:
        return await self._link.call(lane, what, call)


def size_of(base: Path) -> int:
    """The size of the template's disk in bytes, from its head."""
    try:
        found = qemu_img.head(base)
    except OSError as error:
        raise StorageError(
            f"The template's disk cannot be read at {base} ({error.strerror}); put a {BASE} there.",
            final=True,
        ) from error
    if found is None:
        raise StorageError(
            f"{base} is no qcow2 file; make one with `qemu-img create -f qcow2 {base} 1G`.", final=True
        )
    return found.size_bytes
