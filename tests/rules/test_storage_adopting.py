"""Storage and disks of somebody else's domains: taken once, or given back before anybody hears that it failed."""

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from events.keep import VmAdoptFailed
from events.volume import VolumeAdopted, VolumeAdoptFailed
from schemas.pool import Storage as Kind
from services.storage.errors import StorageError
from services.storage.formers import DomainRunsError
from services.storage.volumes import Former, Seen, Store, Volume
from services.storage.worker import Pauses, Storage
from tests.rules.desk import play
from tests.rules.leaving import FORMER, GIB, PLACE, UUID, Leaving
from tests.rules.one_life import one_life
from tests.rules.waker_host import Site
from tests.simulation.clock import pause


class Toy:
    """A host with a directory: what it was asked, what it refuses next, and where the disk lies."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.no: deque[StorageError] = deque()
        self.lies = "there"
        self.has = True

    def has_disk(self, template: str) -> bool:
        return template == "tiny"

    def has_seed(self, template: str) -> bool:
        return False

    def template_bytes(self, template: str) -> int:
        return GIB

    async def enrol(self, org: str, quota_bytes: int) -> None:
        raise AssertionError((org, quota_bytes))

    def store(self, host: str, storage: Kind) -> Store | None:
        return cast("Store", self) if (host, storage, self.has) == ("h1", "local", True) else None

    def at(self, host: str) -> Any:
        return None

    async def take(self, volume: Volume, former: Former) -> Seen:
        assert (former.domain, former.uuid, former.file, former.most_bytes) == (
            "old-db",
            UUID,
            FORMER,
            10 * GIB,
        )
        await self.ask("take")
        self.lies = "here"
        return Seen(PLACE, 9 * GIB, None, in_use=False)

    async def give_back(self, volume: Volume, former: Former) -> None:
        await self.ask("give back")
        self.lies = "there"

    async def ask(self, what: str) -> None:
        self.asked.append(what)
        await pause(0.01)
        if self.no:
            raise self.no.popleft()


class Scene:
    """A desk whose org adopts VM db."""

    def __init__(self) -> None:
        self.site = Site()
        self.there = Leaving(self.site)
        self.toy = Toy()
        self.there.keep()

    @asynccontextmanager
    async def storage(self) -> AsyncGenerator[None]:
        """One life of storage."""
        desk = self.site.desk
        async with one_life(
            desk,
            "storage",
            lambda ledger, bus: Storage(ledger, bus, desk.clock, cast("Any", self.toy), Pauses(0, 0)).work(),
        ):
            yield


def test_a_disk_is_taken_once_and_told_with_the_bytes_that_it_has() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            order = here.there.adopt()
            await pause(5)
        async with here.storage():
            await pause(60)
        assert here.toy.asked == ["take"]
        (told,) = here.site.said(VolumeAdopted)
        assert (told.order, told.former, told.volume, told.size_bytes) == (order.id, FORMER, PLACE, 9 * GIB)

    play(scene)


def test_a_host_that_is_away_is_waited_for_and_a_refusal_is_tried_three_times() -> None:
    async def scene() -> None:
        here = Scene()
        here.toy.no.extend(StorageError("libvirt is away.", lost=True) for _ in range(20))
        here.toy.no.extend(StorageError("No.") for _ in range(2))
        async with here.storage():
            here.there.adopt()
            await pause(3600)
        assert len(here.site.said(VolumeAdopted)) == 1
        assert here.site.said(VolumeAdoptFailed) == []

    play(scene)


@pytest.mark.parametrize("refusals", [[DomainRunsError("It runs.")], [StorageError("No.")] * 3])
def test_an_adoption_that_fails_is_undone_before_it_is_told(refusals: list[StorageError]) -> None:
    async def scene() -> None:
        here = Scene()
        here.toy.no.extend([*refusals, StorageError("The disk is full."), StorageError("Still.")])
        async with here.storage():
            order = here.there.adopt()
            await pause(600)
        assert here.toy.asked == ["take"] * len(refusals) + ["give back"] * 3
        assert [(told.order, told.code) for told in here.site.said(VolumeAdoptFailed)] == [
            (order.id, refusals[0].code)
        ]
        assert here.site.said(VolumeAdopted) == []

    play(scene)


def test_a_disk_goes_back_when_the_waker_may_not_undefine_its_domain() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            order = here.there.adopt()
            await pause(5)
            assert here.toy.lies == "here"
            now = here.site.desk.clock.now()
            here.site.desk.write(
                VmAdoptFailed("acme", "db", "h1", order.id, "domain-runs", "The domain runs.", now)
            )
            await pause(5)
        assert here.toy.lies == "there"
        (told,) = here.site.said(VolumeAdoptFailed)
        assert (told.order, told.text) == (order.id, "The domain runs.")

    play(scene)


@pytest.mark.parametrize("after_seconds", [0.0, 0.005, 0.011, 0.015, 0.025])
@pytest.mark.parametrize("fails", [False, True])
def test_storage_that_is_killed_at_any_moment_ends_the_adoption_once(
    after_seconds: float, *, fails: bool
) -> None:
    async def scene() -> None:
        here = Scene()
        if fails:
            here.toy.no.append(DomainRunsError("It runs."))
        async with here.storage():
            await pause(1)
            order = here.there.adopt()
            await pause(after_seconds)
        async with here.storage():
            await pause(60)
        outcomes = {
            told.order for kind in (VolumeAdopted, VolumeAdoptFailed) for told in here.site.said(kind)
        }
        assert outcomes == {order.id}
        assert here.toy.lies == ("there" if here.site.said(VolumeAdoptFailed) else "here")

    play(scene)


def test_a_pool_without_storage_on_that_host_adopts_nothing() -> None:
    async def scene() -> None:
        here = Scene()
        here.toy.has = False
        async with here.storage():
            here.there.adopt()
            await pause(60)
        assert [told.code for told in here.site.said(VolumeAdoptFailed)] == ["NoStore"]

    play(scene)
