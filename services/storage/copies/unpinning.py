"""The pin of a VM's disk is given up where a copy needs the disk itself: a snapshot lies inside the volume, under no layer."""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar, runtime_checkable

from projections.fleet.fold import Fleet
from projections.volumes.fold import Volumes
from services.storage.outcomes import Outcomes
from services.storage.state import Key
from services.storage.volumes import PinnedError, Store, Volume

T = TypeVar("T")

JOINED: Final = "joined"
"""The pin was given up for a copy of the disk."""


@runtime_checkable
class Layered(Protocol):
    """A driver whose volumes may have a layer above them, of the VM's last sleep."""

    async def join(self, volume: Volume, domain: str | None = None) -> None:
        """The volume has no layer above it: what was written since the sleep is in it. `domain` is the one that may have it open.

        `PinnedError` where that sleeps on disk. Takes as long as it takes to copy what was written; one that was cut short is gone on
        with. Safe to repeat.
        """
        ...


class Unpinning:
    """Storage's hands on pins that are in the way."""

    def __init__(self, outcomes: Outcomes, folds: tuple[Fleet, Volumes]) -> None:
        self._outcomes = outcomes
        self._fleet, self._volumes = folds

    async def without(self, key: Key, store: Store, call: Callable[[], Awaitable[T]]) -> T:
        """The answer of a call of the driver that needs the disk without a layer, and raises `PinnedError` where it has one.

        Where the ledger knows of no pin there is hardly ever one, and the call looks itself: whatever a former life left is joined then,
        and the call made again.
        """
        disk = self._volumes.disks.get(key)
        if disk is not None and disk.snapshot is None:
            try:
                return await call()
            except PinnedError:
                pass  # joined below, or refused there
        await self.join(key, store)
        return await call()

    async def join(self, key: Key, store: Store) -> None:
        """The disk has no layer, and the ledger knows of no pin. Safe to repeat; raises what the driver does."""
        if not isinstance(store, Layered):
            return
        vm, disk = self._fleet.vms.get(key), self._volumes.disks.get(key)
        await store.join(Volume(*key), vm.domain if vm is not None else None)
        if vm is not None and disk is not None and disk.snapshot is not None:
            text = f"The pin of {vm.org}/{vm.name} was given up, for a copy of its disk."
            await self._outcomes.snapshot_failed(vm, disk.settled, JOINED, text)
