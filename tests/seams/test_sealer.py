"""The sealer as a process, on a real bus and a real disk."""

import asyncio
import itertools
import re
import resource
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from events.bus.port import Bus, UnansweredError, UnpermittedError
from events.tlog.checkpoint import Checkpoint, opened
from events.tlog.files import DirectoryFiles
from events.tlog.leaf import entry, leaf_hash
from events.tlog.note import Verifier
from events.tlog.reader import Archive
from events.tlog.tree import Frontier
from lab.ports import LOOPBACK
from schemas.house import FILE, House
from tests.seams.bus_worlds import GATE, OVERDUE, VIEW, NatsWorld, a_world, out
from tests.support import eventually

ROOT = Path(__file__).resolve().parents[2]
LAG_SECONDS = 1.0


def house_at(here: Path, url: str, witnesses: tuple[str, ...] = ()) -> House:
    return House(
        directory=str(here),
        bus_url=url,
        keys=str(here / "bus" / "keys"),
        signing_keys=str(here / "signing"),
        contracts=str(here / "contracts"),
        pools=str(here / "pools"),
        templates=str(here / "templates"),
        vault=str(here / "vault"),
        hosts=(),
        balancer_socket=str(here / "balancer.sock"),
        balancer_config=str(here / "balancer.cfg"),
        balancer_base=str(here / "balancer.base"),
        smtp_host=LOOPBACK,
        smtp_port=1,
        prometheus_url=f"http://{LOOPBACK}:1",
        metrics_port=1,
        audit=str(here / "audit"),
        audit_key=str(here / "audit-key" / "log.ed25519"),
        origin="ledger.test/house",
        marks=str(here / "marks"),
        permit_seconds=LAG_SECONDS,
        witnesses=witnesses,
    )


@dataclass
class Site:
    """A bus, a house beside it, and as many sealers as a test starts."""

    directory: Path
    world: NatsWorld
    sealers: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def archive(self) -> Path:
        return self.directory / "audit"

    def described(self, *witnesses: str) -> None:
        house = house_at(self.directory, self.world.server.url, witnesses)
        (self.directory / FILE).write_bytes(msgspec.json.encode(house))

    async def seal(self, *arguments: str) -> asyncio.subprocess.Process:
        """A sealer has been started."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.sealer", "--house", str(self.directory), *arguments),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )
        self.sealers.append(process)
        return process

    async def refused(self) -> str:
        """What a sealer says that does not even begin."""
        said = await last_words(await self.seal())
        self.sealers.pop()
        return said

    async def gate(self, *, timeout_seconds: float = 5.0) -> Bus:
        """A writer that needs a permit."""
        return await self.world.connect(GATE, timeout_seconds=timeout_seconds, permit_seconds=LAG_SECONDS)

    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint on the disk, by the key that the archive names; None when there is none."""
        note = Archive(DirectoryFiles(self.archive)).checkpoint_note()
        return (
            None
            if note is None
            else opened(note, Verifier.parse((self.archive / "vkey").read_text().strip()))
        )

    async def sealed(self, size: int) -> Checkpoint:
        """The first checkpoint seen that covers so much."""

        async def covers() -> Checkpoint | None:
            if self.sealers and self.sealers[-1].returncode not in (None, -9):
                _, said = await self.sealers[-1].communicate()
                raise AssertionError(f"the sealer ended: {said.decode()}")
            found = self.checkpoint()
            return found if found is not None and found.size >= size else None

        return await eventually(covers, 15.0, why=f"{size} events are never sealed")  # pyright: ignore[reportReturnType]

    async def is_true(self, checkpoint: Checkpoint) -> bool:
        """Whether the bus's own messages come to the checkpoint's root."""
        view, frontier = await self.world.connect(VIEW), Frontier()
        for first in range(1, checkpoint.size + 1, 500):
            for stored in await view.read(first, min(checkpoint.size, first + 499)):
                frontier.add(leaf_hash(entry(stored)))
        return frontier.root() == checkpoint.root


async def last_words(process: asyncio.subprocess.Process) -> str:
    """What the process said until it ended by itself, with an error."""
    async with asyncio.timeout(15):
        _, said = await process.communicate()
    assert process.returncode == 1, said.decode()
    return said.decode()


async def appended(bus: Bus, count: int, name: str = "e") -> int:
    """So many events are in the ledger, each once permitted; the sequence of the last."""
    seq = 0
    for number in range(count):
        seq = (
            await bus.append(out(OVERDUE.format(f"v{number % 5}"), f"{name}-{number}", b"%d" % number))
        ).seq
    return seq


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with a_world("nats", tmp_path / "bus") as world:
        assert isinstance(world, NatsWorld)
        made = Site(tmp_path, world)
        made.described()
        try:
            yield made
        finally:
            for process in made.sealers:
                if process.returncode is None:
                    process.kill()
                    await process.communicate()


async def test_what_is_written_is_sealed_and_without_the_sealer_every_writer_stops_within_the_lag(
    site: Site,
) -> None:
    impatient = await site.gate(timeout_seconds=0.2)
    with pytest.raises(UnpermittedError):
        await impatient.append(out(OVERDUE.format("v"), "too early"))
    process = await site.seal()
    writers = [await site.gate() for _ in range(3)]
    last = max(await asyncio.gather(*(appended(bus, 150, f"w{n}") for n, bus in enumerate(writers))))
    assert await site.is_true(await site.sealed(last))
    process.kill()
    loop = asyncio.get_running_loop()
    died_at, stored_at = loop.time(), list[float]()

    async def until_stopped(bus: Bus, name: str) -> None:
        for number in itertools.count():
            try:
                await bus.append(out(OVERDUE.format(name), f"{name}-{number}"))
            except UnansweredError:
                return
            stored_at.append(loop.time())

    hurried = [await site.gate(timeout_seconds=0.2) for _ in range(3)]
    await asyncio.gather(*(until_stopped(bus, f"late{n}") for n, bus in enumerate([impatient, *hurried])))
    assert max([died_at, *stored_at]) - died_at < LAG_SECONDS + 0.5


async def test_while_the_archives_disk_takes_nothing_nobody_writes_and_with_room_all_goes_on(
    site: Site,
) -> None:
    process, gate = await site.seal(), await site.gate()
    hurried = await site.gate(timeout_seconds=0.2)

    async def writes() -> bool:
        try:
            await hurried.append(out(OVERDUE.format("v"), f"at-{asyncio.get_running_loop().time()}"))
        except UnpermittedError:
            return False
        return True

    async def stopped() -> bool:
        return not await writes()

    await site.sealed(await appended(gate, 20))
    await eventually(writes)
    _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, most))  # every write of a file fails from now on
    await eventually(stopped, 10.0, every_seconds=0.1, why="somebody writes for ever")
    before = site.checkpoint()
    assert before is not None
    assert await site.is_true(before)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (most, most))
    assert await site.is_true(await site.sealed(await appended(gate, 5, "room")))
    process.terminate()
    assert process.stderr is not None
    assert b"nobody may append: The archive's disk did not take" in await process.stderr.read()


async def test_a_second_sealer_of_one_archive_does_not_begin_and_the_first_one_goes_on(site: Site) -> None:
    first, gate = await site.seal(), await site.gate()
    await appended(gate, 5)
    said = await site.refused()
    assert f"The archive {site.archive} has a sealer already (process {first.pid}" in said
    await site.sealed(await appended(gate, 5, "further"))
    assert first.returncode is None


async def test_a_sealer_that_is_killed_under_load_starts_again_to_the_root_of_what_the_bus_holds(
    site: Site,
) -> None:
    gate = await site.world.connect(GATE)
    writing = asyncio.create_task(appended(gate, 1500))
    for size in (200, 600):
        process = await site.seal()
        await site.sealed(size)
        process.kill()
        await process.communicate()
    last = await writing
    process, permitted = await site.seal(), await site.gate()
    last = await appended(permitted, 1, f"after {last}")
    assert await site.is_true(await site.sealed(last))
    process.terminate()
    async with asyncio.timeout(10):
        await process.communicate()
    assert process.returncode == 0
    assert (site.archive / "stopped").exists()
    (site.directory / "audit-key" / "log.ed25519").chmod(0o644)
    assert "can be read by others, who could sign another history with it" in await site.refused()


async def test_a_bus_that_comes_back_with_an_older_copy_of_its_store_is_written_to_by_nobody(
    site: Site,
) -> None:
    process, gate = await site.seal(), await site.gate()
    await appended(gate, 50, "old")
    older = site.directory / "older"
    await site.world.kill_server()
    shutil.copytree(site.directory / "bus" / "store", older)
    await site.world.start_server()
    last = await appended(gate, 50, "new")
    await site.sealed(last)
    await site.world.kill_server()
    shutil.rmtree(site.directory / "bus" / "store")
    shutil.copytree(older, site.directory / "bus" / "store")
    await site.world.start_server()
    hurried = await site.world.connect(GATE, timeout_seconds=3.0, permit_seconds=LAG_SECONDS)
    with pytest.raises(UnansweredError):
        await hurried.append(out(OVERDUE.format("v"), "on old ground"))
    said = await last_words(process)
    ends = await (await site.world.connect(VIEW)).last()
    known = re.search(rf"The bus ends with event {ends}, and (\d+) events were sealed or read", said)
    assert known is not None, said
    assert int(known.group(1)) >= last
    assert "virtscale ledger recover" in said
    assert await (await site.world.connect(VIEW)).last() == ends
