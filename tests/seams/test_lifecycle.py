"""One VM from its first boot to the day on which its name is free, as docs/lifecycle.md shows it, on both kinds of disk."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from events.clock import SystemClock
from events.deletion import DeletionBegun, DeletionCompleted
from events.vm import VmReady
from lab.hypervisor import short_directory
from schemas.deletion import STAGES
from services.waker.port import domain_name
from tests.seams.crew import Crew
from tests.seams.house import a_client, a_world
from tests.seams.walk import Shell, steps

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

PAGE = Path(__file__).parents[2] / "docs" / "lifecycle.md"
WORKERS = ("sealer", "signal", "gate", "storage", "waker", "prober", "steward", "deleter", "notifier")
MOST_OFF_MS = 2000


async def walk(part: str, *, ceph: bool) -> None:
    """The part of the page was played in a house of its own, and what it does not show is as it should be."""
    async with AsyncExitStack() as stack:
        world, _ = await stack.enter_async_context(a_world(memory_mib=500, ceph=ceph, movable_clock=True))
        crew = Crew(world.directory)
        stack.push_async_callback(crew.stop)
        for name in WORKERS:
            await crew.start(name)
        client = await stack.enter_async_context(a_client(world, views=True))
        pool = "ceph" if ceph else "apps"
        await client.until(
            lambda: ("acme", pool) in client.fleet.pools and len(client.fleet.hosts) == 1,
            20.0,
            "nobody founds the house",
        )
        await world.enact(client.contracts)
        shell = Shell(world.directory)
        try:
            for step in steps(part):
                await shell.take(step)
        except BaseException as error:
            error.add_note(crew.last_words())
            raise
        assert crew.surprises == []
        consoles = short_directory(world.directory) / "console"
        assert [
            one for one in consoles.iterdir() if one.name.startswith(f"{domain_name('acme', 'db')}.")
        ] == []
        history = client.history
        last = history.facts(0, DeletionBegun)[-1].deletion
        told = [one for one in history.events if isinstance(one.fact, DeletionBegun | DeletionCompleted)]
        order = [
            (one.type.split(".")[1], one.fact.stage)
            for one in told
            if isinstance(one.fact, DeletionBegun | DeletionCompleted) and one.fact.deletion == last
        ]
        assert order == [(what, stage) for stage in STAGES for what in ("begun", "completed")]
        ahead = told[-1].time - SystemClock().now()
        assert ahead.days >= 43, "the house did not come so far"
        offsets = [
            one.clock_offset_ms for one in history.facts(0, VmReady) if one.clock_offset_ms is not None
        ]
        assert all(abs(one) < MOST_OFF_MS for one in offsets), (
            "guests have the machine's clock, not the house's"
        )


async def test_a_vm_lives_from_its_first_boot_to_the_recycling_of_its_name_as_the_page_shows() -> None:
    qcow2, _, _ = PAGE.read_text().partition("\n## On Ceph\n")
    await walk(qcow2, ceph=False)


@pytest.mark.long
async def test_a_vm_whose_disk_is_in_ceph_lives_the_same_life() -> None:
    _, _, rbd = PAGE.read_text().partition("\n## On Ceph\n")
    assert rbd
    await walk(rbd, ceph=True)
