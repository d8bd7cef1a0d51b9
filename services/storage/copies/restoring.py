"""A disk is as a copy was: the VM's own, which goes back to a snapshot, or a new VM's, made from either kind of copy.

A disk that was made from a copy stands alone: it lies over no template and over nobody's snapshot, so that neither is needed for it.
"""

from dataclasses import replace
from pathlib import Path

from events.gate import RestoreOrdered
from projections.copies.fold import Copies
from services.storage.copies.outcomes import CopyOutcomes
from services.storage.errors import StorageError
from services.storage.stores import Stores
from services.storage.volumes import Copy, MissingError, OtherVolumeError, Seen, Store, Volume, stranger


def is_long(order: RestoreOrdered) -> bool:
    """Whether a whole disk is copied; one's own goes back in a moment."""
    return order.vm != order.of


def source_of(order: RestoreOrdered) -> str:
    """The VM beside whose disk the restored one lies: a snapshot's own, whatever its pool says by now; a backup can be read anywhere."""
    return order.of if order.kind == "snapshot" else order.vm


class Restoring:
    """Storage's hands on disks that are restored."""

    def __init__(self, stores: Stores, outcomes: CopyOutcomes, copies: Copies) -> None:
        self._stores = stores
        self._outcomes = outcomes
        self._copies = copies

    async def restore(self, org: str, order: RestoreOrdered) -> None:
        """One try: the disk is as the copy was, has as many bytes as were ordered, and that is told.

        Safe to repeat, since the VM starts only when it was told.
        """
        store = self._store(org, order)
        if is_long(order):
            seen = await self._made(org, order, store)
        else:
            # No disk becomes smaller by it.
            seen = await store.restore(Volume(org, order.vm), order.copy, order.size_bytes)
        await self._outcomes.restored(org, order, seen)

    async def discard(self, org: str, order: RestoreOrdered, error: StorageError) -> None:
        """Nothing is left of a disk that was made for the new VM, for its name may be another's later.

        A disk of somebody else's that has the name stays, one in the trash too, and so does one's own that did not go back.
        """
        if not is_long(order) or isinstance(error, OtherVolumeError):
            return
        await self._store(org, order).discard(Volume(org, order.vm), order.id)

    async def _made(self, org: str, order: RestoreOrdered, store: Store) -> Seen:
        volume = Volume(org, order.vm)
        if order.kind == "snapshot":
            # It lies over nothing: neither VM holds the other back when it is deleted.
            seen = await store.duplicate(Volume(org, order.of), order.copy, volume, order.id)
        else:
            if not await store.claim(volume, order.id):
                there = await store.look(volume)
                raise stranger(volume, there.place if there else str(volume))
            seen = await store.load(self._backup(org, order), volume)
        if seen.size_bytes < order.size_bytes:
            seen = replace(seen, size_bytes=await store.grow(volume, order.size_bytes))
        return seen

    def _store(self, org: str, order: RestoreOrdered) -> Store:
        return self._stores.of((org, source_of(order)), order.host, order.pool)

    def _backup(self, org: str, order: RestoreOrdered) -> Copy:
        """The file as it was told to be: one with another digest is taken for no copy."""
        known = self._copies.get(org, order.of, order.copy)
        if known is None or known.sha256 is None:
            raise MissingError(f"{org}/{order.of} has no backup {order.copy}.", final=True)
        return Copy(Path(order.place), known.disk_bytes, known.size_bytes, known.sha256)
