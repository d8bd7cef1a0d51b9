"""Domains and disks that somebody changes behind the ledger's back, on a real libvirtd with a real guest; the ledger is in memory."""

import asyncio
import datetime as dt
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import libvirt
import libvirt_qemu
import pytest
import pytest_asyncio

from events.bus.ledger import Ledger
from events.bus.permissions import worker
from events.drift import DomainDrifted, DomainSettled, VmOomKilled
from events.gate import BootOrdered, RebootOrdered, StopOrdered
from events.ids import derive
from events.pool import PoolDefined
from events.vm import VmBooted, VmReady, VmStopped
from events.volume import VolumeCreated
from lab import accelerator, guest, hypervisor, template
from projections.drift.fold import Drifts
from schemas.capacity import Size
from schemas.house import HostPlace
from schemas.pool import Pool
from schemas.volume import volume_name
from services.waker import memory
from services.waker.libvirt.hypervisor import Libvirt
from services.waker.port import domain_name
from services.waker.worker import Waker
from tests.rules.waker_host import Site
from tests.support import eventually, free_port

in_one_loop = pytest.mark.asyncio(loop_scope="module")

F = TypeVar("F", DomainDrifted, DomainSettled)
ONE = Size("custom-1x96", 1, 96)
NAME = domain_name("acme", "db")
BOOT_SECONDS = 60
LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
STRANGE = "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{}'/><target dev='vdc' bus='virtio'/></disk>"


@dataclass
class World:
    """One host with one kept VM, db."""

    machine: hypervisor.Hypervisor
    site: Site
    own: str = ""
    number: int = 0

    async def by_hand(self, change: Callable[[libvirt.virDomain], object]) -> None:
        """Somebody's hand on the hypervisor."""

        def changed() -> None:
            with libvirt.open(self.machine.uri) as connection:
                change(connection.lookupByName(NAME))

        await asyncio.to_thread(changed)

    async def told(self, kind: type[F], what: str, number: int = 1) -> F:
        """The waker says so, as often as that by now, in a life that begins now."""
        async with self.site.waker():
            said = await eventually(
                lambda: [one for one in self.site.said(kind) if one.what == what][number - 1 :],
                20.0,
                why=what,
            )
        return said[0]

    def _names(self) -> tuple[str, dt.datetime]:
        self.number += 1
        return derive("order", self.number), self.site.desk.clock.now() + dt.timedelta(seconds=180)

    async def boot(self) -> None:
        """It is started by order, or started anew where it runs."""
        former, (self.own, by) = self.own, self._names()
        if former and self.number > 1 and not self.site.said(VmStopped):
            self.site.order(
                RebootOrdered(self.own, "db", "apps", "h1", ONE, "tiny", former, derive("r"), by, 180, 2)
            )
        else:
            self.site.order(
                BootOrdered(self.own, "db", "apps", "h1", ONE, "tiny", derive("r"), "keep", by, 180)
            )
        async with self.site.waker():
            await eventually(
                lambda: self.own in [one.reservation for one in self.site.said(VmBooted)], BOOT_SECONDS
            )
            now = self.site.desk.clock.now()
            self.site.desk.write(
                VmReady("acme", "db", self.own, f"boot-{self.number}", False, None, now, now, 1)
            )

    async def stop(self) -> None:
        """It is stopped by order."""
        self.site.order(StopOrdered(derive("stop"), "db", "apps", "h1", self.own, derive("r"), 0))
        async with self.site.waker():
            await eventually(lambda: self.site.said(VmStopped), BOOT_SECONDS)

    def volume(self) -> Path:
        return self.machine.volumes / volume_name("acme", "db")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    directory = Path(tempfile.mkdtemp(prefix="vs-", dir="/tmp"))
    machine = hypervisor.Hypervisor(directory)
    image = await guest.build(guest.cache_directory())
    verdict = await accelerator.probe(image)
    await machine.start()
    try:
        template.write(
            directory / "templates" / "tiny", image, verdict.accelerator, directory / "console", disk_mib=16
        )
        place = HostPlace(
            "h1", machine.uri, verdict.accelerator, 1024, free_port(), volumes=str(machine.volumes)
        )
        ours = Libvirt(place, directory / "templates")
        site = Site(ours, place)
        world = World(machine, site)
        for file in (world.volume(), machine.volumes / "strange.img"):
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", file, "16M"], check=True, timeout=20)
            file.chmod(0o666)
        now = site.desk.clock.now()
        site.desk.write(PoolDefined("acme", "apps", Pool("acme", "apps", ONE, "tiny", kind="kept")))
        site.desk.write(
            VolumeCreated("acme", "db", "h1", str(world.volume()), "tiny", 16 << 20, derive("o"), now)
        )
        await world.boot()
        yield world
        await ours.close()
        await machine.destroy_domains()
    finally:
        await machine.stop()
        shutil.rmtree(directory)


@in_one_loop
async def test_vcpu_and_disks_that_somebody_plugs_in_are_told_once_and_end_with_the_next_ordered_boot(
    world: World,
) -> None:
    await world.by_hand(lambda domain: domain.setVcpusFlags(2, LIVE))
    strange = STRANGE.format(world.machine.volumes / "strange.img")
    await world.by_hand(lambda domain: domain.attachDeviceFlags(strange, LIVE))
    size, disk = await world.told(DomainDrifted, "size"), await world.told(DomainDrifted, "disk")
    assert (size.expected, size.found) == ("1 vCPU, 96 MiB", "2 vCPU, 96 MiB")
    assert (size.repair, size.reservation) == ("reboot", world.own)
    assert size.size is not None
    assert (size.size.vcpu, size.size.memory_mib) == (2, 96)
    assert disk.repair == "at-next-boot"
    assert disk.found == f"vda {world.volume()}, vdc {world.machine.volumes}/strange.img"
    await world.boot()
    for what in ("size", "disk"):
        assert (await world.told(DomainSettled, what)).vm == "db"
    assert len(world.site.said(DomainDrifted)) == 2


@in_one_loop
async def test_a_guest_whose_kernel_kills_for_want_of_memory_is_told_of_with_advice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "LOOK_SECONDS", 0.2)
    hungry = json.dumps(
        {"execute": "guest-exec", "arguments": {"path": "/bin/busybox", "arg": ["tail", "/dev/zero"]}}
    )

    async def eats() -> bool:
        try:
            await world.by_hand(lambda domain: libvirt_qemu.qemuAgentCommand(domain, hungry, 5, 0))
        except libvirt.libvirtError:
            return False
        return True

    await eventually(eats, 30.0, every_seconds=0.2, why="its agent does not start anything")
    async with world.site.waker():
        (killed,) = await eventually(
            lambda: world.site.said(VmOomKilled), 30.0, why="nobody tells of the kill"
        )
    assert (killed.vm, killed.reservation, killed.kills, killed.memory_mib) == ("db", world.own, 1, 96)
    assert "the next size is 1x192 with 192 MiB" in killed.advice
    async with world.site.waker() as again:
        await eventually(lambda: again, 1.0)
        asked = len(world.site.said(VmOomKilled))
    assert asked == 1
    folded = Drifts()
    for recorded in world.site.desk.facts(VmOomKilled):
        folded.apply(recorded)
    assert folded.kills["acme", "db"].kills == 1


@in_one_loop
async def test_a_definition_that_somebody_edits_is_told_and_replaced_at_the_next_boot(world: World) -> None:
    await world.stop()
    await world.by_hand(lambda domain: domain.setMaxMemory(128 * 1024))
    told = await world.told(DomainDrifted, "size", 2)
    assert (told.expected, told.repair) == ("1 vCPU, 96 MiB", "at-next-boot")
    assert told.found == "defined with 1 vCPU, 96 of 128 MiB"
    assert (told.reservation, told.size) == (None, None)
    await world.boot()
    await world.told(DomainSettled, "size", 2)


@in_one_loop
async def test_a_second_life_of_a_vm_on_a_host_that_is_not_its_own_is_told_and_ended(world: World) -> None:
    place = HostPlace("h2", world.machine.uri, "tcg", 1024, free_port())
    ours = Libvirt(place, world.machine.directory / "templates")
    bus = world.site.desk.connect(worker("waker", "h2"))
    ledger = Ledger(bus)
    async with asyncio.TaskGroup() as tasks:
        waker = Waker(ledger, bus, world.site.desk.clock, ours, place)
        running = [tasks.create_task(ledger.follow()), tasks.create_task(waker.work())]
        told = await eventually(
            lambda: [one for one in world.site.said(DomainDrifted) if one.what == "elsewhere"], 20.0
        )
        assert (told[0].host, told[0].expected, told[0].found) == ("h2", "on h1", "running on h2")
        assert told[0].repair == "stop"
        async with world.site.waker():
            await eventually(
                lambda: [one for one in world.site.said(VmStopped) if one.cause != "ordered"], 20.0
            )
        for task in running:
            task.cancel()
    await ours.close()
    await bus.close()
