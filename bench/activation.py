"""How long a suspended VM takes to serve: the whole path through the workers, and the bare path beside it.

Both run on the same guests in the same run, in turns, because machines are noisy. The bare path is what any
program would have to do: libvirt's resume, the guest's first answer, one command to the load balancer. Prints a
table and, as its last line, one JSON object.
"""

import argparse
import asyncio
import datetime as dt
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import libvirt
import msgspec
import uvloop

from events.bus.ledger import Bell, Ledger
from events.bus.port import Bus
from events.envelope import Recorded
from events.gate import GateDecided, WakeOrdered
from events.scale import ScaleRequested
from events.vm import VmAnnounced, VmReady, VmResumed
from lab.balancer import ask as tell_balancer
from projections.activations.fold import Activation, Activations
from projections.contracts.fold import Contracts
from projections.fleet.fold import Fleet
from schemas.intake import Quiesce, Receipt, Request, Scale, Stock
from services.announcer.port import backend_name
from services.waker.port import domain_name
from virtscale import crew
from virtscale.world import Ports, World

ORG, POOL = "acme", "web"
STEPS = ("L1", "L2", "L3", "L4", "L5")
DEADLINE_SECONDS = 60.0
PROBE_SECONDS = 0.25
BATCH = 8


HOPS = (
    ("publish", "request stored"),
    ("request stored", "decision made"),
    ("decision made", "decision stored"),
    ("decision stored", "resume called"),
    ("resume called", "resume answered"),
    ("decision stored", "first probe out"),
    ("resume called", "guest answered"),
    ("guest answered", "readiness stored"),
    ("readiness stored", "traffic on"),
    ("traffic on", "announcement stored"),
)


@dataclass(slots=True)
class Figures:
    """What was measured, in milliseconds."""

    whole: list[float] = field(default_factory=list[float])
    bare: list[float] = field(default_factory=list[float])
    batches: list[float] = field(default_factory=list[float])
    bare_batches: list[float] = field(default_factory=list[float])
    hops: dict[tuple[str, str], list[float]] = field(default_factory=lambda: {hop: [] for hop in HOPS})
    steps: dict[str, list[float]] = field(default_factory=lambda: {step: [] for step in STEPS})


@dataclass(slots=True)
class Way:
    """The moments of one activation, as Unix milliseconds, in the order they follow each other."""

    moments: dict[str, float] = field(default_factory=dict[str, float])

    def note(self, what: str, moment: dt.datetime) -> None:
        """It happened then."""
        self.moments[what] = moment.timestamp() * 1000


class Hops:
    """A fold that keeps the moments of every activation, by order."""

    def __init__(self) -> None:
        self.ways: dict[str, Way] = {}
        self._stored: dict[str, dt.datetime] = {}

    def apply(self, recorded: Recorded) -> None:
        """The moments now include the event's."""
        match recorded.fact:
            case ScaleRequested():
                self._stored[recorded.id] = recorded.stored_at
            case GateDecided(orders=orders):
                for order in orders:
                    if isinstance(order, WakeOrdered):
                        way = self.ways.setdefault(order.id, Way())
                        way.note("request stored", self._stored[order.request])
                        way.note("decision made", recorded.time)
                        way.note("decision stored", recorded.stored_at)
            case VmResumed() as fact:
                self._of(fact.reservation).note("resume called", fact.started_at)
                self._of(fact.reservation).note("resume answered", fact.resumed_at)
            case VmReady() as fact:
                self._of(fact.reservation).note("first probe out", fact.probe_started_at)
                self._of(fact.reservation).note("guest answered", fact.answered_at)
                self._of(fact.reservation).note("readiness stored", recorded.stored_at)
            case VmAnnounced() as fact:
                self._of(fact.reservation).note("traffic on", fact.announced_at)
                self._of(fact.reservation).note("announcement stored", recorded.stored_at)
            case _:
                pass

    def _of(self, order: str) -> Way:
        return self.ways.setdefault(order, Way())


class Client:
    """Asks as the operator and waits for what becomes of it, in the folds of the very process."""

    def __init__(self, bus: Bus, ledger: Ledger) -> None:
        self._bus = bus
        self._bell: Bell = ledger.bell()
        self._fleet = ledger.fold(Fleet)
        self._activations = ledger.fold(Activations)
        self._hops = ledger.fold(Hops)
        self._number = time.time_ns()

    async def ask(self, verb: str, request: Callable[[str], Request]) -> Receipt:
        """The request is stored."""
        self._number += 1
        wish = request(f"bench-{self._number}")
        answer = await self._bus.ask(f"in.{ORG}.operator.{verb}", msgspec.json.encode(wish), 10.0)
        return msgspec.json.decode(answer, type=Receipt)

    async def until(self, condition: Callable[[], bool]) -> None:
        """The folds say so."""
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not condition():
                await self._bell.wait(1.0)

    async def asleep(self, vms: int) -> None:
        """So many VMs sleep, and none is awake."""
        await self.until(
            lambda: len(self._fleet.members(ORG, POOL, "quiesced")) == vms == self._fleet.total(ORG, POOL)
        )

    def knows_pool_and_host(self) -> bool:
        """The gate has defined the pool and the waker has named its host."""
        return (ORG, POOL) in self._fleet.pools and bool(self._fleet.hosts)

    def addresses(self) -> dict[str, str]:
        """Where each VM's guest answers."""
        return {vm.name: vm.address for vm in self._fleet.vms.values() if vm.address}

    async def wake(self, count: int, figures: Figures) -> float:
        """Milliseconds from publishing the request until `count` VMs serve."""
        started_ns = time.time_ns()
        receipt = await self.ask("scale", lambda key: Scale(pool=POOL, key=key, add=count))
        trips: list[Activation] = []

        def serving() -> bool:
            trips[:] = self._activations.of(receipt.id)
            return len(trips) == count and all(trip.stage in {"serving", "failed"} for trip in trips)

        await self.until(serving)
        failures = [trip.failure for trip in trips if trip.failure]
        if failures:
            raise SystemExit(f"an activation failed: {failures[0]}")
        requested_ns = trips[0].requested_at.timestamp() * 1e9
        if count == 1:
            # The waker's word comes off the path: it may be folded after the load balancer's.
            await self.until(lambda: self._activations.of(receipt.id)[0].awake_at is not None)
            [trip] = self._activations.of(receipt.id)
            figures.steps["L1"].append((requested_ns - started_ns) / 1e6)
            for step, took in trip.steps_ms().items():
                if took is not None:
                    figures.steps[step].append(took)
            await self.until(lambda: "announcement stored" in self._hops.ways[trip.order].moments)
            moments = {"publish": started_ns / 1e6, **self._hops.ways[trip.order].moments}
            for start, end in HOPS:
                figures.hops[start, end].append(moments[end] - moments[start])
        last = max(trip.serving_at.timestamp() * 1e9 for trip in trips if trip.serving_at)
        return (last - started_ns) / 1e6

    async def sleep(self, count: int, vms: int) -> None:
        """The awake VMs are asleep again."""
        await self.ask("quiesce", lambda key: Quiesce(pool=POOL, key=key, count=count))
        await self.asleep(vms)


async def warm_up(client: Client, vms: int) -> None:
    """Each guest woke once, unmeasured: the first wake after a boot translates code that later ones find (TCG)."""
    for _ in range(vms):
        await client.wake(1, Figures())
        await client.sleep(1, vms)


async def whole_path(client: Client, vms: int, singles: int, batches: int, figures: Figures) -> None:
    """One turn of the whole path: singles, then batches of eight."""
    for _ in range(singles):
        figures.whole.append(await client.wake(1, figures))
        await client.sleep(1, vms)
    for _ in range(batches):
        figures.batches.append(await client.wake(BATCH, figures))
        await client.sleep(BATCH, vms)


async def bare_path(
    world: World, addresses: dict[str, str], singles: int, batches: int, figures: Figures
) -> None:
    """One turn of the bare path on the same guests; nobody else touches them meanwhile."""
    connection = await asyncio.to_thread(libvirt.open, world.house.hosts[0].uri)
    socket, backend = Path(world.house.balancer_socket), backend_name(ORG, POOL)
    domains = {vm: await asyncio.to_thread(connection.lookupByName, domain_name(ORG, vm)) for vm in addresses}

    async def serve(vm: str) -> float:
        started = time.perf_counter()
        resumed = asyncio.create_task(asyncio.to_thread(domains[vm].resume))
        await _answer(addresses[vm])
        await resumed
        await tell_balancer(socket, f"set server {backend}/{vm} state ready", 2.0)
        return (time.perf_counter() - started) * 1000

    async def rest(vm: str) -> None:
        await tell_balancer(socket, f"set server {backend}/{vm} state maint", 2.0)
        await asyncio.to_thread(domains[vm].suspend)

    try:
        names = list(addresses)
        for number in range(singles):
            vm = names[number % len(names)]
            figures.bare.append(await serve(vm))
            await rest(vm)
        for _ in range(batches):
            figures.bare_batches.append(max(await asyncio.gather(*(serve(vm) for vm in names[:BATCH]))))
            await asyncio.gather(*(rest(vm) for vm in names[:BATCH]))
    finally:
        await asyncio.to_thread(connection.close)


async def _answer(address: str) -> None:
    """The guest answered; a probe every 5 ms with a timeout of 250 ms, as a script would."""
    host, port = address.split(":")
    while True:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
                line = await reader.readline()
                writer.close()
            if b" 200 " in line:
                return
        except (TimeoutError, OSError):
            pass
        await asyncio.sleep(0.005)


@asynccontextmanager
async def working(world: World):  # noqa: ANN201 - an async context manager of a client
    """The workers work; a client that asks them."""
    live: asyncio.Future[Ledger] = asyncio.get_running_loop().create_future()
    team = asyncio.create_task(crew.run(world.house, live.set_result, folds=(Hops,)))
    await asyncio.wait({team, live}, return_when=asyncio.FIRST_COMPLETED)
    if team.done():
        await team
    await world.enact(live.result().fold(Contracts))
    bus = await world.connect("operator")
    try:
        yield Client(bus, live.result())
    finally:
        await bus.close()
        team.cancel()
        await asyncio.gather(team, return_exceptions=True)


async def measure(vms: int, singles: int, batches: int, turns: int) -> Figures:
    """The figures of `turns` turns of both paths."""
    figures = Figures()
    with tempfile.TemporaryDirectory(prefix="vs-bench-") as directory:
        async with World(Path(directory), Ports.free(), "qemu", _say) as world:
            for turn in range(turns):
                async with working(world) as client:
                    await client.until(client.knows_pool_and_host)
                    await client.ask("stock", lambda key: Stock(pool=POOL, key=key, vms=vms))
                    await _patiently(client.asleep(vms))
                    if turn == 0:
                        await warm_up(client, vms)
                    addresses = client.addresses()
                    await whole_path(client, vms, singles // turns, batches // turns, figures)
                await bare_path(world, addresses, singles // turns, batches // turns, figures)
                _say(f"turn {turn + 1} of {turns} done")
    return figures


async def _patiently(wait: Awaitable[None]) -> None:
    async with asyncio.timeout(600):
        await wait


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def quantile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie; of the values themselves, none invented between."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main() -> None:
    """Measures, prints the table, and the JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vms", type=int, default=8)
    parser.add_argument("--singles", type=int, default=120)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--turns", type=int, default=4)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(measure(arguments.vms, arguments.singles, arguments.batches, arguments.turns))
    rows = {
        "whole path, one VM": figures.whole,
        "bare path, one VM": figures.bare,
        f"whole path, batch of {BATCH}": figures.batches,
        f"bare path, batch of {BATCH}": figures.bare_batches,
        **{f"step {step}": values for step, values in figures.steps.items()},
        **{f"{start} -> {end}": values for (start, end), values in figures.hops.items()},
    }
    print(f"{'milliseconds':<40}{'n':>6}{'p50':>9}{'p90':>9}{'p99':>9}{'max':>9}")
    for name, values in rows.items():
        cells = [quantile(values, share) for share in (0.5, 0.9, 0.99)]
        print(f"{name:<40}{len(values):>6}" + "".join(f"{cell:>9.1f}" for cell in (*cells, max(values))))
    p50, bare_p50 = statistics.median(figures.whole), statistics.median(figures.bare)
    print(
        json.dumps(
            {
                "p50_ms": round(p50, 2),
                "p99_ms": round(quantile(figures.whole, 0.99), 2),
                "bare_p50_ms": round(bare_p50, 2),
                "overhead_p50_ms": round(p50 - bare_p50, 2),
                "batch8_p50_ms": round(statistics.median(figures.batches), 2),
                "bare_batch8_p50_ms": round(statistics.median(figures.bare_batches), 2),
                "steps_p50_ms": {
                    step: round(statistics.median(values), 2) for step, values in figures.steps.items()
                },
            }
        )
    )


if __name__ == "__main__":
    main()
