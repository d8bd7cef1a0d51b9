"""The end of a deleted VM's disk, and of its backups: removed for good, looked for, and then told.

The disk goes once the domain is gone, so that nobody has it open. What cannot be removed is told once, and tried again for ever: a
deletion is late then, and never forgotten.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from events.clock import Clock
from events.deletion import BackupsErased, EraseFailed, VolumeErased
from events.gate import EraseOrdered
from projections.copies.fold import Copies
from projections.deletions.fold import Deletion, Deletions
from projections.fleet.fold import Fleet
from projections.volumes.fold import Volumes
from schemas.names import shorten
from schemas.volume import in_cluster
from services.storage.copies.backups import Backups
from services.storage.decide import MOST_ATTEMPTS
from services.storage.errors import StorageError
from services.storage.files.remains import emptied
from services.storage.metrics import ERRORS
from services.storage.outcomes import Outcomes
from services.storage.port import Hosts
from services.storage.state import Key
from services.storage.stores import NoStoreError
from services.storage.volumes import MissingError, Store, Volume

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 300.0

_DEAD: Final = frozenset({"fenced", "removed"})

log = logging.getLogger("virtscale.storage")


class DisksAwayError(StorageError):
    """Where the disk was, none of the disks is that were there."""

    code = "DisksAway"


class Erasing:
    """Storage's hands on what is left of deleted VMs."""

    def __init__(  # noqa: PLR0917 - what a worker's hands are made from
        self,
        hosts: Hosts,
        outcomes: Outcomes,
        clock: Clock,
        folds: tuple[Deletions, Copies, Fleet, Volumes],
        ring: Callable[[], None],
        backups: Backups,
    ) -> None:
        self._hosts = hosts
        self._outcomes = outcomes
        self._clock = clock
        self._deletions, self._copies, self._fleet, self._volumes = folds
        self._ring = ring
        self._backups = backups
        self._pauses: dict[str, float] = {}
        self._tries: dict[str, int] = {}
        self._waiting: set[str] = set()
        """Orders that are tried again later."""
        self._told: set[tuple[str, str]] = set()
        """Which trouble with which order was told in this life."""

    def open(self) -> Iterator[Key]:
        """VMs of which something is to be erased."""
        return ((org, vm) for org, vm, _ in self._deletions.erasing)

    def has_work(self, key: Key) -> bool:
        """Whether something can be erased now."""
        return self.order(key) is not None

    def order(self, key: Key) -> EraseOrdered | None:
        """The order that can be carried out now: of a disk once no host has the domain."""
        standing = self._deletions.of(*key)
        for what in ("disk", "backups"):
            order = self._deletions.erasing.get((*key, what))
            if order is None or standing is None or order.id in self._waiting:
                continue
            if what == "backups" or not (self._is_defined(key, standing) or standing.erased):
                return order
        return None

    async def attend(self, key: Key) -> None:
        """It is gone and the ledger knows, or it is tried again after a pause, which grows to five minutes."""
        order = self.order(key)
        if order is None:
            return
        try:
            if order.what == "disk":
                await self._erase_disk(key, order)
            else:
                await self._erase_backups(key, order)
        except StorageError as error:
            await self._refused(key, order, error)
        else:
            self._pauses.pop(order.id, None)
            self._tries.pop(order.id, None)

    async def work(self) -> None:
        """Nothing is done beside the VMs' tasks."""

    # ---------------------------------------------------------------------------------------------------------- a disk

    async def _erase_disk(self, key: Key, order: EraseOrdered) -> None:
        """Safe to repeat: what is gone already is looked for again, and nothing else bears the VM's name while it is deleted."""
        known = [one for one in self._copies.of(*key) if one.kind == "snapshot"]
        seen = 0
        if self._is_in_cluster(key, order):
            seen = await self._emptied(key, order)
        for host in self._places(key, order):
            await self._must_be_there(key, host)
            place = self._hosts.at(host)
            if place is not None:
                await place.clear(*key)
            elif order.volume is not None and not self._is_in_cluster(key, order):
                raise NoStoreError(f"Host {host} has no directory for disks, and {order.volume} was there.")
        now = self._clock.now()
        fact = VolumeErased(
            org=key[0],
            vm=key[1],
            host=order.host,
            order=order.id,
            volume=order.volume,
            snapshots=max(seen, len(known)),
            erased_at=now,
        )
        await self._outcomes.ended(fact, "volume.erased", order, now)

    def _is_defined(self, key: Key, standing: Deletion) -> bool:
        """Whether a host that lives may have the domain still."""
        vm = self._fleet.vms.get(key)
        hosts = standing.defined_on(vm.host if vm is not None else None)
        return not standing.undefined or any(not self._is_dead(host) for host in hosts)

    async def _emptied(self, key: Key, order: EraseOrdered) -> int:
        try:
            return await emptied(self._cluster(key, order), Volume(*key))
        except MissingError as error:
            if order.volume is None:
                return 0  # the org never had a place in the cluster
            raise DisksAwayError(
                f"{order.volume} is not to be had: {error} Is it another cluster that the house names now? Nothing was removed."
            ) from error

    async def _must_be_there(self, key: Key, host: str) -> None:
        """Raise `DisksAwayError` where not one disk is found of those that the ledger knows there: their directory is not mounted.

        The last disk of all is believed to be gone. What cannot be looked at is for `clear` to refuse.
        """
        store, own = self._hosts.store(host, "local"), self._volumes.disks.get(key)
        if store is None or own is None or own.host != host or in_cluster(own.volume):
            return
        others = [
            name
            for name, disk in self._volumes.disks.items()
            if disk.host == host
            and not in_cluster(disk.volume)
            and (*name, "disk") not in self._deletions.erasing
        ]
        try:
            for name in (key, *others):
                if await store.look(Volume(*name)) is not None:
                    return
        except StorageError:
            return
        if others:
            raise DisksAwayError(
                f"Neither {own.volume} nor any of the {len(others)} other disks of host {host} is there: mount their directory. Nothing was "
                "removed."
            )

    def _is_in_cluster(self, key: Key, order: EraseOrdered) -> bool:
        if order.volume is not None:
            return in_cluster(order.volume)
        pool = self._fleet.pools.get((key[0], order.pool))
        return pool is not None and pool.storage == "ceph"

    def _cluster(self, key: Key, order: EraseOrdered) -> Store:
        """The cluster, as any host of the house reaches it: no domain has part in this."""
        for host in (order.host, *self._fleet.hosts):
            store = self._hosts.store(host, "ceph") if host is not None else None
            if store is not None:
                return store
        raise NoStoreError(
            f"No host of the house reaches the cluster in which the disk of {key[0]}/{key[1]} is."
        )

    def _places(self, key: Key, order: EraseOrdered) -> list[str]:
        """Hosts where files of the VM may be: where its disk is, and where it was found since. One whose disk is in a cluster may have run anywhere, and left what it was told there."""
        if not self._is_in_cluster(key, order):
            known = (order, self._fleet.vms.get(key), self._volumes.disks.get(key))
            hosts = dict.fromkeys(one.host for one in known if one is not None and one.host is not None)
            return [host for host in hosts if not self._is_removed(host)]
        return [host for host in self._fleet.hosts if not self._is_dead(host)]

    def _is_dead(self, host: str) -> bool:
        known = self._fleet.hosts.get(host)
        return known is None or known.state in _DEAD

    def _is_removed(self, host: str) -> bool:
        """Its disks went with it, also where the house's description names it still."""
        known = self._fleet.hosts.get(host)
        return known is not None and known.state == "removed"

    # --------------------------------------------------------------------------------------------------------- backups

    async def _erase_backups(self, key: Key, order: EraseOrdered) -> None:
        """Safe to repeat. Those that lie where backups lay before are removed from there."""
        known = [one for one in self._copies.of(*key) if one.kind == "backup" and one.state != "ordered"]
        removed = await self._backups.erase(*key, {one.name: Path(one.place) for one in known})
        now = self._clock.now()
        fact = BackupsErased(
            org=key[0],
            vm=key[1],
            host=order.host,
            order=order.id,
            backups=removed,
            erased_at=now,
        )
        await self._outcomes.ended(fact, "backups.erased", order, now)

    # ---------------------------------------------------------------------------------------------------------- inside

    async def _refused(self, key: Key, order: EraseOrdered, error: StorageError) -> None:
        host = order.host or "none"
        ERRORS.labels(host).inc()
        log.warning("host %s: erase the %s of %s/%s: %s", host, order.what, *key, error)
        tries = self._tries[order.id] = self._tries.get(order.id, 0) + 1
        if error.final or tries >= MOST_ATTEMPTS:
            await self._tell(key, order, error)
        pause = min(2 * self._pauses.get(order.id, FIRST_PAUSE_SECONDS / 2), LONGEST_PAUSE_SECONDS)
        self._pauses[order.id] = pause
        self._waiting.add(order.id)
        asyncio.get_running_loop().call_later(pause, self._wake, order.id)

    def _wake(self, order: str) -> None:
        self._waiting.discard(order)
        self._ring()

    async def _tell(self, key: Key, order: EraseOrdered, error: StorageError) -> None:
        """The ledger knows this trouble; it is told once, also where a former life told it."""
        standing = self._deletions.of(*key)
        known = standing is not None and (standing.trouble or "").startswith(f"{error.code}: ")
        if known or (order.id, error.code) in self._told:
            return
        self._told.add((order.id, error.code))
        now = self._clock.now()
        fact = EraseFailed(
            org=key[0],
            vm=key[1],
            host=order.host,
            order=order.id,
            code=error.code,
            text=shorten(str(error)),
            observed_at=now,
        )
        await self._outcomes.ended(fact, "erase.failed", order, now)
