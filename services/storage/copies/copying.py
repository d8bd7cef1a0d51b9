"""Copies of kept VMs' disks at work: snapshots and backups are made and dropped, and disks restored, as the ledger asks for it.

Each call of `attend` is one try of one order, from a look at what is there: a kill between any two lines loses nothing. What a host
refuses is tried again later, and whoever asks for the VM's disk meanwhile does not wait for it. Neither does anybody wait while a
backup is read and written, which can take an hour: that is done beside everything else, from a snapshot that nobody writes.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from events.gate import CopyOrdered, DropOrdered, RestoreOrdered
from projections.copies.fold import Copies
from projections.fleet.fold import Fleet
from services.storage.copies.backups import Backups, draft_of
from services.storage.copies.freezing import Still
from services.storage.copies.outcomes import CopyOutcomes, Whole
from services.storage.copies.restoring import Restoring, is_long, source_of
from services.storage.copies.unpinning import Unpinning
from services.storage.decide import MOST_ATTEMPTS
from services.storage.errors import StorageError
from services.storage.metrics import ERRORS
from services.storage.state import Key
from services.storage.stores import Stores
from services.storage.volumes import Copy, InUseError, MissingError, Snapshot, Store, Volume

MOST_COPIES: Final = 2
"""Disks of one host that are copied whole at a time."""

MOST_IN_USE: Final = 24
"""Tries of a call that somebody's open disk is in the way of: a minute and a half, for who died with a disk in Ceph is believed to live
for half a minute."""

_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 5.0
_LONGEST_DROP_PAUSE_SECONDS: Final = 300.0
"""A copy that shall go is tried to be removed for ever."""
_PROGRESS_SECONDS: Final = 30.0

Owing = CopyOrdered | DropOrdered | RestoreOrdered

log = logging.getLogger("virtscale.storage")


class HostGoneError(StorageError):
    """The disk was on a host that is the house's no more."""

    code = "HostGone"

    def __init__(self, host: str) -> None:
        super().__init__(
            f"Host {host} was removed, and the disk with it: restore a backup into a new VM.", final=True
        )


@dataclass(frozen=True, slots=True)
class _Export:
    """A backup that is to be read out of its snapshot."""

    org: str
    order: CopyOrdered
    store: Store
    file: Path


class Copying:
    """Storage's hands on copies. All it remembers it could do without: which tries have to wait, and what is under way."""

    def __init__(  # noqa: PLR0917 - what a worker's hands are made from
        self,
        stores: Stores,
        outcomes: CopyOutcomes,
        folds: tuple[Copies, Fleet],
        ring: Callable[[], None],
        unpinning: Unpinning,
        backups: Backups,
        still: Still,
    ) -> None:
        self._stores = stores
        self._unpinning = unpinning
        self._outcomes = outcomes
        self._copies, self._fleet = folds
        self._ring = ring
        self._backups = backups
        self._still = still
        self._restoring = Restoring(stores, outcomes, self._copies)
        self._tries: dict[str, int] = {}
        """Refusals by order; that a host cannot be reached is none."""
        self._pauses: dict[str, float] = {}
        self._waiting: set[str] = set()
        """Orders that are tried again later."""
        self._long: dict[str, str] = {}
        """Hosts by the order for which a whole disk of theirs is being copied."""
        self._promised: dict[str, str] = {}
        """The same by an order for which that is about to begin; until the next look at what is open."""
        self._begun: list[_Export] = []
        self._begins = asyncio.Event()
        self._exporting: set[str] = set()
        self._exported: dict[str, Copy | StorageError] = {}

    def open(self) -> Iterator[Key]:
        """VMs of which a copy or a restore is open, and does not just wait for others: at night all but a few do."""
        self._promised.clear()
        yield from self._copies.restoring
        full = {host for host, copied in Counter(self._long.values()).items() if copied >= MOST_COPIES}
        makes: set[Key] = set()
        for (org, vm, _), order in self._copies.making.items():
            makes.add((org, vm))
            waits = order.host in full and _is_long(order) and order.id not in self._long
            if not waits and order.id not in self._exporting:
                yield (org, vm)
        for (org, vm, _), drop in self._copies.dropping.items():
            if drop.cause != "retention" or (org, vm) not in makes:
                yield (org, vm)

    def owed(self, key: Key) -> Owing | None:
        """What can be done now for the VM.

        What goes because there are newer copies goes when those are there: the VM may have no other.
        """
        org, vm = key
        restore = self._copies.restoring.get(key)
        if restore is not None and self._may(restore):
            return restore
        copies = self._copies.of(org, vm)
        making = [self._copies.making.get((org, vm, copy.name)) for copy in copies if copy.state == "ordered"]
        for order in making:
            if order is not None and self._may(order):
                return order
        for copy in copies:
            drop = self._copies.dropping.get((org, vm, copy.name)) if copy.state == "dropping" else None
            if drop is not None and self._may(drop) and not (making and drop.cause == "retention"):
                return drop
        return None

    def has_work(self, key: Key) -> bool:
        """Whether anything can; then there is room for it, which nobody else is promised meanwhile."""
        order = self.owed(key)
        if order is not None and _is_long(order):
            self._promised[order.id] = order.host
        return order is not None

    async def attend(self, key: Key) -> None:
        """One order of the VM is a step further: over, or to be gone on with later."""
        order, org = self.owed(key), key[0]
        if order is None:
            return
        if _is_long(order):
            self._promised.pop(order.id, None)
            self._long[order.id] = order.host
        try:
            if not isinstance(order, DropOrdered) and self._went_with_its_host(org, order):
                raise HostGoneError(order.host)
            over = True
            if isinstance(order, CopyOrdered):
                over = await self._make(org, order)
            elif isinstance(order, DropOrdered):
                await self._drop(org, order)
            elif _is_long(order):
                await self._restoring.restore(org, order)
            else:
                store = self._stores.of(key, order.host, order.pool)
                await self._unpinning.without(key, store, partial(self._restoring.restore, org, order))
        except StorageError as error:
            over = await self._refused(org, order, error)
        if over:
            self._tries.pop(order.id, None)
            self._pauses.pop(order.id, None)
            self._free(order)

    async def work(self) -> None:
        """Backups are read out and written beside everything else, for ever. It begins before anything is attended."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._begins.wait()
                self._begins.clear()
                begun, self._begun = self._begun, []
                for one in begun:
                    name = f"storage: backup {one.org}/{one.order.vm}/{one.order.copy}"
                    tasks.create_task(self._export(one), name=name)

    async def _export(self, one: _Export) -> None:
        """The backup's file is whole, or it is known why not; the order is gone on with by whoever attends the VM."""
        order = one.order
        told = asyncio.create_task(_progress(one), name=f"storage: progress of {order.vm}/{order.copy}")
        try:
            self._exported[order.id] = await one.store.export(Volume(one.org, order.vm), order.copy, one.file)
        except StorageError as error:
            self._exported[order.id] = error
        finally:
            told.cancel()
            self._exporting.discard(order.id)
            self._ring()

    # ---------------------------------------------------------------------------------------------------------- made

    async def _make(self, org: str, order: CopyOrdered) -> bool:
        """One try; False where a backup is being read out meanwhile."""
        store = self._stores.of((org, order.vm), order.host, order.pool)
        if order.kind == "backup":
            return await self._back_up(org, order, store)
        taken = await self._snapshot(org, order, store)
        # It may come to hold all that was on the disk, while the guest writes everything anew.
        whole = Whole(taken.place, taken.size_bytes, taken.size_bytes, None, taken.taken_at)
        await self._outcomes.made(org, order, whole)
        return True

    async def _back_up(self, org: str, order: CopyOrdered, store: Store) -> bool:
        file, volume = self._backups.file(org, order.vm, order.copy), Volume(org, order.vm)
        ended = self._exported.pop(order.id, None)
        if isinstance(ended, StorageError):
            raise ended
        if ended is None:
            await self._backups.claim(file, order.id)
            if await self._backups.dated(file) is None:
                await self._snapshot(org, order, store)
            # A file that is there, which a former life made, is read for its digest.
            self._exporting.add(order.id)
            self._begun.append(_Export(org, order, store, file))
            self._begins.set()
            return False
        snapshot = await _found(store, volume, order.copy)
        if snapshot is not None:
            # In this order, and each safe to repeat: the file outlives the snapshot, and knows then what that knew.
            await self._backups.date(file, snapshot.taken_at)
            await self._forget((org, order.vm), order.copy, store)
        taken_at = await self._backups.dated(file)
        if taken_at is None:
            raise StorageError(f"The backup {file} was there a moment ago, and is gone.")
        whole = Whole(str(file), ended.size_bytes, ended.file_bytes, ended.sha256, taken_at)
        await self._outcomes.made(org, order, whole)
        await self._backups.settle(file)
        return True

    async def _snapshot(self, org: str, order: CopyOrdered, store: Store) -> Snapshot:
        """Safe to repeat: a snapshot of that name stays as it is. A guest that a former life left standing still moves again."""
        domain = self._domain(org, order.vm)
        pool = self._fleet.pools.get((org, order.pool))

        async def take() -> Snapshot:
            asked = pool is not None and pool.refresh == "agent" and self._runs(org, order.vm)
            still = self._still(order.host, domain) if asked and domain is not None else nullcontext(True)
            async with still as stands:
                if not stands:
                    log.info("the guest of %s/%s does not stand still for its snapshot", org, order.vm)
                return await store.snapshot(Volume(org, order.vm), order.copy, domain)

        return await self._unpinning.without((org, order.vm), store, take)

    # -------------------------------------------------------------------------------------------------------- dropped

    async def _drop(self, org: str, order: DropOrdered) -> None:
        """A snapshot on a host that was removed went with that host."""
        if order.kind == "backup":
            await self._backups.remove(Path(order.place), org, order.vm, order.copy)
        elif not self._went_with_its_host(org, order):
            store = self._stores.of((org, order.vm), order.host, order.pool)
            await self._forget((org, order.vm), order.copy, store)
        await self._outcomes.dropped(org, order)

    # -------------------------------------------------------------------------------------------------------- refused

    async def _refused(self, org: str, order: Owing, error: StorageError) -> bool:
        """Whether the order has ended with it; else it is tried again after a pause."""
        tries = self._tries[order.id] = self._tries.get(order.id, 0) + (not error.lost)
        ERRORS.labels(order.host).inc()
        log.warning("host %s: %s of %s/%s: %s", order.host, _what(order), org, order.vm, error)
        most = MOST_IN_USE if isinstance(error, InUseError) else MOST_ATTEMPTS
        ends = error.final or tries >= most
        if ends and not isinstance(order, DropOrdered) and await self._give_up(org, order, error):
            return True
        slow = isinstance(order, DropOrdered) or ends
        longest = _LONGEST_DROP_PAUSE_SECONDS if slow else _LONGEST_PAUSE_SECONDS
        self._waiting.add(order.id)
        pause = self._pauses[order.id] = min(
            2 * self._pauses.get(order.id, _FIRST_PAUSE_SECONDS / 2), longest
        )
        asyncio.get_running_loop().call_later(pause, self._wake, order)
        self._free(order)
        return False

    async def _give_up(self, org: str, order: CopyOrdered | RestoreOrdered, error: StorageError) -> bool:
        """Nothing of it is left, and that it failed is told; False where something may be left, or land yet.

        Then the order stays: the next copy of that name would be taken for one that a former life made, with what was on the disk
        then.
        """
        try:
            await self._discard(org, order, error)
        except StorageError as left:
            log.warning(
                "host %s: what is left of %s of %s/%s: %s", order.host, _what(order), org, order.vm, left
            )
            if not left.final:
                return False
        if isinstance(order, RestoreOrdered):
            await self._outcomes.restore_failed(org, order, error)
        else:
            await self._outcomes.failed(org, order, error)
        return True

    async def _discard(self, org: str, order: CopyOrdered | RestoreOrdered, error: StorageError) -> None:
        """What was begun is removed; on a host that was removed it is gone with that."""
        if isinstance(order, CopyOrdered) and order.kind == "backup":
            await self._backups.discard(org, order.vm, order.copy, order.id)
        if self._went_with_its_host(org, order):
            return
        if isinstance(order, RestoreOrdered):
            await self._restoring.discard(org, order, error)
        else:
            store = self._stores.of((org, order.vm), order.host, order.pool)
            await self._forget((org, order.vm), order.copy, store)

    # --------------------------------------------------------------------------------------------------------- inside

    def _may(self, order: Owing) -> bool:
        if order.id in self._waiting or order.id in self._exporting:
            return False
        if not _is_long(order) or order.id in self._long or order.id in self._promised:
            return True
        taken = (*self._long.values(), *self._promised.values())
        return sum(host == order.host for host in taken) < MOST_COPIES

    def _free(self, order: Owing) -> None:
        if self._long.pop(order.id, None) is not None:
            self._ring()

    def _wake(self, order: Owing) -> None:
        self._waiting.discard(order.id)
        self._ring()

    def _went_with_its_host(self, org: str, order: Owing) -> bool:
        """Whether what the order is about lay on a host that was removed. One that is fenced may come back, and is waited for."""
        host = self._fleet.hosts.get(order.host)
        if host is None or host.state != "removed":
            return False
        of = source_of(order) if isinstance(order, RestoreOrdered) else order.vm
        return self._stores.where((org, of), order.pool) == "local"

    async def _forget(self, key: Key, name: str, store: Store) -> None:
        """The snapshot is gone, be it with its volume. A disk that the ledger knows and nobody finds may be on one that is not mounted."""
        try:
            await self._unpinning.join(key, store)
            await store.forget(Volume(*key), name, self._domain(*key))
        except MissingError:
            if self._stores.knows(key):
                raise
            log.warning("volume %s/%s is gone, and its snapshot %s with it", *key, name)

    def _domain(self, org: str, vm: str) -> str | None:
        """The domain that may have the disk open, awake or not."""
        known = self._fleet.vms.get((org, vm))
        return known.domain if known is not None else None

    def _runs(self, org: str, vm: str) -> bool:
        known = self._fleet.vms.get((org, vm))
        return known is not None and known.state == "running"


def _is_long(order: Owing) -> bool:
    """Whether a whole disk is copied for it."""
    if isinstance(order, CopyOrdered):
        return order.kind == "backup"
    return isinstance(order, RestoreOrdered) and is_long(order)


def _what(order: Owing) -> str:
    words = {CopyOrdered: "make", DropOrdered: "drop", RestoreOrdered: "restore"}
    return f"{words[type(order)]} {order.kind} {order.copy}"


async def _found(store: Store, volume: Volume, name: str) -> Snapshot | None:
    return next((one for one in await store.snapshots(volume) if one.name == name), None)


async def _progress(one: _Export) -> None:
    """How far the backup has come is in the log."""
    draft, order = draft_of(one.file), one.order
    while True:
        await asyncio.sleep(_PROGRESS_SECONDS)
        # The head of a directory's entry, which the copying itself has just written.
        written = draft.stat().st_size if draft.exists() else 0
        log.info(
            "backup %s of %s/%s: %d MiB written, of a disk of %d MiB",
            order.copy,
            one.org,
            order.vm,
            written >> 20,
            order.size_bytes >> 20,
        )
