"""Snapshots, backups and restores of a VM that is kept, on a real host with real guests, as docs/copies.md shows them."""

import asyncio
import re
import shlex
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from tests.seams.client import Client
from tests.seams.crew import Crew
from tests.seams.house import a_client, a_world, run
from tests.seams.test_readme import masked

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = Path(__file__).parents[2] / "docs" / "copies.md"
WORKERS = ("signal", "gate", "storage", "waker", "prober", "notifier")
GUEST_SECONDS = 60


def transcripts() -> list[tuple[str, list[str]]]:
    """Each command of the page with the lines that it is said to answer."""
    blocks = re.findall(r"^```\n(\$ virtscale .*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [
        (command.removeprefix("$ virtscale "), lines)
        for command, *lines in (block.splitlines() for block in blocks)
    ]


def plain(line: str) -> str:
    """The line without what differs from run to run and from house to house."""
    return masked(re.sub(r"(?:\b\d+ (?:d|h|min|s)\b *)+", "AGE ", re.sub(r"/\S*/", "/…/", line)))


async def disk(client: Client, vm: str, name: str, text: str | None = None) -> str:
    """What the guest's file holds; or is written to it."""
    address = client.fleet.vms["acme", vm].address
    async with asyncio.timeout(GUEST_SECONDS), httpx.AsyncClient(timeout=10) as guest:
        while True:
            try:
                url = f"http://{address}/cgi-bin/disk?{name}"
                answer = await (guest.get(url) if text is None else guest.post(url, content=text))
                return answer.raise_for_status().text
            except httpx.TransportError:
                continue


@pytest.mark.long
@pytest.mark.parametrize("pool", ["apps", "ceph"])
async def test_copies_are_made_and_restored_as_the_page_says(pool: str) -> None:
    async with AsyncExitStack() as stack:
        world, _ = await stack.enter_async_context(a_world(memory_mib=400, ceph=pool == "ceph"))
        crew = Crew(world.directory)
        stack.push_async_callback(crew.stop)
        for name in WORKERS:
            await crew.start(name)
        client = await stack.enter_async_context(a_client(world, views=True))
        await client.until(
            lambda: ("acme", pool) in client.fleet.pools and len(client.fleet.hosts) == 1,
            20.0,
            "nobody founds the house",
        )
        await world.enact(client.contracts)
        program = Path(sys.executable).with_name("virtscale")
        for shown, lines in transcripts():
            command = shown.replace("acme/apps", f"acme/{pool}")
            if command.startswith("vm snapshot"):
                await disk(client, "db", "report", "first")
            if command.startswith("vm backup"):
                await disk(client, "db", "report", "second")
            done = await run(program, *shlex.split(command), house=world.directory, deadline_seconds=120)
            said = {plain(line) for line in (done.err + done.out).splitlines()}
            # Other places: an image in the org's pool is no path.
            wanted = lines if pool == "apps" else [line for line in lines if " /" not in line]
            missing = [line for line in wanted if plain(line) not in said]
            assert missing == [], f"`virtscale {command}` said otherwise:\n{done.err}{done.out}"
            if command.startswith("vm backup"):
                await disk(client, "db", "report", "third")
            if command == "vm start acme/db":
                assert await disk(client, "db", "report") == "first"
            if command == "vm start acme/db-2":
                assert await disk(client, "db-2", "report") == "second"
        assert "stood still for" in crew.said("storage")
