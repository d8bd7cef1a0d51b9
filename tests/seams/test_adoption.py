"""A guest that somebody made by hand becomes a kept VM with its data, and in the end nothing is left of it: a real libvirtd, real guests.

The ledger is in memory; what the gate orders is put into it.
"""

import asyncio
import datetime as dt
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import libvirt
import pytest
import pytest_asyncio

from events.bus.ledger import Ledger
from events.bus.permissions import worker
from events.deletion import VmUndefined, VolumeErased
from events.gate import AdoptOrdered, BootOrdered, StopOrdered
from events.ids import derive
from events.keep import VmAdopted, VmAdoptFailed
from events.vm import VmBooted, VmDefined, VmStopped
from events.volume import VolumeAdopted, VolumeAdoptFailed
from lab import accelerator, guest, hypervisor, template
from schemas.capacity import Size
from schemas.house import HostPlace
from schemas.pool import Storage as Kind
from services.storage.files.directory import Directory
from services.storage.files.qcow2 import Qcow2
from services.storage.port import Volumes
from services.storage.volumes import Store, Volume
from services.storage.worker import Pauses, Storage
from services.waker.libvirt.hypervisor import Libvirt
from services.waker.port import domain_name
from tests.rules.leaving import Leaving
from tests.rules.waker_host import Site
from tests.support import eventually, free_port

in_one_loop = pytest.mark.asyncio(loop_scope="module")

SECONDS = 60
MIB = 1 << 20
SIZE = Size("vs.tiny", 1, 96)
NAME = domain_name("acme", "db")


@dataclass
class World:
    """One host with its waker and storage, and a directory where somebody else keeps images."""

    machine: hypervisor.Hypervisor
    site: Site
    there: Leaving
    templates: Path
    disks: Qcow2
    files: Directory

    def has_disk(self, template: str) -> bool:
        return template == "tiny"

    def has_seed(self, template: str) -> bool:
        return False

    def template_bytes(self, template: str) -> int:
        raise AssertionError(template)

    async def enrol(self, org: str, quota_bytes: int) -> None:
        raise AssertionError((org, quota_bytes))

    def store(self, host: str, storage: Kind) -> Store | None:
        return self.files if (host, storage) == ("h1", "local") else None

    def at(self, host: str) -> Volumes | None:
        return self.disks if host == "h1" else None

    @property
    def images(self) -> Path:
        return self.machine.directory / "images"

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

    async def by_hand(self, name: str) -> tuple[str, Path]:
        """A domain that somebody made from a copy of the template, and that has written a file; its uuid and its disk."""
        own, port, file = str(uuid.uuid4()), free_port(), self.images / f"{name}.qcow2"
        self.images.mkdir(exist_ok=True)
        self.images.chmod(0o755)
        base = self.templates / "tiny" / "disk.qcow2"
        command = ["qemu-img", "convert", "-O", "qcow2", str(base), str(file)]
        await asyncio.to_thread(subprocess.run, command, check=True, timeout=SECONDS)
        file.chmod(0o666)
        described = (self.templates / "tiny" / "domain.xml").read_text()
        values = {"name": name, "uuid": own, "vcpu": 1, "most_vcpu": 1, "memory_mib": 96}
        filled = described.format(**values, address="127.0.0.1", port=port, disk=file)
        self.hand(lambda connection: connection.defineXML(filled).create())
        await eventually(lambda: self.answers(f"127.0.0.1:{port}"), SECONDS, every_seconds=0.1)
        async with httpx.AsyncClient(timeout=10) as client:
            where = f"http://127.0.0.1:{port}/cgi-bin/disk?ours"
            (await client.post(where, content="from before")).raise_for_status()
        self.hand(lambda connection: connection.lookupByName(name).destroy())
        return own, file

    def hand(self, does: Callable[[libvirt.virConnect], object]) -> object:
        """Somebody's hand on the hypervisor."""
        with libvirt.open(self.machine.uri) as connection:
            return does(connection)

    async def answers(self, address: str) -> bool:
        async with httpx.AsyncClient(timeout=1) as client:
            try:
                return (await client.get(f"http://{address}/healthz")).is_success
            except httpx.TransportError:
                return False

    def names(self) -> list[str]:
        """Every domain of the host."""
        with libvirt.open(self.machine.uri) as connection:
            return sorted(one.name() for one in connection.listAllDomains())

    def adopt(self, number: int, domain: str, own: str, file: Path) -> AdoptOrdered:
        order = AdoptOrdered(
            derive("adopt", number), "db", "apps", "h1", domain, own, str(file), 64 * MIB, "tiny", derive("r")
        )
        self.site.order(order)
        return order

    async def boot(self, number: int) -> str:
        """The VM is started and its guest answers; its address."""
        own, begin_by = derive("boot", number), self.site.desk.clock.now() + dt.timedelta(seconds=180)
        self.site.order(BootOrdered(own, "db", "apps", "h1", SIZE, "tiny", derive("r"), "keep", begin_by, 0))
        await eventually(lambda: own in [one.reservation for one in self.site.said(VmBooted)], SECONDS)
        address = self.site.said(VmDefined)[-1].address
        await eventually(lambda: self.answers(address), SECONDS, every_seconds=0.1)
        return address

    async def stop(self, number: int) -> None:
        own = derive("boot", number)
        self.site.order(StopOrdered(derive("stop", number), "db", "apps", "h1", own, derive("r"), 0))
        await eventually(lambda: own in [one.reservation for one in self.site.said(VmStopped)], SECONDS)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    directory = Path(tempfile.mkdtemp(prefix="vs-", dir="/tmp"))
    directory.chmod(0o711)
    machine = hypervisor.Hypervisor(directory / "h")
    image = await guest.build(guest.cache_directory())
    verdict = await accelerator.probe(image)
    await machine.start()
    try:
        templates = directory / "templates"
        consoles = machine.directory / "console"
        template.write(templates / "tiny", image, verdict.accelerator, consoles, disk_mib=64)
        place = HostPlace(
            "h1", machine.uri, verdict.accelerator, 1024, free_port(), volumes=str(machine.volumes)
        )
        waker = Libvirt(place, templates)
        site = Site(waker, place)
        there = Leaving(site)
        there.keep()
        files = Directory(place, templates, site.desk.clock)
        async with site.waker():
            yield World(machine, site, there, templates, Qcow2(place, templates), files)
        await waker.close()
        await machine.destroy_domains()
    finally:
        await machine.stop()
        shutil.rmtree(directory)


@in_one_loop
async def test_a_guest_made_by_hand_boots_in_the_pool_with_its_data_and_in_the_end_nothing_is_left(
    world: World,
) -> None:
    own, file = await world.by_hand("old-db")
    async with world.storage():
        order = world.adopt(1, "old-db", own, file)
        await eventually(lambda: world.site.said(VmAdopted), SECONDS)
        (taken,) = world.site.said(VolumeAdopted)
        volume = str(world.machine.volumes / "acme.db.qcow2")
        assert (taken.order, taken.former, taken.volume) == (order.id, str(file), volume)
        assert world.names() == []
        assert not file.exists()
        address = await world.boot(1)
        async with httpx.AsyncClient(timeout=10) as client:
            assert (await client.get(f"http://{address}/cgi-bin/disk?ours")).text == "from before"
        await world.stop(1)

        # The end: asleep on disk by somebody's hand, with snapshots, and with leftovers of every kind.
        await world.files.snapshot(Volume("acme", "db"), "one")
        world.hand(lambda connection: connection.lookupByName(NAME).create())
        world.hand(lambda connection: connection.lookupByName(NAME).managedSave(0))
        volumes = world.machine.volumes
        others = [volumes / "acme.db-2.qcow2", volumes / ".trash" / "acme.db-2.17" / "acme.db-2.qcow2"]
        trashed = volumes / ".trash" / "acme.db.17" / "acme.db.qcow2"
        mine = ("acme.db.s17.qcow2", "acme.db.seed.iso", "acme.db.qcow2.part", "acme.db.ephemeral.qcow2")
        for path in (*others, trashed, *(volumes / one for one in mine)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        world.there.schedule()
        erase = world.there.erase(volume=volume)
        await eventually(lambda: world.site.said(VolumeErased), SECONDS)
    assert [one.order for one in world.site.said(VmUndefined)] == [erase.id]
    assert world.names() == []
    left = sorted(str(path) for path in volumes.rglob("*") if path.is_file())
    assert left == sorted(map(str, others))
    saved = [path for path in world.machine.directory.rglob("*.save") if NAME in path.name]
    assert saved == []


@pytest.mark.long
@in_one_loop
async def test_a_guest_that_somebody_starts_again_stays_theirs(world: World) -> None:
    own, file = await world.by_hand("old-web")
    world.hand(lambda connection: connection.lookupByName("old-web").create())
    async with world.storage():
        order = world.adopt(2, "old-web", own, file)
        await eventually(lambda: world.site.said(VolumeAdoptFailed), SECONDS)
    told = world.site.said(VolumeAdoptFailed)[-1]
    assert (told.order, told.code) == (order.id, "DomainRuns")
    assert world.site.said(VmAdoptFailed) == []
    assert world.names() == ["old-web"]
    assert sorted(path.name for path in world.images.glob("old-web*")) == ["old-web.qcow2"]
    world.hand(lambda connection: connection.lookupByName("old-web").destroy())
    world.hand(lambda connection: connection.lookupByName("old-web").undefine())
