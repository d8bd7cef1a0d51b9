"""A hypervisor that is reached over TLS, and one over SSH, joins a running house, carries a VM that serves, and is let go again."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.certificates import issue
from lab.hypervisor import Hypervisor, Listening, short_directory
from lab.ports import LOOPBACK
from schemas.intake import Stock
from tests.seams import ssh
from tests.seams.client import ORG, POOL, Client
from tests.seams.crew import Crew
from tests.seams.house import BOOT_SECONDS, Done, a_client, a_world, run
from tests.support import eventually, free_port
from virtscale.ask import new_key
from virtscale.world import World

PROGRAM = "virtscale"
SECONDS = 20.0


@dataclass(frozen=True)
class Site:
    """A house of one host with its workers, and a second hypervisor that nobody told it of."""

    world: World
    crew: Crew
    client: Client
    elsewhere: Hypervisor
    way: str
    uri: str
    foreign: str
    """The same place, by a key or certificate that nobody there knows."""

    async def command(self, *words: str) -> Done:
        program = Path(sys.executable).with_name(PROGRAM)
        return await run(program, *words, house=self.world.directory)


@pytest.fixture(params=["tls", "ssh"])
async def site(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        world, _ = await stack.enter_async_context(a_world(memory_mib=100))
        certificates, port = await issue(tmp_path / "ca", LOOPBACK), free_port()
        foreign = await issue(tmp_path / "foreign", LOOPBACK)
        private = short_directory(tmp_path)
        private.mkdir()
        private.chmod(0o711)
        stack.callback(shutil.rmtree, private)
        elsewhere = Hypervisor(private / "far", listening=Listening(port, certificates))
        await elsewhere.start()
        stack.push_async_callback(elsewhere.stop)
        stack.push_async_callback(elsewhere.destroy_domains)
        crew = Crew(world.directory, keep=False)
        stack.push_async_callback(crew.stop)
        for name in ("signal", "gate", "storage", "waker", "prober", "announcer"):
            await crew.start(name)
        watching = asyncio.create_task(world.watch())
        stack.callback(watching.cancel)
        client = await stack.enter_async_context(a_client(world, views=True))
        await client.until(lambda: (ORG, POOL) in client.fleet.pools, SECONDS, "no gate works")
        await world.enact(client.contracts)
        if request.param == "tls":
            over = f"qemu+tls://{LOOPBACK}:{port}/session?pkipath="
            uri, strange = f"{over}{certificates.pki}", f"{over}{foreign.pki}"
        else:
            server = await ssh.serve(tmp_path / "ssh")
            stack.push_async_callback(server.part.stop)
            uri, strange = (server.uri(elsewhere.socket, key) for key in (server.key, server.stranger))
        yield Site(world, crew, client, elsewhere, request.param, uri, strange)


async def test_a_host_elsewhere_is_added_serves_and_is_removed_while_the_house_is_up(site: Site) -> None:
    client = site.client
    refused = await site.command("host", "add", "far", site.foreign)
    assert refused.code == 1
    assert f"{site.way.upper()} failed on the way to" in refused.err
    assert f"[Host{site.way.capitalize()}Failed]" in refused.err
    assert not (site.world.directory / "hosts").exists()

    options = ("--memory", "1GiB", "--volumes", str(site.elsewhere.volumes))
    added = await site.command("host", "add", "far", site.uri, *options)
    assert added.code == 0, added.err
    await eventually(
        lambda: [place.name for place in site.world.house.hosts] == ["h1", "far"],
        SECONDS,
        why="nobody sees it",
    )
    place = await asyncio.wait_for(site.world.arrivals.get(), SECONDS)
    assert (place.name, place.memory_mib, place.first_port) == (
        "far",
        1024,
        site.world.house.hosts[0].first_port + 500,
    )
    await site.crew.start("waker", "--host", "far", name="waker-far")
    await client.until(lambda: "far" in client.fleet.hosts, SECONDS, "its waker says nothing")

    # The house's own host has room for one guest; the second one is booted elsewhere, and serves.
    await client.ask("stock", Stock(pool=POOL, key=new_key(), vms=2))
    await client.until(
        lambda: len(client.fleet.members(ORG, POOL, "quiesced")) == 2, BOOT_SECONDS, "not both VMs sleep"
    )
    assert {vm.host for vm in client.fleet.vms.values()} == {"h1", "far"}
    await client.served(await client.scale(2))
    [there] = [vm for vm in client.fleet.vms.values() if vm.host == "far"]
    assert there.address == f"{LOOPBACK}:{place.first_port}"

    again = await site.command("host", "add", "other", site.uri)
    assert "is in the house already, as host far" in again.err

    drained = await site.command("host", "drain", "far", "--reason", "it is sold", "--no-replace")
    assert drained.code == 0, drained.err
    removed = await site.command("host", "remove", "far", "--reason", "it is sold")
    assert removed.code == 0, removed.err
    await eventually(lambda: not site.crew.alive("waker-far"), SECONDS, why="its waker works on")
    assert site.crew.codes("waker-far") == (0,)
    assert not list((site.world.directory / "hosts").glob("*"))
    await eventually(
        lambda: [place.name for place in site.world.house.hosts] == ["h1"], SECONDS, why="it is not let go"
    )
    listed = (await site.command("host", "list", "-o", "json")).rows()
    assert [row["host"] for row in listed] == ["h1"]

    # The very same host may come again.
    assert (await site.command("host", "add", "far", site.uri, *options)).code == 0
    await asyncio.wait_for(site.world.arrivals.get(), SECONDS)
    await site.crew.start("waker", "--host", "far", name="waker-far-again")
    await client.until(lambda: client.fleet.hosts["far"].state == "ready", SECONDS, "it does not come back")
