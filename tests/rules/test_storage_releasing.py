"""A disk in Ceph is freed for each boot and each reboot of its VM, and for no one else; storage may die at any moment of it."""

import asyncio
import datetime as dt
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from events.gate import BootOrdered, RebootOrdered
from events.host import HostFenced
from events.ids import derive
from events.keep import VmCreated
from events.pool import PoolDefined
from events.vm import VmBooted, VmQuiesced, VmRebootFailed
from events.volume import SnapshotFailed, VolumeCreated, VolumeFailed, VolumeReleased
from schemas.pool import Pool
from schemas.pool import Storage as Kind
from schemas.volume import ClusterSource, Source
from services.storage.errors import StorageError
from services.storage.keeping import BACKSTOP
from services.storage.volumes import InUseError, MissingError, Seen, Store, Volume
from services.storage.worker import Pauses, Storage
from tests.rules.desk import CONTRACT, play
from tests.rules.one_life import one_life
from tests.rules.waker_host import SIZE, Site
from tests.simulation.clock import pause

GIB = 2**30
IMAGE = "org-acme/db"
BOOT_SECONDS = 180
GRACE_SECONDS = 60
HELD = InUseError("Volume acme/db cannot be released: somebody has it open. Nothing was changed.")


class Toy:
    """A cluster that two hosts reach, neither of which has files; `held_until` is by the loop's time."""

    def __init__(self) -> None:
        self.sizes: dict[Volume, int] = {}
        self.claims: dict[Volume, str] = {}
        self.asked: list[str] = []
        self.no: deque[StorageError] = deque()
        self.held_until = 0.0
        self.enrolled: dict[str, int] = {}

    def has_disk(self, template: str) -> bool:
        return template == "tiny"

    def has_seed(self, template: str) -> bool:
        return False

    def template_bytes(self, template: str) -> int:
        return GIB if template == "tiny" else 0

    async def enrol(self, org: str, quota_bytes: int) -> None:
        self.asked.append("enrol")
        self.enrolled[org] = quota_bytes

    def store(self, host: str, storage: Kind) -> Store | None:
        return cast("Store", self) if storage == "ceph" else None

    def at(self, host: str) -> Any:
        return None

    async def look(self, volume: Volume) -> Seen | None:
        size = self.sizes.get(volume)
        return None if size is None else Seen(IMAGE, size, "templates/tiny@origin", in_use=False)

    async def create(self, volume: Volume, size_bytes: int, template: str | None = None) -> Seen:
        self.asked.append("create")
        await pause(0.01)
        self.sizes[volume] = max(size_bytes, self.sizes.get(volume, 0))
        await pause(0.01)
        return Seen(IMAGE, self.sizes[volume], f"templates/{template}@origin", in_use=False)

    async def claim(self, volume: Volume, order: str) -> bool:
        if volume not in self.sizes:
            self.claims[volume] = order
        return self.claims.get(volume) == order

    async def release(self, volume: Volume) -> Seen:
        self.asked.append("release")
        await pause(0.01)
        if self.no:
            raise self.no.popleft()
        if asyncio.get_running_loop().time() < self.held_until:
            raise HELD
        return Seen(IMAGE, self.sizes[volume], None, in_use=False)

    async def source(self, volume: Volume) -> Source:
        self.asked.append("source")
        await pause(0.01)
        return ClusterSource(IMAGE, ("127.0.0.1:3300",), "org-acme", "secret")


class Scene:
    """A desk whose org keeps VM db in a pool with its disks in Ceph."""

    def __init__(self) -> None:
        self.site = Site()
        self.toy = Toy()

    @asynccontextmanager
    async def storage(self) -> AsyncGenerator[None]:
        """One life of storage."""
        desk = self.site.desk
        async with one_life(
            desk,
            "storage",
            lambda ledger, bus: Storage(ledger, bus, desk.clock, self.toy, Pauses(0, 0)).work(),
        ):
            yield

    def create(self, disk_bytes: int = 10 * GIB) -> str:
        """The VM is made and its first boot ordered; the order's id."""
        now = self.site.desk.clock.now()
        self.define("ceph")
        self.site.desk.write(
            VmCreated("acme", "db", "apps", SIZE, "tiny", "lab", "none", disk_bytes, None, False, "kim", now)
        )
        return self.boot()

    def define(self, storage: Kind) -> None:
        self.site.desk.write(
            PoolDefined("acme", "apps", Pool("acme", "apps", SIZE, "tiny", kind="kept", storage=storage))
        )

    def boot(self, number: int = 1, host: str = "h1") -> str:
        own = derive("boot", number)
        begin_by = self.site.desk.clock.now() + dt.timedelta(seconds=BOOT_SECONDS)
        self.site.order(BootOrdered(own, "db", "apps", host, SIZE, "tiny", derive("r"), "keep", begin_by, 0))
        return own

    def booted(self, order: str, host: str = "h1") -> None:
        now = self.site.desk.clock.now()
        self.site.desk.write(VmBooted("acme", "db", host, order, now, now, 1))

    def reboot(self, former: str) -> str:
        own = derive("reboot", former)
        begin_by = self.site.desk.clock.now() + dt.timedelta(seconds=BOOT_SECONDS)
        self.site.order(
            RebootOrdered(
                own, "db", "apps", "h1", SIZE, "tiny", former, derive("r"), begin_by, 0, GRACE_SECONDS
            )
        )
        return own

    def hold(self, seconds: float) -> None:
        """Somebody has the disk open for so long, or is believed to live."""
        self.toy.held_until = asyncio.get_running_loop().time() + seconds

    def released(self) -> list[str]:
        return [one.order for one in self.site.said(VolumeReleased)]

    async def running(self) -> str:
        """The VM was made and runs; its reservation."""
        order = self.create()
        await pause(2)
        self.booted(order)
        return order


def test_an_org_is_enrolled_before_its_first_disk_with_a_quota_far_above_what_its_contract_allows() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            order = here.create()
            await pause(2)
            here.boot(number=2)
            await pause(2)
        allowed = CONTRACT.limit.block_bytes
        assert here.toy.asked[:4] == ["enrol", "create", "release", "source"]
        assert here.toy.asked.count("enrol") == 1
        assert here.toy.enrolled == {"acme": BACKSTOP * max(allowed, 10 * GIB)}
        (made,) = here.site.said(VolumeCreated)
        assert (made.order, made.volume, made.size_bytes) == (order, IMAGE, 10 * GIB)

    play(scene)


def test_each_boot_has_its_disk_freed_for_itself() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            first = here.create()
            await pause(2)
            second = here.boot(number=2)
            await pause(2)
        assert here.released() == [first, second]
        assert {(one.host, one.volume) for one in here.site.said(VolumeReleased)} == {("h1", IMAGE)}
        assert len(here.site.said(VolumeCreated)) == 1

    play(scene)


@pytest.mark.parametrize("after_seconds", [0.0, 0.005, 0.015, 0.025, 0.035, 0.045])
def test_killed_at_any_moment_storage_frees_a_disk_and_tells_it_once(after_seconds: float) -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            order = here.create()
            await pause(after_seconds)
        async with here.storage():
            await pause(2)
        assert here.released() == [order]
        assert len(here.site.said(VolumeCreated)) == 1

    play(scene)


def test_a_disk_that_a_dead_qemu_holds_is_waited_for() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            here.create()
            await pause(2)
            here.hold(30)
            order = here.boot(number=2)
            await pause(29)
            assert order not in here.released()
            await pause(3)
            assert here.released()[-1] == order

    play(scene)


def test_a_reboot_waits_until_the_former_life_closed_the_disk() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            former = await here.running()
            here.hold(45)
            order = here.reboot(former)
            await pause(44)
            assert here.released() == [former]
            await pause(3)
            assert here.released() == [former, order]

    play(scene)


def test_a_reboot_that_does_not_begin_frees_nothing() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            former = await here.running()
            here.hold(10)
            order = here.reboot(former)
            await pause(5)
            now = here.site.desk.clock.now()
            here.site.desk.write(VmRebootFailed("acme", "db", "h1", order, SIZE, "host-full", "No.", now))
            await pause(20)
        assert here.released() == [former]
        assert here.site.said(VolumeFailed) == []

    play(scene)


def test_a_disk_that_stays_in_use_ends_a_boot_at_its_deadline_and_a_reboot_when_its_guest_had_its_time() -> (
    None
):
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            former = await here.running()
            here.hold(10_000)
            order = here.reboot(former)
            await pause(BOOT_SECONDS + GRACE_SECONDS + 55)
            assert here.site.said(VolumeFailed) == []
            await pause(10)
            again = here.boot(number=2)
            await pause(BOOT_SECONDS - 5)
            assert len(here.site.said(VolumeFailed)) == 1
            await pause(10)
        failed = here.site.said(VolumeFailed)
        assert [(one.order, one.code) for one in failed] == [
            (order, "VolumeInUse"),
            (again, "VolumeInUse"),
        ]
        assert here.released() == [former]

    play(scene)


def test_a_cluster_that_does_not_answer_is_asked_again_and_an_image_that_is_gone_is_said_at_once() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            former = await here.running()
            here.toy.no.extend([StorageError("Ceph did not answer.", lost=True)] * 5)
            order = here.reboot(former)
            await pause(10)
            assert here.released() == [former, order]
            here.booted(order)
            here.toy.no.append(MissingError("There is no volume acme/db.", final=True))
            again = here.reboot(order)
            await pause(1)
        assert [(one.order, one.code) for one in here.site.said(VolumeFailed)] == [(again, "NoSuchVolume")]

    play(scene)


def test_a_vm_that_starts_on_another_host_has_the_disk_it_had() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            await here.running()
            now = here.site.desk.clock.now()
            here.site.desk.write(HostFenced("platform", "h1", "kim", "It burns.", now))
            await pause(1)
            here.hold(30)
            order = here.boot(number=2, host="h2")
            await pause(25)
            assert [one.host for one in here.site.said(VolumeCreated)] == ["h1", "h2"]
            assert order not in here.released()
            await pause(10)
        assert here.released()[-1] == order
        assert here.site.said(VolumeReleased)[-1].host == "h2"
        assert here.toy.sizes == {Volume("acme", "db"): 10 * GIB}

    play(scene)


def test_a_disk_stays_where_it_was_made_though_its_pool_is_defined_otherwise() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            await here.running()
            here.define("local")
            order = here.boot(number=2)
            await pause(2)
        assert here.released()[-1] == order
        assert here.site.said(VolumeFailed) == []

    play(scene)


def test_a_vm_that_names_no_size_has_its_templates_and_one_that_sleeps_is_not_pinned() -> None:
    async def scene() -> None:
        here = Scene()
        async with here.storage():
            order = here.create(disk_bytes=0)
            await pause(2)
            here.booted(order)
            here.site.desk.write(VmQuiesced("acme", "db", "h1", order, "found", here.site.desk.clock.now()))
            await pause(10)
        assert [one.size_bytes for one in here.site.said(VolumeCreated)] == [GIB]
        assert here.site.said(SnapshotFailed) == []

    play(scene)
