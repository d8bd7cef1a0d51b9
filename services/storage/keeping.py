"""Disks of VMs that are kept for their own sake: made with the size that was asked for, told what they shall be, and grown.

One that is there is never made anew, and none ever shrinks. What a former life began is looked at before anything is done again.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

import msgspec

from events.gate import BootOrdered, GrowOrdered
from events.ids import derive
from events.vault import VaultError
from projections.directory.fold import Directory, Kept
from projections.fleet.fold import Fleet
from projections.usage.fold import Usage
from projections.volumes.fold import Volumes
from schemas.seed import Seed, SeedError
from schemas.volume import in_cluster
from services.storage.decide import MOST_ATTEMPTS
from services.storage.errors import StorageError
from services.storage.metrics import ERRORS
from services.storage.outcomes import Outcomes
from services.storage.port import Hosts, Made
from services.storage.port import Volumes as Place
from services.storage.state import Key
from services.storage.stores import NoStoreError, Stores
from services.storage.volumes import OtherVolumeError, Volume
from services.storage.written import Written

_FIRST_PAUSE_SECONDS: Final = 0.25

BACKSTOP: Final = 4
"""An org may write so many times as much into a cluster as its contract allows it in disks, or as it has in them: what its snapshots
hold, and what is in the trash, is no disk. At a cluster's own limit every write waits without an error, so the gate's must come first."""

Words = Callable[[str, str], str | None]
"""What a VM is told, by its name in the vault and what was committed to; None where there is nothing. Raises `VaultError`."""

log = logging.getLogger("virtscale.storage")


def nothing(name: str, commitment: str) -> str | None:
    """There is no vault here."""
    del name, commitment
    return None


class SeedMissingError(StorageError):
    """What the VM is to be told at its first boot is not in the vault, or not what was committed to."""

    code = "SeedMissing"

    def __init__(self, text: str) -> None:
        super().__init__(text, final=True)


DISK_MISSING: Final = "disk-missing"
"""The VM's disk is gone with what its guest wrote, and it is not started with an empty one."""


class DiskMissingError(StorageError):
    """The disk of a VM that ran is gone."""

    code = "DiskMissing"


class Keeping:
    """Storage's hands on disks of kept VMs."""

    def __init__(
        self,
        hosts: Hosts,
        outcomes: Outcomes,
        words: Words,
        stores: Stores,
        folds: tuple[Directory, Fleet, Volumes, Usage, Written],
    ) -> None:
        self._hosts = hosts
        self._stores = stores
        self._outcomes = outcomes
        self._words = words
        self._directory, self._fleet, self._volumes, self._usage, self._written = folds
        self._enrolled: dict[str, int] = {}
        """Orgs that were enrolled in this life of storage, with their quota then."""

    async def make(self, key: Key, order: BootOrdered, place: Place | None) -> Made:
        """The VM has its seed disk, where it is told anything, and its disk with as many bytes as it was made for.

        `place` are the host's files, where it has any. Safe to repeat: what is there stays as it is.
        """
        kept, known = self._directory.get(*key), self._volumes.disks.get(key)
        await self._must_be_there(key, order)
        if self._hosts.has_seed(order.template):
            await self._files(place, order).lay_seed(*key, self._told(key, kept))
        if (kept is None or kept.disk_bytes == 0) and self._stores.where(key) == "local":
            files = self._files(place, order)
            await self._must_be_its_own(key, order)
            return await files.make(*key, order.template)
        store, volume = self._stores.of(key, order.host), Volume(*key)
        there = await store.look(volume)
        wanted = kept.disk_bytes if kept is not None else 0
        size = max(
            wanted or self._hosts.template_bytes(order.template),
            known.size_bytes if known is not None else 0,
            there.size_bytes if there else 0,
        )
        await self._enrol(key, size)
        await self._must_be_its_own(key, order)
        if known is None or there is None:
            seen = await store.create(volume, size, order.template)
            return Made(seen.place, seen.size_bytes, there is None)
        # The VM's own, whatever it lies over: one that was restored from a backup lies over nothing.
        has = there.size_bytes if there.size_bytes >= size else await store.grow(volume, size)
        return Made(there.place, has, fresh=False)

    async def _must_be_there(self, key: Key, order: BootOrdered) -> None:
        """Raise `DiskMissingError` where a disk is gone that a guest may have written to. One that nobody ever had is made anew."""
        known = self._volumes.disks.get(key)
        store = self._hosts.store(order.host, self._stores.where(key))
        if order.purpose != "keep" or known is None or store is None or not self._written.is_written(key):
            return
        if await store.look(Volume(*key)) is None:
            shared = in_cluster(known.volume)
            where = known.volume if shared else f"{known.volume} on host {order.host}"
            raise DiskMissingError(
                f"The disk of {key[0]}/{key[1]} is gone from {where}, and what its guest wrote with it. Nothing was started, and no empty "
                f"disk was made: bring the {'image' if shared else 'file'} back, or restore the VM from a backup.",
                final=True,
            )

    async def _must_be_its_own(self, key: Key, order: BootOrdered) -> None:
        """Raise `OtherVolumeError` where a disk lies under a new VM's name that was not made for it, with what another guest wrote.

        A name is given again once its VM is deleted, and a host that was away meanwhile comes back with that VM's disk. What a former
        life of ours made is the VM's by its claim, whichever boot that was for. The trap is a host whose directory is not mounted here:
        what lies there only its libvirt knows, which makes the disk, and is believed.
        """
        where, volume = self._stores.where(key), Volume(*key)
        kept, store = self._directory.get(*key), self._hosts.store(order.host, where)
        if kept is None or store is None or key in self._volumes.disks:
            return
        try:
            if await store.claim(volume, derive("disk", *key, kept.created_at.isoformat())):
                return
        except StorageError:
            if where == "ceph":
                raise
            return
        there = await store.look(volume)
        raise OtherVolumeError(
            f"{there.place if there else f'A layer over {volume}'} is there already, and nobody made it for {key[0]}/{key[1]}: a VM that had "
            "the name before may have left it. It was left as it is, and nothing was started: move away what bears the name, and start the VM "
            "again.",
            final=True,
        )

    async def grow(self, key: Key, order: GrowOrdered) -> None:
        """The disk is as large as was ordered, or the ledger knows how large it is instead, and why."""
        attempts, pause, volume = 0, _FIRST_PAUSE_SECONDS, Volume(*key)
        while True:
            vm = self._fleet.vms.get(key)
            domain = vm.domain if vm is not None and vm.reservation is not None else None
            try:
                # Safe to repeat: one that is as large already stays so.
                store = self._stores.of(key, order.host)
                await self._enrol(key, order.size_bytes)
                size_bytes = await store.grow(volume, order.size_bytes, domain)
            except StorageError as error:
                attempts += not error.lost
                ERRORS.labels(order.host).inc()
                log.warning("host %s: grow the disk of %s/%s: %s", order.host, *key, error)
                if error.final or attempts >= MOST_ATTEMPTS:
                    await self._outcomes.grow_failed(order, key[0], await self._size(key, order), error)
                    return
                await asyncio.sleep(pause)
                pause *= 2
            else:
                await self._outcomes.grown(order, key[0], size_bytes)
                return

    async def _size(self, key: Key, order: GrowOrdered) -> int:
        """What the disk has: as it is found, or as it is known where nobody can look."""
        known = self._volumes.disks.get(key)
        try:
            seen = await self._stores.of(key, order.host).look(Volume(*key))
        except StorageError:
            seen = None  # said already: it is what kept it from growing
        if seen is not None:
            return seen.size_bytes
        return known.size_bytes if known is not None else 0

    async def _enrol(self, key: Key, size_bytes: int) -> None:
        """The org may have so much where the VM's disk is. A host's directory asks nobody for leave."""
        org = key[0]
        if self._stores.where(key) == "local":
            return
        contract = self._usage.contracts.get(org)
        allowed = contract.limit.block_bytes if contract is not None else 0
        quota = BACKSTOP * max(allowed, self._usage.stored(org), size_bytes)
        if self._enrolled.get(org) != quota:
            await self._hosts.enrol(org, quota)
            self._enrolled[org] = quota

    def _files(self, place: Place | None, order: BootOrdered) -> Place:
        if place is None:
            raise NoStoreError(
                f"Host {order.host} has no directory for disks, and VMs of template {order.template} have one there: name it with "
                "`virtscale host add --volumes`, or as `volumes` of the host in the house's description."
            )
        return place

    def _told(self, key: Key, kept: Kept | None) -> Seed:
        """What the VM is told: at least who it is. As long as it is that VM, it is the same instance."""
        if kept is None or kept.seed is None:
            return Seed(instance_id=derive("instance", *key), hostname=key[1])
        try:
            # A file of some KiB, once in a VM's life.
            text = self._words(kept.seed.name, kept.seed.commitment)
            if text is None:
                raise SeedMissingError(
                    f"What {kept.org}/{kept.name} is to be told at its first boot is not in the vault as {kept.seed.name}: make the VM "
                    "anew."
                )
            return msgspec.json.decode(text, type=Seed)
        except (VaultError, SeedError, msgspec.DecodeError) as error:
            raise SeedMissingError(
                f"What {kept.org}/{kept.name} is to be told cannot be read: {error}"
            ) from error
