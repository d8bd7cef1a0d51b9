"""What docs/drift.md shows is what the commands say: somebody changes real domains and disks by hand, in a house of its own."""

import asyncio
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import libvirt
import pytest

from events.drift import DomainDrifted, DomainSettled, VolumeDrifted
from events.fact import Fact
from tests.seams.client import Client
from tests.seams.crew import Crew
from tests.seams.house import a_client, a_world, run
from tests.seams.test_readme import masked
from tests.support import eventually
from virtscale.world import World

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.long]

PAGE = Path(__file__).parents[2] / "docs" / "drift.md"
WORKERS = ("signal", "gate", "storage", "waker", "prober")


def steps() -> list[tuple[str, list[str]]]:
    """Each command of the page with the lines that it is said to answer."""
    blocks = re.findall(r"^```\n\$ (.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    return [(command, lines) for command, *lines in (block.splitlines() for block in blocks)]


def told(line: str) -> str:
    """The line without what differs from run to run, and without the width of its columns."""
    line = re.sub(r"/\S+/volumes/", "/run/virtscale/h1/volumes/", masked(line))
    return re.sub(r" +", " ", re.sub(r"\d{4}-\d\d-\d\dT[\d:.+]+|<time>", "TIME", line)).strip()


def plugged(uri: str, words: Sequence[str]) -> None:
    """`virsh setvcpus DOMAIN NUMBER --live`."""
    name, number = words[2:4]
    with libvirt.open(uri) as connection:
        connection.lookupByName(name).setVcpusFlags(int(number), libvirt.VIR_DOMAIN_AFFECT_LIVE)


class Hand:
    """Somebody at the hypervisor, and how long it takes until the ledger knows."""

    def __init__(self, world: World, crew: Crew, client: Client) -> None:
        self._uri = world.house.hosts[0].uri
        self._volumes = Path(world.house.hosts[0].volumes)
        self._crew = crew
        self._client = client

    async def does(self, command: str) -> None:
        """The command of the page that is none of ours; and a look at what it did, which otherwise comes within a minute."""
        words = shlex.split(command)
        if words[0] == "virsh":
            await asyncio.to_thread(plugged, self._uri, words)
            await self._known("waker", DomainDrifted)
        else:
            file = self._volumes / Path(words[1]).name
            await asyncio.to_thread(file.rename, file.with_name(Path(words[2]).name))
            await self._known("storage", VolumeDrifted)

    async def settles(self) -> None:
        """The next look finds it as it should be."""
        await self._known("waker", DomainSettled)

    async def _known(self, worker: str, kind: type[Fact]) -> None:
        await self._crew.kill(worker)
        told: Callable[[], object] = lambda: self._client.history.facts(0, kind)  # noqa: E731 - for the deadline's words
        await eventually(told, 45.0, why=f"nobody says {kind.__name__}")


async def test_what_somebody_changes_by_hand_is_told_as_the_page_says() -> None:
    async with AsyncExitStack() as stack:
        world, _ = await stack.enter_async_context(a_world(memory_mib=400))
        crew = Crew(world.directory)
        stack.push_async_callback(crew.stop)
        for name in WORKERS:
            await crew.start(name)
        client = await stack.enter_async_context(a_client(world, views=True))
        await client.until(
            lambda: ("acme", "apps") in client.fleet.pools and len(client.fleet.hosts) == 1, 20.0, "no house"
        )
        await world.enact(client.contracts)
        hand, program = Hand(world, crew, client), Path(sys.executable).with_name("virtscale")
        for command, lines in steps():
            if not command.startswith("virtscale "):
                await hand.does(command)
                continue
            words = shlex.split(command.removeprefix("virtscale "))
            done = await run(program, *words, house=world.directory, deadline_seconds=120)
            said = {told(line) for line in (done.err + done.out).splitlines()}
            missing = [line for line in lines if told(line) not in said]
            assert missing == [], f"`{command}` said otherwise:\n{done.err}{done.out}"
            if "reboot" in words:
                await hand.settles()
        assert [one.what for one in client.history.facts(0, VolumeDrifted)] == ["missing"]
