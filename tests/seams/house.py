"""One whole house for the seam tests: real parts, four suspended guests, workers in processes of their own."""

import asyncio
import base64
import datetime as dt
import os
import re
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import libvirt
import msgspec

from events.bus.ledger import Ledger
from events.bus.permissions import DEAD, MESSAGE_GET
from events.bus.port import Bus
from events.vault import Vault
from lab.hypervisor import short_directory
from lab.ports import LOOPBACK
from projections.keeper import Keeper
from schemas.contract.document import Signed
from schemas.contract.signing import sign
from schemas.contract.terms import Person, canonical
from schemas.intake import DeadLetter, Quiesce, RegisterKey, Submit
from schemas.names import PLATFORM
from tests.papers import terms
from tests.seams.client import ORG, POOL, Client
from tests.seams.crew import ROOT, Crew
from tests.support import eventually, free_port
from virtscale.ask import new_key
from virtscale.crew import VIEWS, WORKERS
from virtscale.description import PERMIT_SECONDS
from virtscale.keys import signers
from virtscale.views import Views
from virtscale.world import Ports, Substrate, World

VMS: Final = 4
HOST_MIB: Final = 240
"""What each of the two hosts lends: room for two guests of 96 MiB, so that four VMs are on both."""
BOOT_SECONDS: Final = 90.0
REST_SECONDS: Final = 30.0
COMMAND_SECONDS: Final = 45.0
TENANT: Final = "globex"
"""A second org, with a contract and a pool of its own and no VM: for what cannot be undone."""
TENANT_OWNER: Final = "globex-owner"

_POOL: Final = """\
org = "globex"
name = "api"
template = "tiny"

[size]
name = "vs.tiny"
vcpu = 1
memory_mib = 96
"""


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    def rows(self) -> list[dict]:
        """What `-o json` printed."""
        return msgspec.json.decode(self.out)


class House:
    """A running installation with everything a test needs to use and to hurt it."""

    def __init__(
        self, world: World, crew: Crew, client: Client, said: list[str], signal_metrics: int
    ) -> None:
        self.world = world
        self.crew = crew
        self.client = client
        self.said = said
        """What the installation told its screen."""
        self.signal_metrics = f"http://{LOOPBACK}:{signal_metrics}/metrics"

    @property
    def directory(self) -> Path:
        return self.world.directory

    @property
    def url(self) -> str:
        """Where the pool's traffic comes in."""
        return f"http://{LOOPBACK}:{self.world.balancer.frontends[0].port}"

    async def command(self, *words: str, deadline_seconds: float = COMMAND_SECONDS) -> Done:
        """`virtscale WORDS` has run in this house, as a person would run it."""
        program = Path(sys.executable).with_name("virtscale")
        return await run(program, *words, house=self.directory, deadline_seconds=deadline_seconds)

    async def get(self, path: str = "/") -> tuple[int, str]:
        """Status and body of one request through the load balancer, on a connection of its own."""
        async with httpx.AsyncClient(timeout=5) as client:
            answer = await client.get(self.url + path)
        return answer.status_code, answer.text.strip()

    async def answering(self, path: str = "/", times: int = 8) -> set[tuple[int, str]]:
        """The different answers to some requests in a row."""
        return {await self.get(path) for _ in range(times)}

    def views_seq(self) -> int:
        """The ledger sequence that the views include."""
        views = Views(self.directory)
        try:
            return int(views.rows("SELECT seq FROM progress")[0]["seq"] or 0)
        finally:
            views.close()

    async def counted(self, code: str) -> float:
        """How often the intake has rejected a message with this code, by its own metrics."""
        async with httpx.AsyncClient(timeout=5) as client:
            text = (await client.get(self.signal_metrics)).text
        found = re.search(rf'virtscale_intake_rejected_total{{code="{code}"}} ([0-9.e+]+)', text)
        return float(found.group(1)) if found else 0.0

    async def dead_letter(self, subject: str) -> DeadLetter:
        """The newest message on a subject of the dead-letter stream."""
        admin = await self.world.connect("admin")
        try:
            asked = msgspec.json.encode({"last_by_subj": subject})
            answer = await admin.ask(MESSAGE_GET.format(DEAD), asked, 5.0)
        finally:
            await admin.close()
        return msgspec.json.decode(
            base64.b64decode(msgspec.json.decode(answer)["message"]["data"]), type=DeadLetter
        )

    async def running(self) -> set[str]:
        """VMs of the first org whose domain runs now, as libvirt says."""
        uris = [host.uri for host in self.world.house.hosts]
        return set().union(*[await asyncio.to_thread(_running, uri) for uri in uris])

    async def usage_is_right(self) -> None:
        """What counts as awake is what runs, exactly."""
        await eventually(self._usage_agrees, 10.0, every_seconds=0.1, why="usage is not what runs")

    async def _usage_agrees(self) -> bool:
        try:
            return await self.running() == self.client.awake()
        except (
            libvirt.libvirtError
        ):  # libvirtd was killed and is on its way back: asked again, until the deadline
            return False

    async def rest(self) -> None:
        """All VMs sleep, no capacity counts and every worker lives: what was left over is repaired, or this fails."""
        for name in self.crew.names():
            await eventually(lambda name=name: self.crew.alive(name), 10.0, why=f"{name} is not alive")
        await self.client.until(self._settled, REST_SECONDS, "VMs are still on their way")
        serving = len(self.client.fleet.members(ORG, POOL, "serving"))
        if serving:
            await self.client.ask("quiesce", Quiesce(pool=POOL, key=new_key(), count=serving))
        await self.client.until(
            lambda: self._settled() and not self.client.awake(), REST_SECONDS, "VMs do not fall asleep"
        )
        if len(self.client.fleet.members(ORG, POOL, "quiesced")) < VMS:
            await self.client.stock(VMS)
            await self.client.until(self.asleep, BOOT_SECONDS, "the pool is not stocked again")
        await self.client.until(self.asleep, REST_SECONDS, "not every VM sleeps")
        await self.usage_is_right()

    def _settled(self) -> bool:
        return set(self.client.states().values()) <= {"quiesced", "serving", "stopped"}

    def asleep(self) -> bool:
        """All four sleep and nothing counts."""
        states = list(self.client.states().values())
        return states.count("quiesced") == VMS == len(states) and not self.client.awake()


@asynccontextmanager
async def a_world(
    substrate: Substrate = "qemu",
    *,
    hosts: int = 1,
    memory_mib: int | None = None,
    permit_seconds: float = 0.0,
    ceph: bool = False,
    movable_clock: bool = False,
) -> AsyncGenerator[tuple[World, list[str]]]:
    """A world of its own on free ports, and what it says; gone with its files when the block ends.

    Nobody needs a permit unless the test says so, and with it starts a sealer.
    """
    directory = Path(tempfile.mkdtemp(prefix="vs-house-"))
    directory.chmod(0o755)  # guests started by root belong to nobody, who must be able to come in
    said: list[str] = []
    try:
        world = World(
            directory,
            Ports.free(),
            substrate,
            said.append,
            own_hosts=hosts,
            memory_mib=memory_mib,
            permit_seconds=permit_seconds,
            ceph=ceph,
            movable_clock=movable_clock,
        )
        async with world:
            yield world, said
    finally:
        shutil.rmtree(directory)
        shutil.rmtree(short_directory(directory), ignore_errors=True)  # there is one after a failed start


@asynccontextmanager
async def a_client(world: World, *, views: bool = False) -> AsyncGenerator[Client]:
    """A client that has read the ledger to its end, and keeps the views if asked."""
    async with AsyncExitStack() as stack:
        reader, operator = [await _connection(stack, world, name) for name in ("reader", "operator")]
        ledger = Ledger(reader)
        client = Client(operator, ledger)
        stack.push_async_callback(client.close)
        if views:  # with a reader of their own: what is over leaves the folds that views are written from
            kept = Ledger(await _connection(stack, world, "reader"))
            keeper = Keeper(kept, world.directory / VIEWS)
            for work in (keeper.work(), kept.follow()):
                stack.push_async_callback(_ended, asyncio.create_task(work, name="views"))
        async with asyncio.timeout(10):
            await ledger.live.wait()
        yield client


def waker_of(host: str) -> str:
    """What the crew calls the host's waker."""
    return "waker" if host == "h1" else f"waker-{host}"


@asynccontextmanager
async def a_house() -> AsyncGenerator[House]:
    """A whole house on two hosts, whose pool holds four suspended VMs, two on each."""
    async with AsyncExitStack() as stack:
        world, said = await stack.enter_async_context(
            a_world(hosts=2, memory_mib=HOST_MIB, permit_seconds=PERMIT_SECONDS)
        )
        second_org(world)
        crew = Crew(world.directory)
        stack.push_async_callback(crew.stop)
        signal_metrics = free_port()
        for name in WORKERS:
            extra = ("--metrics-port", str(signal_metrics)) if name == "signal" else ()
            if name == "waker":
                for host in world.house.hosts:
                    await crew.start(name, "--host", host.name, name=waker_of(host.name))
            else:
                await crew.start(name, *extra)
        watching = asyncio.create_task(world.watch(), name="newcomers")
        stack.push_async_callback(_ended, watching)
        client = await stack.enter_async_context(a_client(world, views=True))
        house = House(world, crew, client, said, signal_metrics)
        try:
            await client.until(
                lambda: (
                    (ORG, POOL) in client.fleet.pools and len(client.fleet.hosts) == len(world.house.hosts)
                ),
                20.0,
                "nobody founds the house",
            )
            await world.enact(client.contracts)
            await second_contract(world, client)
            await client.stock(VMS)
            await client.until(house.asleep, BOOT_SECONDS, "the pool is not stocked")
        except BaseException as error:
            error.add_note(crew.last_words())
            raise
        yield house


async def run(program: Path, *words: str, house: Path, deadline_seconds: float = COMMAND_SECONDS) -> Done:
    """The program has run to its end in the house."""
    process = await asyncio.create_subprocess_exec(
        *(str(program), *words),
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "VIRTSCALE_HOUSE": str(house), "NO_COLOR": "1", "COLUMNS": "200"},
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), deadline_seconds)
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
        raise AssertionError(f"{' '.join(words)} did not end: {out.decode()} {err.decode()}") from None
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def _connection(stack: AsyncExitStack, world: World, name: str) -> Bus:
    bus = await world.connect(name)
    stack.push_async_callback(bus.close)
    return bus


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    for outcome in await asyncio.gather(task, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


def second_org(world: World) -> None:
    """After the world's start, so that no port is taken for a pool that never serves."""
    Path(world.house.pools, f"{TENANT}.api.toml").write_text(_POOL)


async def second_contract(world: World, client: Client) -> None:
    """The second org signed a contract for two vCPU, and it is in force."""
    signing, now = Path(world.house.signing_keys), dt.datetime.now(dt.UTC).replace(microsecond=0)
    mine = signers.create(signers.path_of(signing, TENANT))
    commitment = Vault(Path(world.house.vault)).put(TENANT_OWNER, {"mail": "owner@globex.example"})
    contract = terms(
        TENANT,
        vcpu=2,
        memory_mib=4096,
        allowance_bp=500,
        owner=Person(person=TENANT_OWNER, commitment=commitment),
        valid_from=now - dt.timedelta(days=1),
        valid_until=now + dt.timedelta(days=365),
    )
    document = sign(
        Signed(canonical(contract), ()),
        "provider",
        signers.read(signers.path_of(signing, PLATFORM)),
        now,
    )
    document = sign(document, "org", mine, now)
    key = RegisterKey(key="globex-key", public_key=signers.public(mine), wait=True)
    await client.ask("register-key", key, org=TENANT)
    receipt = await client.ask(
        "contract", Submit(key="globex-contract", document=document, wait=True), org=TENANT
    )
    assert receipt.outcome == "admitted", receipt


def _running(uri: str) -> set[str]:
    connection = libvirt.open(uri)
    try:
        names = [
            domain.name()
            for domain in connection.listAllDomains()
            if domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING
        ]
    finally:
        connection.close()
    return {name.rpartition(".")[2] for name in names}
