"""The waker with a real libvirtd and a real guest; the ledger is in memory."""

import datetime as dt
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import libvirt
import pytest
import pytest_asyncio

from events.vm import (
    VmBooted,
    VmDefined,
    VmFoundAwake,
    VmQuiesced,
    VmResumed,
    VmSaved,
    VmSaveFailed,
    VmStopped,
)
from lab import accelerator, guest, hypervisor, template
from schemas.capacity import Size
from schemas.house import HostPlace
from services.waker.libvirt.hypervisor import Libvirt
from services.waker.port import ENTROPY_BYTES, domain_name
from tests.rules.waker_host import Site
from tests.support import eventually, free_port

in_one_loop = pytest.mark.asyncio(loop_scope="module")

BOOT_SECONDS = 60
NAME = domain_name("acme", "web-1")
TINY = Size("vs.tiny", 1, 96)


@dataclass
class World:
    """One host with one guest, web-1, and its waker; `reservation` is what the guest is awake under."""

    machine: hypervisor.Hypervisor
    site: Site
    reservation: str = ""
    number: int = 1

    @property
    def address(self) -> str:
        return self.site.said(VmDefined)[-1].address

    async def boot_id(self, deadline_seconds: float = 5.0) -> str:
        """Which boot of the guest answers."""
        word, boot_id = await eventually(self._healthz, deadline_seconds, every_seconds=0.05)
        assert word == "ok"
        return boot_id

    async def _healthz(self) -> list[str]:
        async with httpx.AsyncClient(timeout=1) as client:
            try:
                return (await client.get(f"http://{self.address}/healthz")).text.split()
            except httpx.TransportError:
                return []

    async def boot(self) -> None:
        self.number += 1
        self.reservation = self.site.boot("web-1", self.number)
        await eventually(lambda: self.reservation in _reservations(self.site, VmBooted), BOOT_SECONDS)
        await self.boot_id(BOOT_SECONDS)
        self.site.ready("web-1", self.reservation)

    async def wake(self) -> None:
        self.order()
        await eventually(lambda: self.reservation in _reservations(self.site, VmResumed))
        self.site.ready("web-1", self.reservation)

    def order(self) -> None:
        self.number += 1
        self.reservation = self.site.wake("web-1", self.number)

    async def save(self) -> None:
        order = self.site.save("web-1", self.number)
        told = (VmSaved, VmSaveFailed)
        await eventually(
            lambda: order in {said.order for kind in told for said in self.site.said(kind)},
            20,
        )

    async def clock_off_seconds(self) -> float:
        """How far the guest's clock is ahead of ours."""
        async with httpx.AsyncClient(timeout=5) as client:
            told = float((await client.get(f"http://{self.address}/cgi-bin/info")).json()["now"])
        return told - dt.datetime.now(dt.UTC).timestamp()

    async def sleep(self) -> None:
        self.site.suspend("web-1", self.reservation)
        await eventually(lambda: self.reservation in _reservations(self.site, VmQuiesced))


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
        template.write(directory / "templates" / "tiny", image, verdict.accelerator, directory / "console")
        place = HostPlace("h1", machine.uri, verdict.accelerator, 1024, free_port())
        ours = Libvirt(place, directory / "templates")
        site = Site(ours, place)
        site.size = TINY
        world = World(machine, site)
        async with site.waker():
            await world.boot()
            yield world
        await ours.close()
        await machine.destroy_domains()
    finally:
        await machine.stop()
        shutil.rmtree(directory)


@in_one_loop
async def test_a_vm_is_defined_from_its_template_booted_and_answers(world: World) -> None:
    (defined,) = world.site.said(VmDefined)
    assert defined.domain == NAME
    with libvirt.open(world.machine.uri) as connection:
        domain = connection.lookupByName(NAME)
        assert (domain.UUIDString(), domain.isActive()) == (defined.uuid, 1)


@in_one_loop
async def test_a_paused_guest_is_resumed_and_the_same_boot_answers(world: World) -> None:
    before = await world.boot_id()
    await world.sleep()
    await world.wake()
    assert await world.boot_id() == before
    said = world.site.said(VmResumed)[-1]
    assert said.attempts == 1
    took_ms = (said.resumed_at - said.started_at).total_seconds() * 1000
    assert took_ms < 500, took_ms


@in_one_loop
async def test_a_woken_guests_clock_is_set_and_its_entropy_refreshed(world: World) -> None:
    with libvirt.open(world.machine.uri) as connection:
        domain = connection.lookupByName(NAME)
        domain.setTime({"seconds": 1_700_000_000, "nseconds": 0})  # pyright: ignore[reportArgumentType] - its annotation is wrong
    assert await world.clock_off_seconds() < -3600
    await world.sleep()
    await world.wake()
    refreshed = world.site.said(VmResumed)[-1].refreshed
    assert refreshed is not None
    assert refreshed.entropy_bytes == ENTROPY_BYTES
    assert abs(await world.clock_off_seconds()) < 0.5


@in_one_loop
async def test_a_sleeper_that_is_saved_frees_its_memory_and_wakes_as_the_same_boot(world: World) -> None:
    before = await world.boot_id()
    await world.sleep()
    pid_file = world.machine.directory / "run/libvirt/qemu/run" / f"{NAME}.pid"
    assert pid_file.exists()
    await world.save()
    said = world.site.said(VmSaved)[-1]
    assert 1 << 20 < said.image_bytes < 200 << 20
    assert not pid_file.exists()
    world.order()
    await eventually(lambda: world.reservation in _reservations(world.site, VmResumed), 20)
    world.site.ready("web-1", world.reservation)
    woken = world.site.said(VmResumed)[-1]
    assert (woken.depth, woken.attempts) == ("saved", 1)
    assert woken.refreshed is not None
    assert await world.boot_id() == before
    assert abs(await world.clock_off_seconds()) < 0.5


@in_one_loop
async def test_a_sleeper_that_finds_no_room_on_disk_sleeps_on_in_memory(world: World) -> None:
    before = await world.boot_id()
    await world.sleep()
    image = next(world.machine.directory.rglob("qemu/save")) / f"{NAME}.save"
    image.symlink_to("/dev/full")  # whoever writes there is told that the disk is full
    await world.save()
    said = world.site.said(VmSaveFailed)[-1]
    assert said.code == "disk-full"
    assert "has no room for the memory of" in said.text
    with libvirt.open(world.machine.uri) as connection:
        assert connection.lookupByName(NAME).state()[0] == libvirt.VIR_DOMAIN_PAUSED
    image.unlink(missing_ok=True)
    await world.wake()
    assert await world.boot_id() == before


@in_one_loop
async def test_a_guest_that_somebody_resumes_by_hand_is_found_awake(world: World) -> None:
    await world.sleep()
    before = len(world.site.said(VmFoundAwake))
    with libvirt.open(world.machine.uri) as connection:
        connection.lookupByName(NAME).resume()
    said = await eventually(lambda: world.site.said(VmFoundAwake)[before:])
    world.reservation = said[0].reservation
    await world.sleep()
    await world.wake()


@in_one_loop
async def test_a_guest_that_somebody_pauses_by_hand_is_said_to_sleep(world: World) -> None:
    with libvirt.open(world.machine.uri) as connection:
        connection.lookupByName(NAME).suspend()
    said = await eventually(lambda: [one for one in world.site.said(VmQuiesced) if one.cause == "found"])
    assert said[-1].reservation == world.reservation
    await world.wake()


@in_one_loop
async def test_an_order_is_carried_out_once_a_killed_libvirtd_is_back(world: World) -> None:
    before = await world.boot_id()
    await world.sleep()
    await world.machine.kill()
    world.order()
    await world.machine.start()
    await eventually(lambda: world.reservation in _reservations(world.site, VmResumed))
    world.site.ready("web-1", world.reservation)
    assert await world.boot_id() == before


@in_one_loop
async def test_changes_are_heard_again_after_libvirtd_was_killed(world: World) -> None:
    await world.machine.kill()
    await world.machine.start()
    await world.sleep()
    before = len(world.site.said(VmFoundAwake))
    with libvirt.open(world.machine.uri) as connection:
        connection.lookupByName(NAME).resume()
    said = await eventually(lambda: world.site.said(VmFoundAwake)[before:])
    world.reservation = said[0].reservation
    await world.sleep()
    await world.wake()


@in_one_loop
async def test_a_guest_whose_process_is_killed_is_said_to_have_crashed_and_boots_again(world: World) -> None:
    before, address = await world.boot_id(), world.address
    pid = int((world.machine.directory / "run/libvirt/qemu/run" / f"{NAME}.pid").read_text())
    os.kill(pid, signal.SIGKILL)
    said = await eventually(lambda: world.site.said(VmStopped))
    assert (said[-1].reservation, said[-1].cause, said[-1].found) == (world.reservation, "crashed", "off")
    await world.boot()
    assert world.address == address
    assert await world.boot_id() != before
