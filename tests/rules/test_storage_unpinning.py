"""Copies of disks with a layer above them: it is joined where there is one, whether the ledger knows of it or not."""

from collections import deque
from pathlib import Path

import pytest

from events.copy import CopyFailed, CopyMade, CopyRestored
from events.gate import RestoreOrdered
from events.ids import derive
from events.volume import SnapshotFailed, SnapshotTaken, VolumeGrown
from schemas.copy import CopyKind
from schemas.pool import Storage as Kind
from services.storage.copies.unpinning import JOINED
from services.storage.errors import StorageError
from services.storage.volumes import PinnedError, Volume
from tests.rules.desk import play
from tests.rules.shelf_site import MIB, Scene
from tests.simulation.clock import pause
from tests.simulation.shelves import ShelfLink


class Layered(ShelfLink):
    """A store whose volume may have a layer above it."""

    def __init__(self, scene: "Layers") -> None:
        super().__init__(scene.shelf, scene._way)
        self._scene = scene

    async def join(self, volume: Volume, domain: str | None = None) -> None:
        """The volume has no layer above it."""
        del domain

        def joined() -> None:
            self._scene.layers = 0

        await self._scene._way("join", volume, joined)


class Layers(Scene):
    """A VM with so many layers above its disk."""

    def __init__(self, directory: Path, layers: int) -> None:
        super().__init__(directory)
        self.layers = layers
        self.shelf.is_pinned = lambda _: self.layers > 0

    def store(self, host: str, storage: Kind) -> Layered:
        del host, storage
        return Layered(self)

    def pinned(self) -> None:
        """The ledger knows of the pin."""
        self.runs()
        self.site.desk.write(
            SnapshotTaken("acme", "db-0", "h1", "/a", 2, 1, self.site.desk.clock.now()),
        )

    def goes_back(self) -> None:
        """The VM's own disk shall be as its snapshot."""
        own, place = derive("back"), self.shelf.place(Volume("acme", "db-0"))
        kind: CopyKind = "snapshot"
        self.site.order(
            RestoreOrdered(
                *(own, "db-0", "apps", "h1", "db-0", "one", kind, place, "tiny", 8 * MIB, derive("r"))
            )
        )


@pytest.mark.parametrize(
    ("layers", "known", "asked"),
    [
        (0, False, ["snapshot"]),
        (1, False, ["snapshot", "join", "snapshot"]),
        (1, True, ["join", "snapshot"]),
        (0, True, ["join", "snapshot"]),
    ],
    ids=[
        "no layer",
        "a layer that nobody told of",
        "a pin",
        "a pin that a former life joined and did not tell",
    ],
)
def test_a_snapshot_is_taken_of_the_disk_without_a_layer(
    tmp_path: Path, *, layers: int, known: bool, asked: list[str]
) -> None:
    async def scene() -> None:
        here = Layers(tmp_path, layers)
        if known:
            here.pinned()
        async with here.storage():
            here.copy()
            await pause(5)
        (made,) = here.site.said(CopyMade)
        assert (made.disk_bytes, made.place) == (8 * MIB, here.shelf.place(Volume("acme", "db-0")))
        assert [one for one in here.asked if one in {"join", "snapshot", "look"}] == asked
        assert [one.code for one in here.site.said(SnapshotFailed)] == ([JOINED] if known else [])

    play(scene)


def test_a_restore_joins_a_layer_that_nobody_told_of(tmp_path: Path) -> None:
    async def scene() -> None:
        here = Layers(tmp_path, 0)
        async with here.storage():
            here.copy()
            await pause(5)
            here.layers = 1
            here.goes_back()
            await pause(5)
        assert len(here.site.said(CopyRestored)) == 1
        assert here.asked[-3:] == ["restore", "join", "restore"]

    play(scene)


def test_a_layer_that_cannot_be_joined_fails_the_copy_with_its_reason(tmp_path: Path) -> None:
    async def scene() -> None:
        here = Layers(tmp_path, 1)
        here.no["join"] = deque([PinnedError("It sleeps on disk with it.", final=True)])
        async with here.storage():
            here.copy()
            await pause(5)
        (failed,) = here.site.said(CopyFailed)
        assert (failed.code, failed.text) == ("VolumePinned", "It sleeps on disk with it.")

    play(scene)


def test_a_snapshot_that_is_told_of_late_counts_what_the_disk_had_when_it_was_taken(tmp_path: Path) -> None:
    async def scene() -> None:
        here = Layers(tmp_path, 0)
        here.shelf.snapshot(Volume("acme", "db-0"), "one", None)  # by a life that died before it said so
        async with here.storage():
            here.grow("db-0")
            await pause(5)
            assert len(here.site.said(VolumeGrown)) == 1
            here.no["snapshot"] = deque([StorageError("away", lost=True)])
            here.copy()
            await pause(5)
        (made,) = here.site.said(CopyMade)
        assert (made.disk_bytes, made.size_bytes) == (8 * MIB, 8 * MIB)

    play(scene)
