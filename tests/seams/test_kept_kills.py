"""A kept VM on a real host: waker and storage are killed in the middle of what they were ordered, and it is done once all the same."""

import asyncio
import random
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import libvirt
import pytest

from events.copy import CopyMade
from events.keep import VmCreated
from events.vm import VmBooted
from events.volume import VolumeCreated, VolumeGrown
from services.waker.port import domain_name
from tests.seams.crew import Crew
from tests.seams.house import a_client, a_world, run
from tests.support import eventually

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long, pytest.mark.timeout(900)]

WORKERS = ("signal", "gate", "storage", "waker", "prober")
NAME = domain_name("acme", "db")
ASKED = (
    ("create acme/apps db --size 1x96", ("storage", "waker")),
    ("snapshot acme/db --name one", ("storage",)),
    ("resize acme/db --size 2x128 --now", ("waker",)),
    ("resize acme/db --disk 100MiB", ("storage",)),
    ("reboot acme/db --now --reason drill", ("waker",)),
    ("stop acme/db", ("waker",)),
    ("start acme/db", ("waker",)),
    ("drop acme/db one", ("storage",)),
)
"""What is asked one after another, and who is killed meanwhile."""

MOST_SECONDS = 3.0
"""After what is asked; by then a step of it was taken, on any machine some other."""


def domain_of(uri: str) -> tuple[int, int]:
    """vCPU and MiB of the domain that runs."""
    with libvirt.open(uri) as connection:
        assert [one.name() for one in connection.listAllDomains()] == [NAME]
        _, _, memory_kib, vcpu, _ = connection.lookupByName(NAME).info()
    return int(vcpu), int(memory_kib) // 1024


@pytest.mark.parametrize("seed", [1, 2])
async def test_whoever_is_killed_in_the_middle_of_a_vms_life_it_ends_as_it_would_have(seed: int) -> None:
    dice = random.Random(seed)
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
        for words, killed in ASKED:
            asking = asyncio.create_task(
                run(program, "vm", *words.split(), house=world.directory, deadline_seconds=240)
            )
            for worker in dice.choices(killed, k=2):
                await asyncio.wait({asking}, timeout=dice.uniform(0.2, MOST_SECONDS))
                await crew.kill(worker)
            done = await asking
            assert done.code == 0, f"{words}: {done.err}{done.out}"

        def runs() -> bool:
            vm = client.fleet.vms["acme", "db"]
            return vm.state == "running" and vm.size.memory_mib == 128

        await eventually(runs, 120.0, why="the VM does not run in the end")
        assert await asyncio.to_thread(domain_of, uri) == (2, 128)
        assert len(client.history.facts(0, VmCreated)) == 1
        assert len({one.order for one in client.history.facts(0, VolumeCreated)}) == 1
        assert {one.size_bytes for one in client.history.facts(0, VolumeGrown)} == {100 << 20}
        assert len({one.order for one in client.history.facts(0, CopyMade)}) == 1
        lives = {one.reservation for one in client.history.facts(0, VmBooted)}
        assert len(lives) == 4, "made, resized, rebooted, started again"
