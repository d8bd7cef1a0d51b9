"""What each step in the life of a VM costs through the workers, beside the bare calls below it, in turns in one run.

Ours begins where a request is published and ends where its outcome is folded from the ledger: the door, the gate's decision and
the workers are in it. Bare is libvirt, qemu-img and Ceph's own binding, called by a script that has its connections open. The
last line is JSON; a step passes where ours takes at most 1.3 times as long, or at most 20 ms longer.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import uvloop

from bench.lifecycle_bare import ORG, Bare, Binding, Guest, fill
from bench.lifecycle_figures import Figures, Step, Way
from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.copy import CopyFailed, CopyMade, CopyRestored, CopyRestoreFailed
from events.envelope import Recorded
from events.fact import Fact
from events.gate import GateDecided, SuspendOrdered
from events.vm import VmQuiesced, VmReady, VmSaved, VmSaveFailed, VmStopped, VmUnready, VmWakeFailed
from events.volume import SnapshotTaken, VolumeFailed, VolumeGrowFailed, VolumeGrown
from lab.ceph import Ceph
from projections.contracts.fold import Contracts
from projections.fleet.fold import Fleet
from schemas.house import CephPlace
from schemas.intake import Quiesce, Request, Save, Scale, Stock
from schemas.template import BASE
from schemas.vm_intake import ChangeVm, CopyVm, CreateVm, ResizeVm, RestoreVm
from services.waker.port import domain_name
from virtscale import crew
from virtscale.ask import new_key, publish
from virtscale.world import Ports, World

F = TypeVar("F", bound=Fact)

MIB: Final = 1 << 20
DISK_BYTES: Final = 256 * MIB
STEP_BYTES: Final = 64 * MIB
REPEATS: Final = 4
"""Of what takes less than a boot, in each round."""
NAMES: Final = tuple(f"s{number}" for number in range(REPEATS))
DEADLINE_SECONDS: Final = 180.0
POOLS: Final = {"qcow2": "near", "rbd": "far"}
POOL: Final = """\
org = "acme"
name = "{name}"
kind = "kept"
profile = "lab"
template = "tiny"
forecast = "off"
refresh = "none"      # no guest is asked to hold still for a snapshot: the bare one is not asked either
grace_seconds = 2
storage = "{storage}"
disk_bytes = {disk_bytes}
snapshots_kept = 9

[size]
name = "vs.tiny"
vcpu = 1
memory_mib = 96
"""
FAILURES: Final = (
    VmUnready,
    VmWakeFailed,
    VmSaveFailed,
    VolumeFailed,
    VolumeGrowFailed,
    CopyFailed,
    CopyRestoreFailed,
)


class Heard:
    """All that was read since the bench began, in order; the ledger's fold."""

    def __init__(self) -> None:
        self.lines: list[Recorded] = []

    def apply(self, recorded: Recorded) -> None:
        """It is among what was heard."""
        self.lines.append(recorded)


def _answers(line: Recorded, request: str) -> bool:
    return isinstance(line.fact, GateDecided) and any(one.request == request for one in line.fact.answers)


@dataclass(slots=True)
class Client:
    """Asks as the operator, and knows what came of it as soon as this process has read it."""

    bus: Bus
    ledger: Ledger
    fleet: Fleet = field(init=False)
    heard: Heard = field(init=False)

    def __post_init__(self) -> None:
        self.fleet, self.heard = self.ledger.fold(Fleet), self.ledger.fold(Heard)

    async def ask(self, request: Request) -> None:
        """The request is stored."""
        await publish(self.bus, ORG, request)

    async def until(self, condition: Callable[[], object]) -> None:
        """The folds say so."""
        bell = self.ledger.bell()
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition():
                await bell.wait(1.0)

    async def after(self, mark: int, kind: type[F], vm: str) -> Recorded:
        """The first such event about the VM since the mark; what failed or was refused meanwhile ends the bench."""
        at = mark
        found: list[Recorded] = []

        def seen() -> bool:
            nonlocal at
            while at < len(self.heard.lines):
                line = self.heard.lines[at]
                at += 1
                fact = line.fact
                if isinstance(fact, GateDecided):
                    refused = [one for one in fact.answers if one.outcome == "refused"]
                    if refused:
                        raise SystemExit(f"the gate refused: {refused[0]}")
                elif getattr(fact, "vm", None) == vm and isinstance(fact, FAILURES):
                    raise SystemExit(f"it failed: {fact}")
                elif isinstance(fact, kind) and getattr(fact, "vm", None) == vm:
                    found.append(line)
                    return True
            return False

        await self.until(seen)
        return found[0]

    async def took(self, request: Request, kind: type[F], vm: str) -> Way:
        """From before the request was published until its outcome was read."""
        mark, began = len(self.heard.lines), time.time()
        receipt = await publish(self.bus, ORG, request)
        outcome = await self.after(mark, kind, vm)
        ended = time.time()
        requested, decided = (
            next(line.stored_at.timestamp() for line in self.heard.lines[mark:] if is_it(line))
            for is_it in (lambda line: line.id == receipt.id, lambda line: _answers(line, receipt.id))
        )
        done = outcome.stored_at.timestamp()
        return Way(*(1000 * (to - of) for of, to in pairwise((began, requested, decided, done, ended))))


def asked() -> dict[str, Any]:
    """What every request says."""
    return {"key": new_key(), "actor": "operator", "reason": "measured"}


async def life(
    client: Client, bare: Bare, kind: str, number: int, *, base: Guest, mib: int, figures: Figures
) -> None:
    """One VM's life, each step ours first and then bare, or the other way round."""
    vm, pool = f"{POOLS[kind]}-{number}", POOLS[kind]
    mine = bare.like(domain_name(ORG, base.name), base.name, f"bare-{vm}")
    turns = count(number)

    async def turn(what: str, ours: Step, its: Step) -> None:
        await figures.turn(f"{kind}, {what}", ours, its, ours_first=bool(next(turns) % 2))

    def blocking(call: Callable[[], float]) -> Step:
        return lambda: asyncio.to_thread(call)

    await turn(
        "create to serving",
        lambda: client.took(CreateVm(pool=pool, vm=vm, key=new_key(), actor="operator"), VmReady, vm),
        lambda: bare.boot(kind, mine, DISK_BYTES),
    )
    running = (bare.connection.lookupByName(domain_name(ORG, vm)), bare.domain(mine))
    for again in range(REPEATS):
        size = DISK_BYTES + (again + 1) * STEP_BYTES
        larger = ResizeVm(vm=vm, key=new_key(), disk_bytes=size, actor="operator")
        await turn(
            "grow online",
            lambda larger=larger: client.took(larger, VolumeGrown, vm),
            blocking(lambda size=size: bare.grow(mine, size)),
        )
    for name in NAMES:
        for domain in running:
            await asyncio.to_thread(fill, domain, mib)
        await turn(
            "snapshot online",
            lambda name=name: client.took(CopyVm(vm=vm, kind="snapshot", copy=name, **asked()), CopyMade, vm),
            blocking(lambda name=name: bare.snapshot(kind, mine, name)),
        )
    await client.took(ChangeVm(vm=vm, change="stop", **asked()), VmStopped, vm)
    await asyncio.to_thread(bare.stop, mine)
    for name in NAMES:
        await turn(
            "restore",
            lambda name=name: client.took(RestoreVm(vm=vm, copy=name, **asked()), CopyRestored, vm),
            blocking(lambda name=name: bare.restore(kind, mine, name)),
        )
    for name in NAMES:
        into = f"{vm}-{name}"
        await turn(
            "clone",
            lambda name=name, into=into: client.took(
                RestoreVm(vm=vm, copy=name, into=into, **asked()), CopyRestored, into
            ),
            blocking(lambda name=name: bare.clone(kind, mine, name)),
        )
    await asyncio.to_thread(bare.domain(mine).undefine)


async def sleeper(
    client: Client, bare: Bare, guest: Guest, number: int, *, vm: str, figures: Figures
) -> None:
    """One trip of a VM of a pool that scales to either depth and back, and a bare guest's beside it."""
    mark, first = len(client.heard.lines), bool(number % 2)
    await client.ask(Scale(pool="web", key=new_key(), add=1))
    await client.after(mark, VmReady, vm)
    await client.until(lambda: client.fleet.vms[ORG, vm].state == "serving")
    mark = len(client.heard.lines)

    async def suspended() -> float:
        """From the order on: before it the VM is drained, of which a script knows nothing."""
        way = await client.took(Quiesce(pool="web", key=new_key(), count=1), VmQuiesced, vm)
        figures.ours("web, quiesce, drained before", way)
        ordered, slept = (
            next(line.stored_at for line in client.heard.lines[mark:] if is_it(line))
            for is_it in (_suspends, lambda line: isinstance(line.fact, VmQuiesced))
        )
        return 1000 * (slept - ordered).total_seconds()

    await figures.turn(
        "web, suspend to RAM",
        suspended,
        lambda: asyncio.to_thread(bare.suspend, guest),
        ours_first=first,
    )
    # Nobody is saved before storage has pinned the disk of his sleep, two seconds after he fell asleep.
    await client.after(mark, SnapshotTaken, vm)
    await figures.turn(
        "web, suspend to disk",
        lambda: client.took(Save(pool="web", key=new_key(), paused=0), VmSaved, vm),
        lambda: asyncio.to_thread(bare.save, guest),
        ours_first=first,
    )
    await bare.wake(guest)


def _suspends(line: Recorded) -> bool:
    return isinstance(line.fact, GateDecided) and any(
        isinstance(one, SuspendOrdered) for one in line.fact.orders
    )


@asynccontextmanager
async def house(directory: Path) -> AsyncGenerator[tuple[Client, Bare]]:
    """A whole house with a cluster at work, two pools that keep VMs, and who asks it."""
    pools = directory / "house" / "pools"
    pools.mkdir(parents=True)
    for name, storage in (("near", "local"), ("far", "ceph")):
        text = POOL.format(name=name, storage=storage, disk_bytes=DISK_BYTES)
        (pools / f"{ORG}.{name}.toml").write_text(text)
    async with AsyncExitStack() as stack:
        ceph = Ceph(directory / "c")
        await ceph.start()
        stack.push_async_callback(ceph.stop)
        world = await stack.enter_async_context(
            World(directory / "house", Ports.free(), "qemu", _say, memory_mib=1024)
        )
        described = msgspec.structs.replace(world.house, ceph=CephPlace(str(ceph.conf)))
        live: asyncio.Future[Ledger] = asyncio.get_running_loop().create_future()
        team = asyncio.create_task(crew.run(described, live.set_result, folds=(Heard,)))
        stack.push_async_callback(_ended, team)
        await asyncio.wait({team, live}, return_when=asyncio.FIRST_COMPLETED)
        if team.done():
            await team
        await world.enact(live.result().fold(Contracts))
        bus = await world.connect("operator")
        stack.push_async_callback(bus.close)
        assert world.hypervisor is not None
        base = Path(world.house.templates) / "tiny" / BASE
        bare = Bare(world.house.hosts[0].uri, world.hypervisor.volumes, base, Binding(ceph.conf))
        stack.callback(bare.close)
        yield Client(bus, live.result()), bare


async def _ended(team: asyncio.Task[None]) -> None:
    team.cancel()
    await asyncio.gather(team, return_exceptions=True)


async def measure(directory: Path, rounds: int, mib: int) -> Figures:
    """The times of every step, in milliseconds."""
    figures = Figures()
    async with house(directory) as (client, bare):
        await client.until(
            lambda: (
                all((ORG, pool) in client.fleet.pools for pool in ("web", *POOLS.values()))
                and client.fleet.hosts
            )
        )
        bases: dict[str, Guest] = {}
        for kind, pool in POOLS.items():  # a first VM of each: the template is brought to its place
            vm = f"{pool}-first"
            await client.took(CreateVm(pool=pool, vm=vm, key=new_key(), actor="operator"), VmReady, vm)
            bases[kind] = Guest(vm, "", "", 0)
            await client.took(ChangeVm(vm=vm, change="stop", **asked()), VmStopped, vm)
        bare.binding.open()
        for number in range(rounds + 1):
            for kind, base in bases.items():
                kept = figures if number else Figures()  # who does a thing for the first time takes longer
                await life(client, bare, kind, number, base=base, mib=mib, figures=kept)
            _say(f"round {number} of {rounds} done")
        await client.ask(Stock(pool="web", key=new_key(), vms=1))
        await client.until(lambda: len(client.fleet.members(ORG, "web", "quiesced")) == 1)
        [vm] = client.fleet.members(ORG, "web", "quiesced")
        guest = bare.like(domain_name(ORG, vm), vm, "bare-sleeper")
        await bare.boot("qcow2", guest, DISK_BYTES)
        for number in range(rounds + 1):
            await sleeper(client, bare, guest, number, vm=vm, figures=figures if number else Figures())
        await asyncio.to_thread(bare.stop, guest)
    return figures


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> None:
    """Medians, ours and bare, and whether each step is within its bound; then the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="even: in every other one bare comes first")
    parser.add_argument("--mib", type=int, default=16, help="data in each disk")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with (
        tempfile.TemporaryDirectory(prefix="vs-", dir="/tmp") as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        Path(directory).chmod(0o711)
        figures = runner.run(measure(Path(directory), chosen.rounds, chosen.mib))
    print(figures.report(chosen.rounds, chosen.mib))


if __name__ == "__main__":
    main()
