"""A forecaster at work in virtual time: telemetry that a test makes up, an intake that writes down what is asked."""

import asyncio
import datetime as dt
import math
from collections.abc import Awaitable, Callable, Iterable

import msgspec

from events.bus.faults import Faults
from events.bus.ledger import Ledger
from events.bus.memory import MemoryBus
from events.bus.permissions import INTAKE
from events.bus.port import Outgoing
from events.bus.telemetry import Telemetry, end_of, tick_of
from events.forecast import ForecastMade
from events.ids import derive
from events.pool import PoolDefined
from events.quiesce import QuiesceRequested
from events.save import SaveRequested
from events.scale import ScaleRequested
from schemas.intake import Quiesce, Receipt, Save, Scale
from schemas.pool import Pool
from schemas.telemetry import PoolTold, Told
from services.forecaster.worker import Forecaster
from tests.rules.desk import CONTRACT, Desk, play, pool
from tests.simulation.clock import EPOCH, VirtualClock, pause

FIRST = tick_of(EPOCH)
_VERBS = {"scale": Scale, "quiesce": Quiesce, "save": Save}

Demand = Callable[[int], int | None]
"""Thousandths of a VM in a tick; None where no sample comes."""


class Drawer:
    """A shelf in memory; what is put there outlives whoever put it."""

    def __init__(self, data: bytes | None = None) -> None:
        self.data = data
        self.puts = 0

    async def read(self) -> bytes | None:
        return self.data

    async def put(self, data: bytes | bytearray) -> None:
        self.data = bytes(data)
        self.puts += 1


class Life:
    """A ledger with one org, a signal that tells what the test makes up, and forecasters that come and go."""

    def __init__(self, *pools: Pool, faults: Faults | None = None) -> None:
        self.desk = Desk(faults=faults, dedup_seconds=0.0)
        self.desk.contract(CONTRACT, *(pools or (foreseen(),)))
        self.drawer = Drawer()
        self.asked: list[tuple[dt.datetime, str, Scale | Quiesce | Save]] = []
        self.demand: dict[str, Demand] = {"web": lambda _: 3400}
        self.clock = VirtualClock(asyncio.get_running_loop())
        """The forecaster's own, which a test may set."""
        self._tasks: list[asyncio.Task[None]] = []
        self._buses: list[MemoryBus] = []
        self.signal = self.desk.worker_bus("signal")
        self.telemetry = Telemetry(self.signal)

    async def open(self) -> None:
        """The intake takes requests, and the telemetry is told."""
        await self.signal.serve(INTAKE, "signal", self._answer)
        self._tasks.append(asyncio.create_task(self._tell()))

    async def _tell(self) -> None:
        while True:
            tick = tick_of(self.desk.clock.now())
            await pause((end_of(tick) - self.desk.clock.now()).total_seconds() + 0.3)
            await self.tell(tick, {name: demand(tick) for name, demand in self.demand.items()})

    async def tell(self, tick: int, demand: dict[str, int | None], org: str = "acme") -> None:
        pools = tuple(
            PoolTold(name, milli, 3, (tick + 1) * 15_000 - 1)
            for name, milli in demand.items()
            if milli is not None
        )
        if pools:
            await self.telemetry.tell(org, Told(tick, pools))

    async def _answer(self, subject: str, payload: bytes) -> bytes:
        _, org, _, verb = subject.split(".")
        request = msgspec.json.decode(payload, type=_VERBS[verb])
        now = self.desk.clock.now()
        self.asked.append((now, verb, request))
        id_ = derive(org, "forecast", verb, request.key)
        common = {"org": org, "pool": request.pool, "publisher": "forecast", "key": request.key}
        match request:
            case Scale(want=want, up_to=up_to):
                fact = ScaleRequested(
                    **common,
                    origin="forecast",
                    add=None,
                    want=want,
                    up_to=up_to,
                    received_at=now,
                    sample=None,
                )
            case Quiesce(count=count):
                fact = QuiesceRequested(
                    **common, origin="forecast", count=count, received_at=now, sample=None
                )
            case Save(paused=paused):
                fact = SaveRequested(**common, origin="forecast", paused=paused, received_at=now)
        return msgspec.json.encode(Receipt(id_, self.desk.write(fact, id=id_).seq))

    def start(self) -> list[asyncio.Task[None]]:
        """A forecaster is at work."""
        bus = self.desk.worker_bus("forecaster")
        ledger = Ledger(bus)
        worker = Forecaster(ledger, bus, self.clock, self.drawer)
        tasks = [asyncio.create_task(worker.work()), asyncio.create_task(ledger.follow())]
        self._tasks += tasks
        self._buses.append(bus)
        return tasks

    async def kill(self, tasks: list[asyncio.Task[None]]) -> None:
        """It is gone, this very moment."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def end(self) -> None:
        assert not any(task.done() and not task.cancelled() for task in self._tasks), self._tasks
        await self.kill(self._tasks)

    def made(self, name: str = "web") -> list[ForecastMade]:
        """What was told of a pool, in order."""
        facts = (one.fact for one in self.desk.facts(ForecastMade))
        return [fact for fact in facts if isinstance(fact, ForecastMade) and fact.pool == name]

    def define(self, definition: Pool) -> None:
        """The pool is defined so from now on."""
        self.desk.write(PoolDefined(org=definition.org, pool=definition.name, definition=definition))

    def rubbish(self, payload: bytes) -> Outgoing:
        """A message on the telemetry's subject that is none."""
        return Outgoing("telemetry.acme", derive("rubbish", payload.hex()), payload)


def foreseen(name: str = "web", **terms: object) -> Pool:
    """A pool whose forecast moves VMs, unless said otherwise."""
    return msgspec.structs.replace(pool(name), **({"forecast": "on", "min_vms": 1} | terms))


def scene(story: Callable[[Life], Awaitable[None]], *pools: Pool, faults: Faults | None = None) -> None:
    """The story is played in virtual time, and everybody goes home."""

    async def whole() -> None:
        life = Life(*pools, faults=faults)
        await life.open()
        await story(life)
        await life.end()

    play(whole)


def wave(tick: int) -> int:
    """Some VMs, more and fewer again every forty minutes, and a little noise that is always the same."""
    return int(6000 + 4000 * math.sin(tick / 25) + (tick * 7919 % 400))


def climb(tick: int) -> int:
    """Half a VM more every ninety seconds: a target that goes up and up."""
    return 1000 + 500 * max(0, (tick - FIRST) // 6)


def ticks_of(facts: Iterable[ForecastMade]) -> list[int]:
    """The numbers of all ticks that were told, in order."""
    found: list[int] = []
    for fact in facts:
        last = tick_of(fact.made_at) - 1
        found += range(last - fact.ticks + 1, last + 1)
        assert end_of(last - fact.ticks + 1) == fact.since, fact
    return found
