"""One life's access to the volumes of a simulated host; `services.storage.volumes.Store` says what its methods promise."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar

from schemas.volume import FileSource, Source
from services.storage.volumes import Copy, Former, Seen, Snapshot, Trashed, Volume, stranger
from tests.simulation.shelf import Shelf

T = TypeVar("T")


class Way(Protocol):
    """How a call gets to the shelf: it takes its time, and may fail, be lost or land late."""

    def __call__(self, what: str, volume: Volume | None, effect: Callable[[], T]) -> Awaitable[T]:
        """The effect's answer."""
        ...


async def straight(what: str, volume: Volume | None, effect: Callable[[], T]) -> T:
    """Nothing happens on the way."""
    del what, volume
    return effect()


class ShelfLink:
    """A store whose volumes are on a shelf."""

    def __init__(self, shelf: Shelf, way: Way = straight) -> None:
        self._shelf = shelf
        self._way = way

    async def create(self, volume: Volume, size_bytes: int, template: str | None = None) -> Seen:
        """There is a volume of that size."""
        return await self._way("create", volume, lambda: self._shelf.create(volume, size_bytes, template))

    async def look(self, volume: Volume) -> Seen | None:
        """The volume as it is."""
        return await self._way("look", volume, lambda: self._shelf.look(volume))

    async def grow(self, volume: Volume, size_bytes: int, domain: str | None = None) -> int:
        """The volume has this size."""
        return await self._way("grow", volume, lambda: self._shelf.grow(volume, size_bytes, domain))

    async def snapshot(self, volume: Volume, name: str, domain: str | None = None) -> Snapshot:
        """The contents are kept under this name."""
        return await self._way("snapshot", volume, lambda: self._shelf.snapshot(volume, name, domain))

    async def snapshots(self, volume: Volume) -> tuple[Snapshot, ...]:
        """What is kept."""
        return await self._way("list", volume, lambda: self._shelf.snapshots(volume))

    async def restore(self, volume: Volume, name: str, size_bytes: int) -> Seen:
        """The volume is as it was."""
        return await self._way("restore", volume, lambda: self._shelf.restore(volume, name, size_bytes))

    async def forget(self, volume: Volume, name: str, domain: str | None = None) -> None:
        """There is no such snapshot."""
        await self._way("forget", volume, lambda: self._shelf.forget(volume, name, domain))

    async def clone(self, volume: Volume, name: str, to: Volume) -> Seen:
        """There is a volume with the snapshot's contents."""
        return await self._way("clone", to, lambda: self._shelf.clone(volume, name, to))

    async def duplicate(self, volume: Volume, name: str, to: Volume, order: str) -> Seen:
        """There is a volume with the snapshot's contents that stands alone; whoever asked may die at each step to it."""
        if not await self.claim(to, order):
            raise stranger(to, self._shelf.place(to))
        await self.clone(volume, name, to)
        return await self.detach(to)

    async def detach(self, volume: Volume) -> Seen:
        """The volume lies over nothing."""
        return await self._way("detach", volume, lambda: self._shelf.detach(volume))

    async def release(self, volume: Volume) -> Seen:
        """Nobody who died holds it."""
        return await self._way("release", volume, lambda: self._shelf.release(volume))

    async def trash(self, volume: Volume, guard_seconds: int) -> Trashed:
        """The volume is in the trash."""
        return await self._way("trash", volume, lambda: self._shelf.trash(volume, guard_seconds))

    async def trashed(self, org: str) -> tuple[Trashed, ...]:
        """The org's trash."""
        return await self._way("list", None, lambda: self._shelf.trashed(org))

    async def recover(self, trashed: Trashed) -> Seen:
        """The volume is back."""
        return await self._way("recover", trashed.volume, lambda: self._shelf.recover(trashed))

    async def purge(self, trashed: Trashed) -> None:
        """It is gone."""
        await self._way("purge", trashed.volume, lambda: self._shelf.purge(trashed))

    async def claim(self, volume: Volume, order: str) -> bool:
        """Whether the volume is the order's."""
        return await self._way("claim", volume, lambda: self._shelf.claim(volume, order))

    async def sweep(self, volume: Volume) -> None:
        """Nothing is left of its making."""
        await self._way("sweep", volume, lambda: self._shelf.sweep(volume))

    async def discard(self, volume: Volume, order: str) -> None:
        """Nothing is left of it, where it is the order's."""
        await self._way("discard", volume, lambda: self._shelf.discard(volume, order))

    async def export(self, volume: Volume, name: str | None, file: Path) -> Copy:
        """The file holds the contents."""
        return await self._way("export", volume, lambda: self._shelf.export(volume, name, file))

    async def load(self, copy: Copy, volume: Volume) -> Seen:
        """There is a volume with the copy's contents."""
        return await self._way("load", volume, lambda: self._shelf.load(copy, volume))

    async def take(self, volume: Volume, former: Former) -> Seen:
        """The former domain's disk is the volume."""
        return await self._way("take", volume, lambda: self._shelf.take(volume, former))

    async def give_back(self, volume: Volume, former: Former) -> None:
        """The disk is its former domain's again."""
        await self._way("give back", volume, lambda: self._shelf.give_back(volume, former))

    async def source(self, volume: Volume) -> Source:
        """Its file."""
        return await self._way("name", volume, lambda: FileSource(self._shelf.seen(volume).place))

    async def close(self) -> None:
        """There is no child."""
