"""Storage and waker with a real libvirtd and a real guest that has a disk; the ledger is in memory."""

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import libvirt
import pytest
import pytest_asyncio

from events.bus.ledger import Ledger
from events.bus.permissions import worker
from events.clock import SystemClock
from events.gate import SaveOrdered
from events.ids import derive
from events.vm import VmBooted, VmDefined, VmQuiesced, VmResumed, VmSaved
from events.volume import SnapshotFailed, SnapshotTaken, VolumeCreated
from lab import accelerator, guest, hypervisor, template
from schemas.capacity import Size
from schemas.house import HostPlace
from schemas.pool import Storage as Kind
from services.storage.copies.freezing import Freezer
from services.storage.files.directory import Directory
from services.storage.files.qcow2 import Qcow2
from services.storage.port import Sleeper, Volumes
from services.storage.volumes import PinnedError, Store, Volume
from services.storage.worker import Pauses, Storage
from services.waker.libvirt.hypervisor import Libvirt
from services.waker.port import domain_name
from tests.rules.waker_host import Site
from tests.support import eventually, free_port

in_one_loop = pytest.mark.asyncio(loop_scope="module")

BOOT_SECONDS = 60
NAME = domain_name("acme", "web-1")


@dataclass
class World:
    """One host with one guest, web-1, its waker and storage; `reservation` is what the guest is awake under."""

    machine: hypervisor.Hypervisor
    site: Site
    disks: Qcow2
    reservation: str = ""
    number: int = 1

    def has_disk(self, template: str) -> bool:
        return template == "tiny"

    def has_seed(self, template: str) -> bool:
        return False

    def template_bytes(self, template: str) -> int:
        raise AssertionError(template)

    async def enrol(self, org: str, quota_bytes: int) -> None:
        raise AssertionError((org, quota_bytes))

    def store(self, host: str, storage: Kind) -> Store | None:
        return None

    def at(self, host: str) -> Volumes | None:
        return self.disks if host == "h1" else None

    @asynccontextmanager
    async def storage(self) -> AsyncGenerator[None]:
        """One life of storage."""
        bus = self.site.desk.connect(worker("storage"))
        ledger = Ledger(bus)
        working = Storage(ledger, bus, self.site.desk.clock, self, Pauses(0, 0)).work()
        tasks = [asyncio.create_task(working), asyncio.create_task(ledger.follow())]
        try:
            yield
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await bus.close()

    @property
    def volume(self) -> str:
        return self.site.said(VolumeCreated)[-1].volume

    @property
    def chain(self) -> list[str]:
        """The files of the guest's disk above its template's, as libvirt has them, the one written to first."""
        with libvirt.open(self.machine.uri) as connection:
            described = connection.lookupByName(NAME).XMLDesc()
        found = [part.partition("'")[0] for part in described.split("<source file='")[1:]]
        return [Path(one).name for one in found if one.startswith(str(self.machine.volumes))]

    async def write(self, name: str, text: str) -> None:
        await self._ask("POST", name, text)

    async def read(self, name: str) -> str:
        return await self._ask("GET", name, "")

    async def _ask(self, method: str, name: str, text: str) -> str:
        address = self.site.said(VmDefined)[-1].address
        async with httpx.AsyncClient(timeout=10) as client:
            answer = await client.request(method, f"http://{address}/cgi-bin/disk?{name}", content=text)
        return answer.raise_for_status().text

    async def _healthz(self) -> bool:
        address = self.site.said(VmDefined)[-1].address
        async with httpx.AsyncClient(timeout=1) as client:
            try:
                return (await client.get(f"http://{address}/healthz")).is_success
            except httpx.TransportError:
                return False

    async def boot(self) -> None:
        self.number += 1
        self.reservation = self.site.boot("web-1", self.number)
        await eventually(lambda: self.reservation in _reservations(self.site, VmBooted), BOOT_SECONDS)
        await eventually(self._healthz, BOOT_SECONDS, every_seconds=0.05)
        self.site.ready("web-1", self.reservation)

    async def wake(self) -> None:
        self.number += 1
        self.reservation = self.site.wake("web-1", self.number)
        await eventually(lambda: self.reservation in _reservations(self.site, VmResumed))
        self.site.ready("web-1", self.reservation)
        await eventually(self._healthz, every_seconds=0.05)

    async def sleep(self) -> None:
        self.site.suspend("web-1", self.reservation)
        await eventually(lambda: self.reservation in _reservations(self.site, VmQuiesced))

    async def pinned(self) -> SnapshotTaken:
        """The guest falls asleep, and its disk is pinned."""
        before = len(self.site.said(SnapshotTaken))
        await self.sleep()
        return (await eventually(lambda: self.site.said(SnapshotTaken)[before:]))[0]


def _reservations(site: Site, kind: type) -> list[str]:
    return [said.reservation for said in site.said(kind)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    directory = Path(tempfile.mkdtemp(prefix="vs-", dir="/tmp"))
    machine = hypervisor.Hypervisor(directory)
    image = await guest.build(guest.cache_directory())
    verdict = await accelerator.probe(image)
    await machine.start()
    try:
        templates = directory / "templates"
        template.write(templates / "tiny", image, verdict.accelerator, directory / "console", disk_mib=64)
        place = HostPlace(
            "h1", machine.uri, verdict.accelerator, 1024, free_port(), volumes=str(machine.volumes)
        )
        waker = Libvirt(place, templates)
        site = Site(waker, place)
        site.size = Size("vs.tiny", 1, 96)
        world = World(machine, site, Qcow2(place, templates))
        async with site.waker():
            yield world
        await waker.close()
        await machine.destroy_domains()
    finally:
        await machine.stop()
        shutil.rmtree(directory)


@in_one_loop
async def test_a_boot_waits_for_its_disk_and_what_is_written_survives_sleep_after_sleep(world: World) -> None:
    async with world.storage():
        await world.boot()
        made = world.site.said(VolumeCreated)
        assert [(one.template, one.size_bytes) for one in made] == [("tiny", 64 << 20)]
        await world.write("first", "one")
        for sleep in range(3):
            taken = await world.pinned()
            assert (taken.snapshot, taken.layers) == (world.volume, 2)
            assert world.chain == [f"acme.web-1.s{taken.asleep_since}.qcow2", "acme.web-1.qcow2"]
            await world.wake()
            await world.write(f"after-{sleep}", str(sleep))
        assert await world.read("first") == "one"
        assert [await world.read(f"after-{sleep}") for sleep in range(3)] == ["0", "1", "2"]
    assert not world.site.said(SnapshotFailed)
    assert len(list(world.machine.volumes.iterdir())) == 2


@in_one_loop
async def test_a_pin_holds_the_disk_as_it_was_when_the_guest_fell_asleep(world: World) -> None:
    async with world.storage():
        await world.write("kept", "as it was")
        taken = await world.pinned()
        await world.wake()
        await world.write("kept", "changed since")
    copy = world.machine.directory / "copy.raw"
    # The guest writes elsewhere: its pinned file can be copied while it works.
    subprocess.run(["qemu-img", "convert", "-U", "-O", "raw", taken.snapshot, copy], check=True, timeout=30)
    pinned = copy.read_bytes()
    assert b"as it was" in pinned
    assert b"changed since" not in pinned


@in_one_loop
async def test_a_pin_that_landed_before_storage_died_is_told_by_its_next_life_and_not_repeated(
    world: World,
) -> None:
    before = len(world.site.said(SnapshotTaken))
    await world.sleep()
    sleep = max(one.seq for one in world.site.desk.facts(VmQuiesced))
    sleeper = Sleeper(NAME, world.volume)
    await world.disks.join(sleeper, lambda: True)
    await world.disks.pin(sleeper, sleep)
    files = world.chain
    async with world.storage():
        (taken,) = await eventually(lambda: world.site.said(SnapshotTaken)[before:])
    assert taken.asleep_since == sleep
    assert world.chain == files
    await world.wake()


@in_one_loop
async def test_a_disk_of_one_layer_is_not_joined_into_its_template(world: World) -> None:
    base = world.machine.directory / "templates" / "tiny" / "disk.qcow2"
    await world.sleep()
    sleeper = Sleeper(NAME, world.volume)
    await world.disks.join(sleeper, lambda: True)
    assert world.chain == ["acme.web-1.qcow2"]
    # Writable for the guests' user, it would take what it is given.
    base.chmod(0o666)
    before = base.read_bytes()
    await world.disks.join(sleeper, lambda: True)
    assert world.chain == ["acme.web-1.qcow2"]
    assert base.read_bytes() == before
    await world.wake()


@in_one_loop
async def test_a_guest_that_was_saved_goes_on_with_its_disk_and_keeps_the_pin_it_has(world: World) -> None:
    async with world.storage():
        taken = await world.pinned()
        order = SaveOrdered(
            derive("save", world.number), "web-1", "web", "h1", taken.asleep_since, derive("request", "web-1")
        )
        world.site.order(order)
        await eventually(lambda: [one.order for one in world.site.said(VmSaved)] == [order.id], 30)
        await world.wake()
        assert world.site.said(VmResumed)[-1].depth == "saved"
        assert world.chain == [f"acme.web-1.s{taken.asleep_since}.qcow2", "acme.web-1.qcow2"]
        assert await world.read("first") == "one"
        await world.write("after-a-save", "goes on")
        assert (await world.pinned()).layers == 2
        await world.wake()
        assert await world.read("after-a-save") == "goes on"


@in_one_loop
async def test_a_join_that_a_dead_storage_left_behind_is_ended_when_the_vm_is_awake(world: World) -> None:
    async with world.storage():
        await world.pinned()
        await world.wake()
    await world.sleep()
    sleeper = Sleeper(NAME, world.volume)
    await world.disks._call(world.disks._pinning, "join", lambda: world.disks._begin_join(sleeper))
    await world.wake()
    assert (await world.disks.look(sleeper)).joining
    async with world.storage():
        failed = await eventually(lambda: world.site.said(SnapshotFailed))
    assert failed[-1].code == "unpinned"
    look = await world.disks.look(sleeper)
    assert (look.joining, look.layers) == (False, 2)
    assert await world.read("first") == "one"


@in_one_loop
async def test_a_guest_stands_still_for_a_moment_and_one_that_was_left_so_moves_again(world: World) -> None:
    if not world.reservation:
        async with world.storage():
            await world.boot()
    await world.write("moving", "yes")
    still = Freezer(lambda _: world.disks._place).still
    async with still("h1", NAME) as stands:
        assert stands
        writing = asyncio.create_task(world.write("moving", "not yet"))
        done, _ = await asyncio.wait({writing}, timeout=0.5)
        assert not done
        # As one finds it whose former life died just now.
        async with Freezer(lambda _: world.disks._place).still("h1", NAME) as again:
            assert not again
        await writing
    assert await world.read("moving") == "not yet"


@in_one_loop
async def test_a_guest_that_slept_and_woke_has_its_disk_snapshotted_grown_and_copied_and_sleeps_again(
    world: World,
) -> None:
    if not world.reservation:
        async with world.storage():
            await world.boot()
    files = Directory(world.disks._place, world.machine.directory / "templates", SystemClock())
    volume, copy = Volume("acme", "web-1"), world.machine.directory / "copies" / "web-1.qcow2"
    copy.parent.mkdir()
    async with world.storage():
        await world.pinned()
        await world.wake()
        await world.write("joined", "before")
        with pytest.raises(PinnedError):
            await files.snapshot(volume, "one", NAME)
        assert await files.grow(volume, 80 << 20, NAME) == 80 << 20
        await files.join(volume, NAME)
        assert world.chain == ["acme.web-1.qcow2"]
        assert [path.name for path in world.machine.volumes.iterdir()] == ["acme.web-1.qcow2"]
        await files.snapshot(volume, "one", NAME)
        await world.write("joined", "after")
        assert (await files.export(volume, "one", copy)).size_bytes == 80 << 20
        await files.forget(volume, "one", NAME)
        await world.pinned()
        await files.join(volume, NAME)
        assert world.chain == ["acme.web-1.qcow2"], "also while the guest sleeps"
        await world.wake()
        assert await world.read("joined") == "after"
        await world.pinned()
        await world.wake()
    raw = world.machine.directory / "joined.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", copy, raw], check=True, timeout=30)
    assert b"before" in raw.read_bytes()
    await files.close()


@pytest.mark.long
@in_one_loop
async def test_a_guest_boots_again_from_the_layer_it_wrote_last(world: World) -> None:
    async with world.storage():
        await world.pinned()
        await world.wake()
        await world.write("last", "before the crash")
        with libvirt.open(world.machine.uri) as connection:
            domain = connection.lookupByName(NAME)
            domain.destroy()
            domain.undefine()
        await eventually(lambda: world.site.names()[-1] == "vm.stopped")
        await world.boot()
        assert await world.read("last") == "before the crash"
        taken = await world.pinned()
        assert taken.layers == 2
        await world.wake()
        assert await world.read("first") == "one"
