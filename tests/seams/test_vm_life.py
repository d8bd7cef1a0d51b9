"""VMs that are kept, on a real host with real guests: what docs/vms.md shows is what the commands say and what happens."""

import asyncio
import re
import shlex
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import libvirt
import pytest

from events.keep import VmCreated
from events.vm import VmBooted, VmRebooted, VmStopped
from services.waker.port import domain_name
from tests.seams.crew import Crew
from tests.seams.house import a_client, a_world, run
from tests.seams.test_readme import masked
from tests.support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = Path(__file__).parents[2] / "docs" / "vms.md"
WORKERS = ("signal", "gate", "storage", "waker", "prober", "notifier")
NAME = domain_name("acme", "db")


def transcripts() -> list[tuple[str, list[str]]]:
    """Each command of the page with the lines that it is said to answer."""
    blocks = re.findall(r"^```\n(\$ virtscale .*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [
        (command.removeprefix("$ virtscale "), lines)
        for command, *lines in (block.splitlines() for block in blocks)
    ]


def domain_of(uri: str) -> tuple[int, int]:
    """vCPU and MiB of the domain that runs."""
    with libvirt.open(uri) as connection:
        _, _, memory_kib, vcpu, _ = connection.lookupByName(NAME).info()
    return int(vcpu), int(memory_kib) // 1024


async def cpus_of(address: str) -> int:
    """How many CPUs the guest says it has; a busy machine lets it wait."""
    async with httpx.AsyncClient(timeout=5) as guest:
        while True:
            try:
                return int((await guest.get(f"http://{address}/cgi-bin/info")).json()["cpus"])
            except httpx.TransportError:
                continue


def reset(uri: str) -> None:
    """Somebody's hand on the hypervisor."""
    with libvirt.open(uri) as connection:
        connection.lookupByName(NAME).reset(0)


async def test_a_vm_lives_as_the_page_says_and_an_unordered_reboot_is_told() -> None:
    async with AsyncExitStack() as stack:
        world, _ = await stack.enter_async_context(a_world(memory_mib=400))
        crew = Crew(world.directory)
        stack.push_async_callback(crew.stop)
        for name in WORKERS:
            await crew.start(name)
        client = await stack.enter_async_context(a_client(world, views=True))
        await client.until(
            lambda: ("acme", "apps") in client.fleet.pools and len(client.fleet.hosts) == 1,
            20.0,
            "nobody founds the house",
        )
        await world.enact(client.contracts)
        uri, program = world.house.hosts[0].uri, Path(sys.executable).with_name("virtscale")
        for command, lines in transcripts():
            if command.startswith("vm resize") and "--size 2x128 --now" in command:
                assert await asyncio.to_thread(domain_of, uri) == (1, 96), "what is announced changes nothing"
            done = await run(program, *shlex.split(command), house=world.directory, deadline_seconds=120)
            said = {masked(line) for line in (done.err + done.out).splitlines()}
            missing = [line for line in lines if masked(line) not in said]
            assert missing == [], f"`virtscale {command}` said otherwise:\n{done.err}{done.out}"
        assert await asyncio.to_thread(domain_of, uri) == (3, 128)
        assert len(client.history.facts(0, VmCreated)) == 1
        assert {stop.cause for stop in client.history.facts(0, VmStopped)} == {"ordered"}
        assert client.history.facts(0, VmRebooted) == []
        assert await asyncio.wait_for(cpus_of(client.fleet.vms["acme", "db"].address or ""), 60) == 3

        boots = len(client.history.facts(0, VmBooted))
        await asyncio.to_thread(reset, uri)
        await eventually(lambda: client.history.facts(0, VmRebooted), 20.0, why="nobody tells of the reboot")
        told = {one.reservation for one in client.history.facts(0, VmRebooted)}  # QEMU may say it twice
        assert told == {client.fleet.vms["acme", "db"].reservation}
        assert len(client.history.facts(0, VmBooted)) == boots
