"""A guest that somebody made by hand is adopted into a pool in Ceph, and its image compared from then on: every part of the house real."""

import asyncio
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import libvirt
import pytest
import pytest_asyncio

from events.drift import VolumeDrifted, VolumeSettled
from events.keep import VmAdopted, VmCreated
from events.volume import VolumeAdopted, VolumeFailed
from tests.seams.client import Client
from tests.seams.crew import Crew
from tests.seams.foreigners import BYTES, foreigner, make_disk
from tests.seams.house import Done, a_client, a_world, run, waker_of
from tests.support import eventually, free_port
from virtscale.world import World

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

WORKERS = ("signal", "gate", "storage", "prober")
BOOT_SECONDS = 90.0
MIB = 1 << 20


@dataclass
class House:
    """A house of two hosts with a cluster, and what somebody does there by hand."""

    world: World
    crew: Crew
    client: Client

    async def command(self, *words: str) -> Done:
        program = Path(sys.executable).with_name("virtscale")
        done = await run(program, *words, house=self.world.directory, deadline_seconds=BOOT_SECONDS)
        assert done.code == 0, done.err + done.out
        return done

    @property
    def images(self) -> Path:
        """Where somebody keeps disks on the first host."""
        return Path(self.world.house.hosts[0].volumes).parent / "images"

    def by_hand(self, name: str) -> tuple[Path, str]:
        """A domain that somebody made from a copy of the template's disk, and that runs; its disk and its address."""
        file, port, template = (
            self.images / f"{name}.qcow2",
            free_port(),
            Path(self.world.house.templates) / "tiny",
        )
        self.images.mkdir(exist_ok=True)
        self.images.chmod(0o755)
        subprocess.run(
            ["qemu-img", "convert", "-O", "qcow2", str(template / "disk.qcow2"), str(file)],
            check=True,
            timeout=60,
        )
        file.chmod(0o666)
        described = (template / "domain.xml").read_text()
        values = {"name": name, "uuid": str(uuid.uuid4()), "vcpu": 1, "most_vcpu": 1, "memory_mib": 96}
        filled = described.format(**values, address="127.0.0.1", port=port, disk=file)
        with libvirt.open(self.world.house.hosts[0].uri) as connection:
            connection.defineXML(filled).create()
        return file, f"127.0.0.1:{port}"

    def end(self, name: str) -> None:
        with libvirt.open(self.world.house.hosts[0].uri) as connection:
            connection.lookupByName(name).destroy()

    def domains(self, host: int) -> list[str]:
        with libvirt.open(self.world.house.hosts[host].uri) as connection:
            return sorted(one.name() for one in connection.listAllDomains())

    async def rbd(self, *words: str) -> str:
        """Somebody's hand on the cluster."""
        assert self.world.house.ceph is not None
        command = ["rbd", "--conf", self.world.house.ceph.conf, *words]
        done = await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True, timeout=60)
        return done.stdout.decode()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        world, _ = await stack.enter_async_context(a_world(hosts=2, memory_mib=400, ceph=True))
        crew = Crew(world.directory)
        stack.push_async_callback(crew.stop)
        for name in WORKERS:
            await crew.start(name)
        for host in world.house.hosts:
            await crew.start("waker", "--host", host.name, name=waker_of(host.name))
        client = await stack.enter_async_context(a_client(world, views=True))
        await client.until(
            lambda: ("acme", "ceph") in client.fleet.pools and len(client.fleet.hosts) == 2,
            20.0,
            "nobody founds the house",
        )
        await world.enact(client.contracts)
        try:
            yield House(world, crew, client)
        except BaseException as error:
            error.add_note(crew.last_words())
            raise


async def disk(address: str, method: str, content: str = "") -> str:
    async with httpx.AsyncClient(timeout=10) as guest:
        answer = await guest.request(method, f"http://{address}/cgi-bin/disk?ours", content=content)
    return answer.raise_for_status().text.strip()


async def answers(address: str) -> bool:
    async with httpx.AsyncClient(timeout=1) as guest:
        try:
            return (await guest.get(f"http://{address}/healthz")).is_success
        except httpx.TransportError:
            return False


async def test_a_guest_made_by_hand_is_adopted_into_ceph_and_boots_on_another_host_with_its_data(
    house: House,
) -> None:
    file, address = await asyncio.to_thread(house.by_hand, "old-db")
    await eventually(lambda: answers(address), BOOT_SECONDS, every_seconds=0.2)
    await disk(address, "POST", "from before")
    await asyncio.to_thread(house.end, "old-db")

    terms = ("vm", "adopt", "acme/ceph", "--host", "h1", "--domain", "old-db", "--as", "db")
    assert "yes" in (await house.command(*terms, "--dry-run")).out
    said = await house.command(*terms)
    assert "acme: the domain on h1 is vs-acme.db now, for db." in said.err + said.out
    (taken,) = house.client.history.facts(0, VolumeAdopted)
    assert (taken.volume, taken.former, taken.size_bytes) == ("org-acme/db", str(file), 64 * MIB)
    assert len(house.client.history.facts(0, VmAdopted)) == 1
    assert house.domains(0) == []
    beside = sorted(path.name for path in house.images.iterdir())
    assert beside == ["old-db.qcow2.adopted", "old-db.qcow2.adopted.json"]

    await house.command("host", "drain", "h1", "--reason", "so that it starts elsewhere")
    await house.command("vm", "start", "acme/db")
    vm = house.client.fleet.vms["acme", "db"]
    assert vm.host == "h2"
    assert vm.address is not None
    assert await disk(vm.address, "GET") == "from before"
    await house.command("host", "admit", "h1", "--reason", "it is over")
    await house.command("vm", "snapshot", "acme/db", "--name", "first")


async def test_an_image_that_is_moved_away_is_told_of_its_vm_is_not_started_without_it_and_all_is_well_when_it_is_back(
    house: House,
) -> None:
    await house.command("vm", "stop", "acme/db")
    await house.rbd("mv", "org-acme/db", "org-acme/away")
    await house.crew.kill("storage")  # it looks at once when it starts, and each minute then
    (told,) = await eventually(lambda: house.client.history.facts(0, VolumeDrifted), 30.0)
    assert (told.what, told.host, told.expected, told.found) == (
        "missing",
        "h2",
        "org-acme/db",
        "no such image",
    )
    assert "org-acme/db" in (await house.command("vm", "drift")).out
    assert "the image away among its disks belongs to no VM" in house.crew.said("storage")

    with pytest.raises(AssertionError, match="is gone from org-acme/db, and what its guest wrote"):
        await house.command("vm", "start", "acme/db")
    (failed,) = house.client.history.facts(0, VolumeFailed)
    assert failed.code == "disk-missing"
    assert (await house.rbd("ls", "org-acme")).split() == ["away"]

    await house.rbd("mv", "org-acme/away", "org-acme/db")
    await house.crew.kill("storage")
    (settled,) = await eventually(lambda: house.client.history.facts(0, VolumeSettled), 30.0)
    assert (settled.what, settled.host) == ("missing", "h2")
    await house.command("vm", "start", "acme/db")
    address = house.client.fleet.vms["acme", "db"].address
    assert address is not None
    assert await disk(address, "GET") == "from before"
    await house.command("vm", "stop", "acme/db")


async def test_workers_that_are_killed_while_they_adopt_into_ceph_lose_no_disk(house: House) -> None:
    adopted = len(house.client.history.facts(0, VmAdopted))
    for number, form in enumerate(("raw", "qcow2", "raw")):
        name, uri = f"old-{number}", house.world.house.hosts[0].uri
        file = house.images / f"{name}.{form}"
        await asyncio.to_thread(make_disk, file, form, "F", "64M")
        one = await asyncio.to_thread(foreigner, uri, name, [file], form)
        orders = len(house.client.history.facts(0, VmCreated))
        asking = asyncio.create_task(
            house.command("vm", "adopt", "acme/ceph", "--host", "h1", "--domain", name)
        )
        await eventually(lambda known=orders: len(house.client.history.facts(0, VmCreated)) > known, 60)
        for worker in ("storage", "waker", "storage", "waker"):
            await house.crew.kill(worker)
            await eventually(lambda who=worker: house.crew.alive(who), 20)
        await asking
        assert not one.is_defined
        assert house.world.house.ceph is not None
        image = f"rbd:org-acme/{name}:id=admin:conf={house.world.house.ceph.conf}"
        command = ["qemu-io", "-r", "-f", "raw", "-c", f"read -P {ord('F')} 0 {BYTES}", image]
        read = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
        assert b"verification failed" not in read.stdout + read.stderr
        left = sorted(path.name for path in house.images.glob(f"{name}*"))
        assert left == [f"{name}.{form}.adopted", f"{name}.{form}.adopted.json"]
    assert len(house.client.history.facts(0, VmAdopted)) == adopted + 3
