"""Kept VMs whose disks are in Ceph, with everything real: cluster, libvirt, guests, bus, and each worker in a process of its own."""

import asyncio
import os
import re
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import httpx
import libvirt
import pytest
import pytest_asyncio

from events.vm import VmWakeFailed
from events.volume import VolumeCreated, VolumeFailed, VolumeGrown, VolumeReleased
from schemas.vm_intake import ChangeVm, CreateVm, ResizeVm, VmChange
from services.waker.port import domain_name
from tests.seams.client import Client
from tests.seams.crew import Crew
from tests.seams.house import Done, a_client, a_world, run, waker_of
from tests.seams.test_readme import masked
from tests.support import eventually
from virtscale.ask import new_key
from virtscale.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE: Final = Path(__file__).parents[2] / "docs" / "storage.md"
MIB: Final = 1 << 20
WORKERS: Final = ("signal", "gate", "storage", "prober")
HOST_MIB: Final = 400
BOOT_SECONDS: Final = 60.0


def transcripts() -> list[tuple[str, list[str]]]:
    """Each command of the page about disks in Ceph, with the lines that it is said to answer."""
    page = PAGE.read_text().partition("## Disks in Ceph")[2]
    blocks = re.findall(r"^```\n(\$ virtscale .*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    return [
        (command.removeprefix("$ virtscale "), lines)
        for command, *lines in (block.splitlines() for block in blocks)
    ]


@dataclass
class House:
    """A house of two hosts with a cluster, and one who asks as its operator."""

    world: World
    crew: Crew
    client: Client

    async def plays(self, command: str, lines: list[str]) -> None:
        """The command has answered what the page shows."""
        done = await self.command(*shlex.split(command))
        said = {masked(line) for line in (done.err + done.out).splitlines()}
        missing = [line for line in lines if masked(line) not in said]
        assert missing == [], f"`virtscale {command}` said otherwise:\n{done.err}{done.out}"

    async def command(self, *words: str) -> Done:
        program = Path(sys.executable).with_name("virtscale")
        return await run(program, *words, house=self.world.directory, deadline_seconds=BOOT_SECONDS)

    async def create(self, vm: str) -> None:
        """The VM was made, and its guest answers."""
        await self.client.ask("create", CreateVm(pool="ceph", vm=vm, key=new_key(), actor="kim"))
        await self.runs(vm)

    async def change(self, vm: str, change: VmChange) -> None:
        wish = ChangeVm(vm=vm, key=new_key(), actor="kim", change=change, reason="a test")
        await self.client.ask("change", wish)

    async def grow(self, vm: str, size_bytes: int) -> None:
        await self.client.ask("resize", ResizeVm(vm=vm, key=new_key(), actor="kim", disk_bytes=size_bytes))

    async def runs(self, vm: str, former: str | None = None) -> None:
        """Its guest answers, under another reservation than that one."""

        def ready() -> bool:
            known = self.client.fleet.vms.get(("acme", vm))
            return known is not None and known.state == "running" and known.reservation != former

        await self.client.until(ready, BOOT_SECONDS, f"{vm} does not run: {self.troubles()}")

    def troubles(self) -> list[str]:
        return [
            one.text for kind in (VolumeFailed, VmWakeFailed) for one in self.client.history.facts(0, kind)
        ]

    def reservation(self, vm: str) -> str:
        return self.client.fleet.vms["acme", vm].reservation or ""

    def released(self, vm: str) -> list[VolumeReleased]:
        return [one for one in self.client.history.facts(0, VolumeReleased) if one.vm == vm]

    async def write(self, vm: str, name: str, text: str) -> None:
        await self._disk(vm, "POST", name, text)

    async def read(self, vm: str, name: str = "") -> str:
        return (await self._disk(vm, "GET", name, "")).strip()

    async def _disk(self, vm: str, method: str, name: str, text: str) -> str:
        address = self.client.fleet.vms["acme", vm].address
        async with httpx.AsyncClient(timeout=20) as guest:
            answer = await guest.request(method, f"http://{address}/cgi-bin/disk?{name}", content=text)
        return answer.raise_for_status().text

    def uri(self, host: str) -> str:
        return next(place.uri for place in self.world.house.hosts if place.name == host)

    def disk(self, vm: str, host: str) -> dict[str, dict[str, str]]:
        """The disk of the VM's domain, as libvirt has it."""
        with libvirt.open(self.uri(host)) as connection:
            described = ET.fromstring(connection.lookupByName(domain_name("acme", vm)).XMLDesc())
        disk = described.find("devices/disk")
        assert disk is not None
        return {one.tag: dict(one.attrib) for one in disk}

    def send_qemu(self, vm: str, host: str, number: signal.Signals) -> None:
        """The VM's QEMU on that host has this signal."""
        (pid,) = (self.world.hypervisors[host].directory / "run").rglob(f"{domain_name('acme', vm)}.pid")
        os.kill(int(pid.read_text()), number)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house() -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        world, _ = await stack.enter_async_context(a_world(hosts=2, memory_mib=HOST_MIB, ceph=True))
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


async def test_a_vm_boots_from_ceph_and_keeps_what_it_wrote_as_the_page_says(house: House) -> None:
    (create, resize, reboot) = transcripts()
    await house.plays(*create)
    (made,) = house.client.history.facts(0, VolumeCreated)
    assert (made.volume, made.size_bytes) == ("org-acme/db", 64 * MIB)
    disk = await asyncio.to_thread(house.disk, "db", made.host)
    assert (disk["source"]["protocol"], disk["source"]["name"]) == ("rbd", "org-acme/db")
    assert disk["driver"]["discard"] == "unmap"
    await house.write("db", "kept", "as it was")

    await house.plays(*resize)

    async def seen() -> bool:
        return await house.read("db") == str(96 * MIB)

    await eventually(seen, 10, every_seconds=0.2, why="the guest does not see its disk grow")
    former = house.reservation("db")
    await house.plays(*reboot)
    assert await house.read("db", "kept") == "as it was"
    assert [one.order for one in house.released("db")] == [former, house.reservation("db")]
    assert house.troubles() == []


@pytest.mark.long
async def test_a_vm_whose_qemu_was_killed_waits_for_its_disk_and_starts_with_what_it_wrote(
    house: House,
) -> None:
    await house.create("killed")
    await house.write("killed", "kept", "before the crash")
    host, former = house.client.fleet.vms["acme", "killed"].host, house.reservation("killed")
    house.send_qemu("killed", host, signal.SIGKILL)
    await house.client.until(
        lambda: house.client.fleet.vms["acme", "killed"].state == "stopped", 20, "nobody saw it die"
    )
    await house.change("killed", "start")
    await house.runs("killed", former)
    assert await house.read("killed", "kept") == "before the crash"
    await house.write("killed", "after", "goes on")
    assert await house.read("killed", "after") == "goes on"
    former = house.reservation("killed")
    await house.change("killed", "reboot")
    await house.crew.kill("storage")
    await house.runs("killed", former)
    assert await house.read("killed", "after") == "goes on"
    assert house.troubles() == []


@pytest.mark.long
async def test_a_vm_that_lived_after_all_on_a_fenced_host_writes_nothing_any_more(house: House) -> None:
    await house.create("twice")
    await house.write("twice", "kept", "by the first")
    known = house.client.fleet.vms["acme", "twice"]
    host, former, address = known.host, house.reservation("twice"), known.address
    house.crew.freeze(waker_of(host))
    house.send_qemu("twice", host, signal.SIGSTOP)
    fenced = await house.command("host", "fence", host, "--reason", "nobody hears of it", "--yes")
    assert fenced.code == 0, fenced.err
    await house.change("twice", "start")
    await house.runs("twice", former)
    await house.write("twice", "kept", "by the second")

    house.send_qemu("twice", host, signal.SIGCONT)
    async with httpx.AsyncClient(timeout=10) as guest:
        # Its kernel takes the words, or not; they come no farther.
        late = await guest.post(f"http://{address}/cgi-bin/disk?kept", content="by the first again")
    assert late.status_code in {200, 500}
    former = house.reservation("twice")
    await house.change("twice", "reboot")
    await house.runs("twice", former)
    assert await house.read("twice", "kept") == "by the second"
    house.send_qemu("twice", host, signal.SIGKILL)
    admitted = await house.command("host", "admit", host, "--reason", "it is mended")
    assert admitted.code == 0, admitted.err
    house.crew.thaw(waker_of(host))


@pytest.mark.long
async def test_a_vm_whose_host_is_gone_starts_on_the_other_with_the_disk_it_had(house: House) -> None:
    await house.create("moved")
    await house.write("moved", "kept", "from the other host")
    host, former = house.client.fleet.vms["acme", "moved"].host, house.reservation("moved")
    await house.crew.dismiss(waker_of(host))
    house.send_qemu("moved", host, signal.SIGKILL)
    await house.world.hypervisors[host].kill()
    fenced = await house.command("host", "fence", host, "--reason", "its rack burnt", "--yes")
    assert fenced.code == 0, fenced.err
    await house.change("moved", "start")
    await house.runs("moved", former)
    assert house.client.fleet.vms["acme", "moved"].host != host
    assert await house.read("moved", "kept") == "from the other host"
    await house.write("moved", "after", "goes on")
    await house.grow("moved", 96 * MIB)
    await house.client.until(
        lambda: any(one.vm == "moved" for one in house.client.history.facts(0, VolumeGrown)),
        20,
        "its disk does not grow there",
    )
    assert house.troubles() == []
