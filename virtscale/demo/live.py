"""The day on real parts: a house of its own, suspended guests, users that send requests, and the workers as they are.

Only the curve goes faster. Clocks, horizon, cooldown and drain are real, so a ramp is as many times steeper for the forecaster
as the day is faster.
"""

import asyncio
import datetime as dt
import math
from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import prometheus_client

from events.bus.ledger import Ledger
from events.bus.telemetry import Telemetry, tick_of
from events.fold import Fold
from events.tlog.files import DirectoryFiles
from events.tlog.reader import Archive
from lab.ports import LOOPBACK
from projections.contracts.fold import Contracts
from projections.fleet.fold import Fleet
from projections.usage.fold import Usage
from replay.figures.clients import Clients
from schemas.intake import Scale
from schemas.telemetry import PoolTold, Told
from virtscale import crew, description, founding
from virtscale.ask import new_key, publish
from virtscale.demo import setting
from virtscale.demo.crowd import Requests, crowd
from virtscale.demo.day import TICK_SECONDS, Piece, former
from virtscale.demo.looks import count, look
from virtscale.demo.news import News
from virtscale.demo.screen import Screen
from virtscale.demo.summary import Run, clients
from virtscale.demo.units import Units
from virtscale.demo.users import Asked
from virtscale.demo.wakes import Wakes
from virtscale.ports import Ports
from virtscale.up import stocked, until
from virtscale.world import World

RUN_IN_SECONDS: Final = 75.0
"""The curve is played for so long before the piece begins, uncounted: measurements of a rate need a while to be true."""

CREW_SECONDS: Final = 40.0
"""All workers are at work for so long before: by then the forecaster has learnt the former days, which takes it 20 s."""

FORECASTER: Final = "forecaster"
_TOGETHER: Final = 256
_AWAKE_SECONDS: Final = 60.0
_SEAL_SECONDS: Final = 5.0
_SEAL_LOOK_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """What is played, and where everything that stays of it goes."""

    piece: Piece
    directory: Path
    source: str
    history_days: int = 7
    run_in_seconds: float = RUN_IN_SECONDS
    crew_seconds: float = CREW_SECONDS

    @property
    def house(self) -> Path:
        """The house's directory."""
        return self.directory / "house"


@dataclass(slots=True)
class Played:
    """What there is of a run so far; it is complete at any time, so that a run that is ended early is told as well."""

    began_at: dt.datetime | None = None
    ended_at: dt.datetime | None = None
    requests: Requests = field(default_factory=Requests)
    units: Units = field(default_factory=Units)
    wakes: Wakes = field(default_factory=Wakes)

    def told(self, source: str) -> Clients | None:
        """What users saw so far; None where the piece never began."""
        if self.began_at is None or self.ended_at is None:
            return None
        run = Run(source, self.began_at, self.ended_at)
        return clients(run, self.requests, self.wakes.ended, self.units)


async def play(plan: Plan, played: Played, screen: Screen) -> None:
    """The piece was played to its end; everything that was started is gone, also where it is cancelled."""
    ports = Ports.free()
    plan.house.mkdir(parents=True, exist_ok=True)
    plan.house.chmod(0o755)  # guests started by root belong to nobody, who must be able to come in
    found = description.describe(plan.house, ports, "", (), description.kept(plan.house))
    setting.found(found, plan.piece.vms, dt.datetime.now(dt.UTC))
    async with World(plan.house, ports, "qemu", screen.say) as world:
        exporter, _ = prometheus_client.start_http_server(ports.metrics, addr="127.0.0.1")
        try:
            await _prepare(world, plan, screen)
            await _perform(world, ports, plan, played, screen)
        finally:
            exporter.shutdown()


@asynccontextmanager
async def _crewed(
    world: World, workers: Collection[str] = crew.WORKERS, folds: Iterable[type[Fold]] = ()
) -> AsyncGenerator[Ledger]:
    """These workers are at work while the block lasts."""
    async with asyncio.TaskGroup() as parts:
        ledgers: asyncio.Future[Ledger] = asyncio.get_running_loop().create_future()
        working = parts.create_task(
            crew.run(world.house, ledgers.set_result, workers, folds=(*folds, Contracts, Fleet, Usage)),
            name="crew",
        )
        yield await ledgers
        working.cancel()


async def _prepare(world: World, plan: Plan, screen: Screen) -> None:
    """All VMs were booted and sleep, but for as many as the curve needs at its beginning. Nothing is forecast yet."""
    vms, names = plan.piece.vms, frozenset[str](crew.WORKERS)
    want = min(vms, math.ceil(plan.piece.vms_at(-plan.run_in_seconds)) + 1)
    async with _crewed(world, names - {FORECASTER}) as ledger:
        await world.enact(ledger.fold(Contracts))
        await stocked(world, ledger, vms, screen.say)
        bus = await world.connect("operator")
        try:
            scale = Scale(pool=setting.POOL, key=new_key(), want=want, up_to=True, wait=True)
            await publish(bus, founding.ORG, scale)
        finally:
            await bus.close()
        if not await until(lambda: _serving(ledger) >= want, ledger, _AWAKE_SECONDS):
            screen.say(f"{want} VMs do not serve after {_AWAKE_SECONDS:g} s: see virtscale.log")
    screen.say(f"{want} of {vms} VMs serve, the others sleep")


def _serving(ledger: Ledger) -> int:
    return len(ledger.fold(Fleet).members(founding.ORG, setting.POOL, "serving"))


async def _perform(world: World, ports: Ports, plan: Plan, played: Played, screen: Screen) -> None:
    """The users send their requests, the forecaster knows the former days, and the piece goes by."""
    loop, piece = asyncio.get_running_loop(), plan.piece
    now = dt.datetime.now(dt.UTC)
    began_at = _whole_tick(now + dt.timedelta(seconds=plan.run_in_seconds))
    starts = loop.time() + (began_at - now).total_seconds()
    asked = Asked(piece, began_at.timestamp(), setting.PER_VM, LOOPBACK, ports.traffic)
    async with crowd(asked, played.requests):
        setting.foresee(world.house, piece.vms, setting.horizon_seconds(piece.speed))
        await _tell_history(world, plan, began_at, screen)
        # Two ticks later it is the past, and not something that somebody brings in just now.
        await asyncio.sleep(max(0.0, starts - plan.crew_seconds - loop.time()))
        async with _crewed(world, {*crew.WORKERS, FORECASTER}, (News, Wakes)) as ledger:
            played.wakes = ledger.fold(Wakes)
            screen.say(f"all workers are at work; the piece begins at {began_at:%H:%M:%S} UTC")
            await asyncio.sleep(max(0.0, starts - loop.time()))
            played.began_at = played.ended_at = began_at
            for second in range(math.ceil(piece.seconds)):
                await asyncio.sleep(max(0.0, starts + second - loop.time()))
                elapsed = loop.time() - starts
                count(ledger, piece, elapsed, played.units)
                played.ended_at = dt.datetime.now(dt.UTC)
                if screen.due(piece.day_second(elapsed)):
                    screen.show(look(ledger, piece, elapsed, played.units, played.told(plan.source)))
            await asyncio.sleep(max(0.0, starts + piece.seconds - loop.time()))
            played.ended_at = dt.datetime.now(dt.UTC)
            await _sealed(Path(world.house.audit), ledger.seq)


async def _tell_history(world: World, plan: Plan, began_at: dt.datetime, screen: Screen) -> None:
    """The telemetry holds the former days, as signal would have told them."""
    bus = await world.connect("signal")
    newest = tick_of(dt.datetime.now(dt.UTC)) - 1
    oldest = newest - plan.history_days * 86_400 // TICK_SECONDS
    ticks = [(tick, milli) for tick, milli in former(plan.piece, began_at) if oldest <= tick <= newest]
    try:
        telemetry = Telemetry(bus)
        for first in range(0, len(ticks), _TOGETHER):
            async with asyncio.TaskGroup() as telling:
                for tick, milli_vms in ticks[first : first + _TOGETHER]:
                    told = PoolTold(setting.POOL, milli_vms, 3, (tick + 1) * TICK_SECONDS * 1000 - 1)
                    telling.create_task(telemetry.tell(founding.ORG, Told(tick, (told,))))
    finally:
        await bus.close()
    screen.say(
        f"telemetry: {len(ticks):,} ticks of {_days(plan.history_days)} were made up from the same curve, since this "
        "house has no past"
    )


def _days(count: int) -> str:
    return "a former day" if count == 1 else f"{count} former days"


async def _sealed(audit: Path, seq: int) -> None:
    """The sealer has sealed the ledger up to here, or has had its time."""
    archive = Archive(DirectoryFiles(audit))
    try:
        async with asyncio.timeout(_SEAL_SECONDS):
            while archive.checkpoint_note() is None or archive.size < seq:  # noqa: ASYNC110 - a file has no event
                await asyncio.sleep(_SEAL_LOOK_SECONDS)
    except TimeoutError:
        return  # the report then is of what was sealed, and says so


def _whole_tick(at: dt.datetime) -> dt.datetime:
    """The first beginning of a tick that is not before `at`."""
    ticks = -(-at.timestamp() // TICK_SECONDS)
    return dt.datetime.fromtimestamp(ticks * TICK_SECONDS, dt.UTC)
