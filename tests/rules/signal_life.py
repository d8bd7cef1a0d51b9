"""Signal workers on a bus in memory, with a metrics store that says what a test wants: what their tests share."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec

from events.bus.faults import Faults
from events.bus.ledger import Ledger
from events.bus.telemetry import Telemetry
from events.scale import ScaleRequested
from events.signal import SignalFound, SignalLost
from schemas.pool import DemandQuery, Pool, Trigger
from services.signal.port import Heard, Measurement
from services.signal.worker import Signal
from tests.rules.desk import CONTRACT, Desk, play, pool
from tests.simulation.clock import EPOCH, pause

TRIGGER = Trigger(query="p99", above=250.0, samples=3, add=2, kind="p99")
QUEUE = Trigger(query="queue", above=10.0, samples=2, add=5)
POOL = msgspec.structs.replace(
    pool("web"), triggers=(TRIGGER, QUEUE), demand=DemandQuery("rate", 100.0), cooldown_seconds=90
)


def at(seconds: float) -> dt.datetime:
    return EPOCH + dt.timedelta(seconds=seconds)


@dataclass
class Store:
    """A metrics store that samples every five seconds; each query has a value, a reason, or its own time."""

    clock: Callable[[], dt.datetime]
    answers: dict[str, Heard] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=lambda: {"p99": 100.0, "queue": 1.0, "rate": 250.0})

    async def query(self, expression: str, timeout_seconds: float) -> Heard:
        await pause(0.001)
        if expression in self.answers:
            return self.answers[expression]
        since = int((self.clock() - EPOCH).total_seconds()) // 5 * 5
        return Measurement(self.values[expression], at(since))


class Life:
    """Signal workers on one bus, each with a ledger and a metrics store of its own, until the scene ends."""

    def __init__(self, *pools: Pool, faults: Faults | None = None) -> None:
        self.desk = Desk(faults=faults, dedup_seconds=0.0)
        self.desk.contract(CONTRACT, *(pools or (POOL,)))
        self.tasks: list[asyncio.Task] = []

    def start(self) -> Store:
        bus = self.desk.worker_bus("signal")
        ledger = Ledger(bus)
        store = Store(self.desk.clock.now)
        signal = Signal(ledger, bus, self.desk.clock, store)
        self.signal = signal
        self.tasks += [asyncio.create_task(signal.work()), asyncio.create_task(ledger.follow())]
        return store

    async def kill(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()

    def lost(self) -> list[SignalLost]:
        return [one.fact for one in self.desk.facts(SignalLost) if isinstance(one.fact, SignalLost)]

    def found(self) -> list[SignalFound]:
        return [one.fact for one in self.desk.facts(SignalFound) if isinstance(one.fact, SignalFound)]

    def requests(self) -> list[ScaleRequested]:
        return [one.fact for one in self.desk.facts(ScaleRequested) if isinstance(one.fact, ScaleRequested)]

    async def ticks(self, name: str = "web") -> list[tuple[int, int, int]]:
        """Tick since the epoch, thousandths of a VM and samples, as the telemetry has them of the pool."""
        telemetry = Telemetry(self.desk.worker_bus("signal"))
        begin = int(EPOCH.timestamp()) // 15
        heard = (await telemetry.after(0)).heard
        return [
            (one.told.tick - begin, each.milli_vms, each.samples)
            for one in heard
            for each in one.told.pools
            if each.pool == name
        ]


def scene(story: Callable[[Life], Awaitable[None]], *pools: Pool, faults: Faults | None = None) -> None:
    async def whole() -> None:
        life = Life(*pools, faults=faults)
        await story(life)
        assert not any(task.done() for task in life.tasks), life.tasks
        await life.kill()

    play(whole)
