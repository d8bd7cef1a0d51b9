import asyncio
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import libvirt
import pytest
import pytest_asyncio

from lab import accelerator, guest, hypervisor, template
from lab.errors import LabError
from lab.ports import LOOPBACK
from tests.support import eventually, free_port

in_one_loop = pytest.mark.asyncio(loop_scope="module")

BOOT_SECONDS = 60


@dataclass(frozen=True)
class World:
    hypervisor: hypervisor.Hypervisor
    image: guest.GuestImage
    domain_xml: str
    port: int
    boot_id: str

    async def get(self, path: str, timeout_seconds: float = 5) -> str:
        async with httpx.AsyncClient(timeout=timeout_seconds) as client:
            answer = await client.get(f"http://{LOOPBACK}:{self.port}{path}")
        return answer.raise_for_status().text

    async def clock_error_seconds(self) -> float:
        before = time.time()
        info = json.loads(await self.get("/cgi-bin/info"))
        return info["now"] - (before + time.time()) / 2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    """One guest, booted from the template, for all tests of this file."""
    directory = Path(tempfile.mkdtemp(prefix="vs-", dir="/tmp"))
    machine = hypervisor.Hypervisor(directory)
    try:
        image = await guest.build(guest.cache_directory())
        verdict = await accelerator.probe(image)
        await machine.start()
        written = template.write(directory / "template", image, verdict.accelerator, directory / "console")
        text, port = written.domain_xml.read_text(), free_port()
        with libvirt.open(machine.uri) as connection:
            await asyncio.to_thread(_boot, connection, _xml(text, "web-1", port))
        yield World(machine, image, text, port, await _boot_id(port))
        await machine.destroy_domains()
    finally:
        await machine.stop()
        shutil.rmtree(directory)


def _xml(text: str, name: str, port: int) -> str:
    here: dict[str, object] = {"address": "127.0.0.1", "port": port}
    return text.format(name=name, uuid=uuid.uuid4(), vcpu=1, most_vcpu=1, memory_mib=96, **here)


def _boot(connection: libvirt.virConnect, xml: str) -> None:
    connection.defineXML(xml).create()


def _set_clock(domain: Any, now: dict[str, int]) -> None:
    domain.setTime(now)  # the binding says that it takes a number; it takes this


async def _healthz(port: int) -> list[str]:
    async with httpx.AsyncClient(timeout=1) as client:
        try:
            return (await client.get(f"http://{LOOPBACK}:{port}/healthz")).text.split()
        except httpx.TransportError:
            return []


async def _boot_id(port: int) -> str:
    word, boot_id = await eventually(lambda: _healthz(port), BOOT_SECONDS, every_seconds=0.05)
    assert word == "ok"
    return boot_id


async def _agent_connected(domain: libvirt.virDomain) -> None:
    await eventually(lambda: "state='connected'" in domain.XMLDesc(), 20, every_seconds=0.05)


@in_one_loop
async def test_a_guest_tells_who_it_is_and_which_boot_answers(world: World) -> None:
    info = json.loads(await world.get("/cgi-bin/info"))
    assert info["hostname"] == "web-1"
    assert info["boot_id"] == world.boot_id
    assert (await world.get("/")).strip() == "web-1"


@in_one_loop
async def test_a_paused_guest_resumes_with_the_same_boot_and_a_clock_that_can_be_set(world: World) -> None:
    with libvirt.open(world.hypervisor.uri) as connection:
        domain = connection.lookupByName("web-1")
        await _agent_connected(domain)
        # Compared with what it was before: a fresh guest's clock is up to a second off by itself.
        error_before = await world.clock_error_seconds()
        domain.suspend()
        paused_at = time.monotonic()
        with pytest.raises(httpx.TransportError):
            await world.get("/healthz", timeout_seconds=1)
        paused_seconds = time.monotonic() - paused_at
        domain.resume()
        assert await world.get("/healthz") == f"ok {world.boot_id}\n"
        lost_seconds = error_before - await world.clock_error_seconds()
        assert lost_seconds == pytest.approx(paused_seconds, abs=0.6)  # a paused guest's clock stood still
        now = time.time()
        await asyncio.to_thread(_set_clock, domain, {"seconds": int(now), "nseconds": int(now % 1 * 1e9)})
        assert abs(await world.clock_error_seconds()) < 0.5


@in_one_loop
async def test_a_guest_suspended_to_ram_wakes_with_the_same_boot(world: World) -> None:
    with libvirt.open(world.hypervisor.uri) as connection:
        domain = connection.lookupByName("web-1")
        await _agent_connected(domain)
        await asyncio.to_thread(domain.pMSuspendForDuration, libvirt.VIR_NODE_SUSPEND_TARGET_MEM, 0)
        await eventually(lambda: domain.state()[0] == libvirt.VIR_DOMAIN_PMSUSPENDED)
        await asyncio.to_thread(domain.pMWakeup)
        assert await _boot_id(world.port) == world.boot_id


@in_one_loop
async def test_a_guest_survives_a_killed_libvirtd(world: World) -> None:
    await world.hypervisor.kill()
    assert await world.get("/healthz") == f"ok {world.boot_id}\n"
    await world.hypervisor.start()
    with libvirt.open(world.hypervisor.uri) as connection:
        assert connection.lookupByName("web-1").isActive()


@in_one_loop
async def test_guests_do_not_survive_the_hypervisors_stop(world: World) -> None:
    directory = Path(tempfile.mkdtemp(prefix="vs-", dir="/tmp"))
    machine = hypervisor.Hypervisor(directory)
    try:
        await machine.start()
        template.write(directory / "template", world.image, "tcg", directory / "console")
        text = (directory / "template" / "domain.xml").read_text()
        with libvirt.open(machine.uri) as connection:
            await asyncio.to_thread(_boot, connection, _xml(text, "stray", free_port()))
        pid = int((directory / "run/libvirt/qemu/run/stray.pid").read_text())
        os.kill(pid, 0)
        await machine.stop()
        await eventually(lambda: not Path(f"/proc/{pid}/exe").exists())
    finally:
        await machine.stop()
        shutil.rmtree(directory)


@in_one_loop
async def test_the_accelerator_is_decided_once_and_in_time(world: World) -> None:
    began = time.monotonic()
    verdict = await accelerator.probe(world.image)
    assert verdict == await accelerator.probe(world.image)
    assert verdict.accelerator in {"kvm", "tcg"}
    assert time.monotonic() - began < accelerator.BOOT_SECONDS + 2


@in_one_loop
async def test_an_image_is_built_once(world: World) -> None:
    assert await guest.build(guest.cache_directory()) == world.image


def test_a_directory_too_deep_for_sockets_is_refused_with_a_shorter_one() -> None:
    deep = Path("/tmp") / ("d" * 80)
    with pytest.raises(LabError) as caught:
        hypervisor.require_short(deep)
    assert caught.value.code == "lab.path-too-long"
    assert str(hypervisor.short_directory(deep)) in str(caught.value)
    hypervisor.require_short(hypervisor.short_directory(deep))
