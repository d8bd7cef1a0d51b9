"""A domain that somebody made by hand is adopted by the command, by a house's own workers: what docs/adoption.md shows happens."""

import asyncio
import re
import shlex
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import libvirt
import pytest

from events.keep import VmAdopted, VmCreated
from events.volume import VolumeAdopted
from tests.seams.client import Client
from tests.seams.crew import Crew
from tests.seams.foreigners import BYTES, Foreigner, foreigner, make_disk
from tests.seams.house import a_client, a_world, run
from tests.seams.test_readme import masked
from tests.support import eventually
from virtscale.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = Path(__file__).parents[2] / "docs" / "adoption.md"
WORKERS = ("signal", "gate", "storage", "waker")


def transcripts() -> list[tuple[str, list[str]]]:
    """Each command of the page with the lines that it is said to answer."""
    blocks = re.findall(r"^```\n(\$ virtscale .*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [
        (command.removeprefix("$ virtscale "), lines)
        for command, *lines in (block.splitlines() for block in blocks)
    ]


def others(uri: str, images: Path) -> list[Foreigner]:
    """What somebody has on the host: one that is fit, one that runs, one with two disks and no name of ours."""
    disks = {name: images / f"{name}.qcow2" for name in ("old-db", "old-web", "mail", "mail-2")}
    for disk in disks.values():
        make_disk(disk, "qcow2", "F", "64M")
    made = [
        foreigner(uri, "old-db", [disks["old-db"]], "qcow2"),
        foreigner(uri, "old-web", [disks["old-web"]], "qcow2"),
        foreigner(uri, "Mail.example", [disks["mail"], disks["mail-2"]], "qcow2"),
    ]
    made[1].start()
    return made


def names(uri: str) -> list[str]:
    with libvirt.open(uri) as connection:
        return sorted(one.name() for one in connection.listAllDomains())


async def founded(stack: AsyncExitStack) -> tuple[World, Crew, Client]:
    """A house at work."""
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
    return world, crew, client


async def test_a_domain_is_adopted_as_the_page_says() -> None:
    async with AsyncExitStack() as stack:
        world, _, client = await founded(stack)
        place, program = world.house.hosts[0], Path(sys.executable).with_name("virtscale")
        made = await asyncio.to_thread(others, place.uri, Path(place.volumes).parent / "images")
        stack.callback(lambda: [one.forget() for one in made])
        for command, lines in transcripts():
            done = await run(program, *shlex.split(command), house=world.directory, deadline_seconds=120)
            said = {masked(line) for line in (done.err + done.out).splitlines()}
            missing = [line for line in lines if masked(line) not in said]
            assert missing == [], f"`virtscale {command}` said otherwise:\n{done.err}{done.out}"
        assert await asyncio.to_thread(names, place.uri) == sorted(["Mail.example", "old-web"]), (
            "it has no domain before its first boot"
        )
        (taken,) = client.history.facts(0, VolumeAdopted)
        assert (taken.vm, taken.size_bytes) == ("db", 64 << 20)
        assert len(client.history.facts(0, VmAdopted)) == 1


@pytest.mark.long
async def test_workers_that_are_killed_while_they_adopt_lose_no_disk() -> None:
    async with AsyncExitStack() as stack:
        world, crew, client = await founded(stack)
        place = world.house.hosts[0]
        images, volumes = Path(place.volumes).parent / "images", Path(place.volumes)
        program = Path(sys.executable).with_name("virtscale")
        for number, form in enumerate(("raw", "qcow2", "raw", "qcow2", "raw")):
            name = f"old-{number}"
            file = images / f"{name}.{form}"
            await asyncio.to_thread(make_disk, file, form, "F", "64M")
            one = await asyncio.to_thread(foreigner, place.uri, name, [file], form)
            stack.callback(one.forget)
            words = ("vm", "adopt", "acme/apps", "--host", "h1", "--domain", name)
            asking = asyncio.create_task(run(program, *words, house=world.directory, deadline_seconds=120))
            orders = len(client.history.facts(0, VmCreated))
            await eventually(lambda known=orders: len(client.history.facts(0, VmCreated)) > known, 60)
            for worker in ("storage", "waker", "storage", "waker"):
                await crew.kill(worker)
                await eventually(lambda who=worker: crew.alive(who), 20)
            done = await asking
            assert done.code == 0, done.err + done.out
            assert name not in await asyncio.to_thread(names, place.uri)
            command = ["qemu-io", "-r", "-f", "qcow2", "-c", f"read -P {ord('F')} 0 {BYTES}"]
            read = await asyncio.to_thread(
                subprocess.run,
                [*command, str(volumes / f"acme.{name}.qcow2")],
                capture_output=True,
                check=True,
            )
            assert b"verification failed" not in read.stdout + read.stderr
            left = sorted(path.name for path in images.glob(f"{name}*"))
            note = f"{name}.{form}.adopted.json"
            assert left == ([f"{name}.{form}.adopted", note] if form == "raw" else [note])
        assert len(client.history.facts(0, VmAdopted)) == 5
