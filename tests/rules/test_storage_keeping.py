"""Storage and the disks of VMs that are kept for their own sake, killed at any moment."""

import datetime as dt
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import msgspec
import pytest

from events.gate import BootOrdered, GrowOrdered
from events.ids import derive
from events.keep import VmCreated
from events.pool import PoolDefined
from events.vault import VaultError
from events.volume import VolumeCreated, VolumeFailed, VolumeGrowFailed, VolumeGrown
from schemas.pool import Pool
from schemas.pool import Storage as Kind
from schemas.request import SeedRef
from schemas.seed import Seed
from services.storage.errors import StorageError
from services.storage.port import Made
from services.storage.volumes import InUseError, Seen, ShrinkError, Store, Volume
from services.storage.worker import Pauses, Storage
from tests.rules.desk import play
from tests.rules.one_life import one_life
from tests.rules.waker_host import SIZE, Site
from tests.simulation.clock import pause

GIB = 2**30
WHERE = "/volumes/acme.db.qcow2"
SEED = SeedRef("acme-db", "ab" * 32)
TOLD = msgspec.json.encode(Seed("i-1", "db", user_data=b"#cloud-config\n")).decode()


class Toy:
    """A host with a directory of disks: its volumes by name, what it was asked, and what it refuses next."""

    def __init__(self) -> None:
        self.sizes: dict[Volume, int] = {}
        self.claims: dict[Volume, str] = {}
        self.asked: list[str] = []
        self.no: deque[StorageError] = deque()
        self.late: deque[StorageError] = deque()
        """Errors that come although the call took effect."""
        self.unmounted = False
        self.seeds: list[Seed] = []

    def has_disk(self, template: str) -> bool:
        return template in {"tiny", "seeded"}

    def has_seed(self, template: str) -> bool:
        return template == "seeded"

    def template_bytes(self, template: str) -> int:
        raise AssertionError(template)

    async def enrol(self, org: str, quota_bytes: int) -> None:
        raise AssertionError((org, quota_bytes))

    def store(self, host: str, storage: Kind) -> Store | None:
        return cast("Store", self) if (host, storage) == ("h1", "local") else None

    def at(self, host: str) -> Any:
        return self if host == "h1" else None

    async def lay_seed(self, org: str, vm: str, seed: Seed) -> None:
        assert (org, vm) == ("acme", "db")
        self.seeds.append(seed)

    async def make(self, org: str, vm: str, template: str) -> Made:
        fresh = Volume(org, vm) not in self.sizes
        seen = await self.create(Volume(org, vm), 10 * GIB, template)
        return Made(seen.place, seen.size_bytes, fresh)

    async def claim(self, volume: Volume, order: str) -> bool:
        if self.unmounted:
            raise StorageError("The directory is not here.")
        if volume not in self.sizes:
            self.claims[volume] = order
        await pause(0.005)
        return self.claims.get(volume) == order

    async def look(self, volume: Volume) -> Seen | None:
        size = self.sizes.get(volume)
        return None if size is None else Seen(WHERE, size, "tiny", in_use=False)

    async def create(self, volume: Volume, size_bytes: int, template: str | None = None) -> Seen:
        assert template in {"tiny", "seeded"}
        return await self._become(volume, size_bytes, f"create {size_bytes // GIB}")

    async def grow(self, volume: Volume, size_bytes: int, domain: str | None = None) -> int:
        if size_bytes < self.sizes[volume]:
            raise ShrinkError("A volume never shrinks.", final=True)
        return (await self._become(volume, size_bytes, f"grow {size_bytes // GIB} {domain}")).size_bytes

    async def _become(self, volume: Volume, size_bytes: int, what: str) -> Seen:
        self.asked.append(what)
        await pause(0.01)
        if self.no:
            raise self.no.popleft()
        self.sizes[volume] = max(size_bytes, self.sizes.get(volume, 0))
        if self.late:
            raise self.late.popleft()
        await pause(0.01)
        return Seen(WHERE, self.sizes[volume], "tiny", in_use=False)


class Scene:
    """A desk whose org keeps VM db."""

    def __init__(self, words: Callable[[str, str], str | None] = lambda _name, _commitment: TOLD) -> None:
        self.site = Site()
        self.toy = Toy()
        self.words = words

    @asynccontextmanager
    async def storage(self) -> AsyncGenerator[None]:
        """One life of storage."""
        desk = self.site.desk
        async with one_life(
            desk,
            "storage",
            lambda ledger, bus: Storage(ledger, bus, desk.clock, self.toy, Pauses(0, 0), self.words).work(),
        ):
            yield

    def create(
        self,
        image: str = "tiny",
        storage: Kind = "local",
        seed: SeedRef | None = None,
        disk_bytes: int = 10 * GIB,
    ) -> str:
        """The VM is made and its first boot ordered; the order's id."""
        now = self.site.desk.clock.now()
        pool = Pool("acme", "apps", SIZE, image, kind="kept", storage=storage)
        self.site.desk.write(PoolDefined("acme", "apps", pool))
        self.site.desk.write(
            VmCreated(
                "acme", "db", "apps", SIZE, image, "cloud-init", "none", disk_bytes, seed, False, "kim", now
            )
        )
        return self.boot(image)

    def boot(self, image: str = "tiny", number: int = 1) -> str:
        own, begin_by = derive("boot", number), self.site.desk.clock.now() + dt.timedelta(seconds=180)
        self.site.order(BootOrdered(own, "db", "apps", "h1", SIZE, image, derive("r"), "keep", begin_by, 0))
        return own

    def grow(self, gib: int = 20) -> str:
        own = derive("grow", gib)
        self.site.order(GrowOrdered(own, "db", "apps", "h1", WHERE, gib * GIB, derive("r")))
        return own


def test_a_kept_vm_gets_a_disk_of_the_size_that_it_was_made_with() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            order = here.create()
            await pause(5)
        (made,) = here.site.said(VolumeCreated)
        assert (made.order, made.volume, made.size_bytes) == (order, WHERE, 10 * GIB)
        assert here.toy.asked == ["create 10"]

    play(scene)


@pytest.mark.parametrize("after_seconds", [0.0, 0.005, 0.012, 0.018, 0.03])
def test_killed_at_any_moment_a_disk_is_made_once_and_told_once(after_seconds: float) -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            here.create()
            await pause(after_seconds)
        async with here.storage():
            await pause(5)
        assert [made.size_bytes for made in here.site.said(VolumeCreated)] == [10 * GIB]
        assert list(here.toy.sizes.values()) == [10 * GIB]

    play(scene)


@pytest.mark.parametrize("disk_bytes", [0, 10 * GIB])
def test_a_new_vm_is_not_given_a_disk_that_a_vm_of_that_name_left(disk_bytes: int) -> None:
    async def scene() -> None:
        here = Scene()
        here.toy.sizes[Volume("acme", "db")] = 40 * GIB
        async with here.storage():
            order = here.create(disk_bytes=disk_bytes)
            await pause(5)
            (failed,) = here.site.said(VolumeFailed)
            assert failed.order == order
            assert f"{WHERE} is there already" in failed.text
            assert here.site.said(VolumeCreated) == []
            assert here.toy.sizes == {Volume("acme", "db"): 40 * GIB}
            here.toy.sizes.clear()  # it was moved away
            here.boot(number=2)
            await pause(5)
        assert [made.size_bytes for made in here.site.said(VolumeCreated)] == [10 * GIB]

    play(scene)


def test_what_a_boot_that_nobody_told_of_made_is_the_vms_at_the_next() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            here.create()
            await pause(0.022)
        assert here.toy.sizes == {Volume("acme", "db"): 10 * GIB}
        here.boot(number=2)
        async with here.storage():
            await pause(5)
        assert [made.size_bytes for made in here.site.said(VolumeCreated)] == [10 * GIB]

    play(scene)


def test_a_host_whose_directory_is_not_mounted_here_makes_its_disks_by_itself() -> None:
    async def scene() -> None:
        here = Scene()
        here.toy.unmounted = True
        async with here.storage():
            here.create(disk_bytes=0)
            await pause(5)
        assert len(here.site.said(VolumeCreated)) == 1

    play(scene)


def test_a_later_boot_finds_the_disk_as_large_as_it_has_grown() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            here.create()
            await pause(5)
            here.grow(20)
            await pause(5)
            here.boot(number=2)
            await pause(5)
        assert here.toy.sizes == {Volume("acme", "db"): 20 * GIB}
        assert len(here.site.said(VolumeCreated)) == 1

    play(scene)


@pytest.mark.parametrize("after_seconds", [0.0, 0.005, 0.012, 0.018, 0.03])
def test_killed_at_any_moment_a_disk_grows_once_and_that_is_told_once(after_seconds: float) -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            here.create()
            await pause(5)
            order = here.grow(20)
            await pause(after_seconds)
        async with here.storage():
            await pause(5)
        (grown,) = here.site.said(VolumeGrown)
        assert (grown.order, grown.size_bytes) == (order, 20 * GIB)
        assert here.site.said(VolumeGrowFailed) == []

    play(scene)


def test_what_the_host_refuses_again_and_again_is_told_with_the_size_that_the_disk_has() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            here.create()
            await pause(5)
            here.toy.no.extend(InUseError("It is open.") for _ in range(3))
            order = here.grow(20)
            await pause(10)
        (failed,) = here.site.said(VolumeGrowFailed)
        assert (failed.order, failed.size_bytes, failed.code) == (order, 10 * GIB, "VolumeInUse")

    play(scene)


def test_a_host_that_does_not_answer_is_waited_for_and_one_that_grew_after_all_is_believed() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            here.create()
            await pause(5)
            here.toy.late.append(StorageError("no connection", lost=True))
            here.grow(20)
            await pause(10)
        assert [grown.size_bytes for grown in here.site.said(VolumeGrown)] == [20 * GIB]
        assert here.site.said(VolumeGrowFailed) == []

    play(scene)


def test_nothing_shrinks_whoever_orders_it() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            here.create()
            await pause(5)
            here.grow(5)
            await pause(5)
        (failed,) = here.site.said(VolumeGrowFailed)
        assert (failed.code, failed.size_bytes) == ("ShrinkNotSupported", 10 * GIB)
        assert here.toy.sizes == {Volume("acme", "db"): 10 * GIB}

    play(scene)


def test_storage_that_is_not_there_is_said_and_nothing_boots() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            order = here.create(storage="ceph")
            await pause(5)
        (failed,) = here.site.said(VolumeFailed)
        assert failed.order == order
        assert "has no ceph storage" in failed.text
        assert here.toy.sizes == {}

    play(scene)


def test_a_vm_is_told_its_own_words_before_its_disk_is_said_to_be_there() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            here.create("seeded", seed=SEED)
            await pause(5)
        assert [(seed.hostname, seed.user_data) for seed in here.toy.seeds] == [("db", b"#cloud-config\n")]
        assert len(here.site.said(VolumeCreated)) == 1

    play(scene)


def test_a_vm_that_was_given_no_words_is_told_who_it_is_the_same_at_each_boot() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            here.create("seeded")
            await pause(5)
        async with here.storage():
            here.boot("seeded", number=2)
            await pause(5)
        assert len(here.toy.seeds) == 2
        assert len(set(here.toy.seeds)) == 1
        assert here.toy.seeds[0].hostname == "db"

    play(scene)


def altered(name: str, commitment: str) -> str | None:
    raise VaultError(f"What the vault holds as {name} is not what was committed to.{commitment[:0]}")


@pytest.mark.parametrize("words", [lambda _name, _commitment: None, lambda _name, _commitment: "{", altered])
def test_words_that_are_not_those_that_were_committed_to_boot_nothing(
    words: Callable[[str, str], str | None],
) -> None:
    async def scene() -> None:
        here = Scene(words)
        async with here.storage():
            here.create("seeded", seed=SEED)
            await pause(5)
        assert len(here.site.said(VolumeFailed)) == 1
        assert here.toy.seeds == []
        assert here.toy.sizes == {}

    play(scene)
