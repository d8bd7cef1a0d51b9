"""What each step in the life of a VM costs through the workers, beside the bare calls below it, in turns in one run.

Ours begins where a request is published and ends where its outcome is folded from the ledger: the door, the gate's decision and
the workers are in it. Bare is libvirt, qemu-img and Ceph's own binding, called by a script that has its connections open. The
last line is JSON; a step passes where ours takes at most 1.3 times as long, or at most 20 ms longer.
"""

import argparse
import asyncio
import json
import logging
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import uvloop

from bench.lifecycle_bare import ORG, Bare, Binding, Guest, Step, fill
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
GROWN_BYTES: Final = 512 * MIB
DEADLINE_SECONDS: Final = 180.0
MOST_RATIO: Final = 1.3
MOST_MS: Final = 20.0
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
Times = defaultdict[tuple[str, str], dict[str, list[float]]]
"""By kind of storage and step: what ours took, and bare."""


class Heard:
    """All that was read since the bench began, in order; the ledger's fold."""

    def __init__(self) -> None:
        self.lines: list[Recorded] = []

    def apply(self, recorded: Recorded) -> None:
        """It is among what was heard."""
        self.lines.append(recorded)


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

    async def took(self, request: Request, kind: type[F], vm: str) -> float:
        """Milliseconds from before the request was published until its outcome was read."""
        mark, began = len(self.heard.lines), time.perf_counter()
        await self.ask(request)
        await self.after(mark, kind, vm)
        return 1000 * (time.perf_counter() - began)


def asked() -> dict[str, Any]:
    """What every request says."""
    return {"key": new_key(), "actor": "operator", "reason": "measured"}


async def life(
    client: Client, bare: Bare, kind: str, number: int, *, base: Guest, mib: int, times: Times
) -> None:
    """One VM's life, each step ours first and then bare, or the other way round."""
    vm, pool = f"{POOLS[kind]}-{number}", POOLS[kind]
    mine = bare.like(domain_name(ORG, base.name), base.name, f"bare-{vm}")
    size, grown = DISK_BYTES, GROWN_BYTES

    async def turn(what: str, ours: Step, its: Step) -> None:
        for whose, step in (("ours", ours), ("bare", its))[:: 1 if number % 2 else -1]:
            times[kind, what].setdefault(whose, []).append(await step())

    def blocking(call: Callable[[], float]) -> Step:
        return lambda: asyncio.to_thread(call)

    await turn(
        "create to serving",
        lambda: client.took(CreateVm(pool=pool, vm=vm, key=new_key(), actor="operator"), VmReady, vm),
        lambda: bare.boot(kind, mine, size),
    )
    larger = ResizeVm(vm=vm, key=new_key(), disk_bytes=grown, actor="operator")
    await turn(
        "grow online",
        lambda: client.took(larger, VolumeGrown, vm),
        blocking(lambda: bare.grow(mine, grown)),
    )
    for domain in (bare.connection.lookupByName(domain_name(ORG, vm)), bare.domain(mine)):
        await asyncio.to_thread(fill, domain, mib)
    await turn(
        "snapshot online",
        lambda: client.took(CopyVm(vm=vm, kind="snapshot", copy="one", **asked()), CopyMade, vm),
        blocking(lambda: bare.snapshot(kind, mine)),
    )
    await client.took(ChangeVm(vm=vm, change="stop", **asked()), VmStopped, vm)
    await asyncio.to_thread(bare.stop, mine)
    await turn(
        "restore",
        lambda: client.took(RestoreVm(vm=vm, copy="one", **asked()), CopyRestored, vm),
        blocking(lambda: bare.restore(kind, mine)),
    )
    await turn(
        "clone",
        lambda: client.took(
            RestoreVm(vm=vm, copy="one", into=f"{vm}-other", **asked()), CopyRestored, f"{vm}-other"
        ),
        blocking(lambda: bare.clone(kind, mine)),
    )
    await asyncio.to_thread(bare.domain(mine).undefine)
    other = client.fleet.vms.get((ORG, f"{vm}-other"))
    if other is not None and other.reservation is not None:
        await client.took(ChangeVm(vm=other.name, change="stop", **asked()), VmStopped, other.name)


async def sleeper(client: Client, bare: Bare, guest: Guest, number: int, *, vm: str, times: Times) -> None:
    """One trip of a VM of a pool that scales to either depth and back, and a bare guest's beside it."""
    mark = len(client.heard.lines)
    await client.ask(Scale(pool="web", key=new_key(), add=1))
    await client.after(mark, VmReady, vm)
    await client.until(lambda: client.fleet.vms[ORG, vm].state == "serving")
    mark = len(client.heard.lines)

    async def drained() -> None:
        began = time.perf_counter()
        await client.ask(Quiesce(pool="web", key=new_key(), count=1))
        slept = await client.after(mark, VmQuiesced, vm)
        times["web", "quiesce, drained before"].setdefault("ours", []).append(
            1000 * (time.perf_counter() - began)
        )
        lines = client.heard.lines[mark:]
        [order] = [
            line
            for line in lines
            if isinstance(line.fact, GateDecided)
            and any(isinstance(one, SuspendOrdered) for one in line.fact.orders)
        ]
        since = slept.stored_at - order.stored_at
        times["web", "suspend to RAM"].setdefault("ours", []).append(since.total_seconds() * 1000)

    async def its() -> None:
        times["web", "suspend to RAM"].setdefault("bare", []).append(
            await asyncio.to_thread(bare.suspend, guest)
        )

    async def saved() -> None:
        times["web", "suspend to disk"].setdefault("ours", []).append(
            await client.took(Save(pool="web", key=new_key(), paused=0), VmSaved, vm)
        )

    async def bare_saved() -> None:
        times["web", "suspend to disk"].setdefault("bare", []).append(
            await asyncio.to_thread(bare.save, guest)
        )

    for step in (drained, its)[:: 1 if number % 2 else -1]:
        await step()
    if any(isinstance(line.fact, SnapshotTaken) for line in client.heard.lines):
        await client.after(mark, SnapshotTaken, vm)
    for step in (saved, bare_saved)[:: 1 if number % 2 else -1]:
        await step()
    await bare.wake(guest)


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


async def measure(directory: Path, rounds: int, mib: int) -> Times:
    """The times of every step, in milliseconds."""
    times: Times = defaultdict(dict)
    async with house(directory) as (client, bare):
        await client.until(
            lambda: (
                all((ORG, pool) in client.fleet.pools for pool in ("web", *POOLS.values()))
                and client.fleet.hosts
            )
        )
        bases: dict[str, Guest] = {}
        for (
            kind,
            pool,
        ) in POOLS.items():  # a first VM of each: the template is brought to its place, and code is warm
            vm = f"{pool}-first"
            await client.took(CreateVm(pool=pool, vm=vm, key=new_key(), actor="operator"), VmReady, vm)
            bases[kind] = Guest(vm, "", "", 0)
            await client.took(ChangeVm(vm=vm, change="stop", **asked()), VmStopped, vm)
        bare.binding.open()
        for number in range(rounds):
            for kind, base in bases.items():
                await life(client, bare, kind, number, base=base, mib=mib, times=times)
            _say(f"round {number + 1} of {rounds} done")
        await client.ask(Stock(pool="web", key=new_key(), vms=1))
        await client.until(lambda: len(client.fleet.members(ORG, "web", "quiesced")) == 1)
        [vm] = client.fleet.members(ORG, "web", "quiesced")
        guest = bare.like(domain_name(ORG, vm), vm, "bare-sleeper")
        await bare.boot("qcow2", guest, DISK_BYTES)
        for number in range(rounds):
            await sleeper(client, bare, guest, number, vm=vm, times=times)
        await asyncio.to_thread(bare.stop, guest)
    return times


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> None:
    """Medians, ours and bare, and whether each step is within its bound; then the same as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--mib", type=int, default=64, help="data in each disk")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with (
        tempfile.TemporaryDirectory(prefix="vs-", dir="/tmp") as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        Path(directory).chmod(0o711)
        times = runner.run(measure(Path(directory), chosen.rounds, chosen.mib))
    found: dict[str, dict[str, object]] = {}
    print(
        f"{'milliseconds, medians of ' + str(chosen.rounds):<36}{'ours':>9}{'bare':>9}{'more':>9}{'ratio':>7}"
    )
    for (kind, what), both in times.items():
        ours, bare = (statistics.median(both[whose]) if whose in both else None for whose in ("ours", "bare"))
        assert ours is not None
        row: dict[str, object] = {"ours_ms": round(ours, 1)}
        line = f"{kind + ', ' + what:<36}{ours:>9.1f}"
        if bare is not None:
            more, ratio = ours - bare, ours / bare
            passed = ratio <= MOST_RATIO or more <= MOST_MS
            row |= {
                "bare_ms": round(bare, 1),
                "more_ms": round(more, 1),
                "ratio": round(ratio, 2),
                "passed": passed,
            }
            line += f"{bare:>9.1f}{more:>9.1f}{ratio:>7.2f}{'' if passed else '  over'}"
        found[f"{kind}/{what}"] = row
        print(line)
    print(
        json.dumps(
            {
                "rounds": chosen.rounds,
                "mib": chosen.mib,
                "passed": all(row.get("passed", True) for row in found.values()),
                "steps": found,
            }
        )
    )


if __name__ == "__main__":
    main()
