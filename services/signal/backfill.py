"""The past of pools' demand: a week of what the metrics store kept becomes ticks in the telemetry, once for each demand query.

The forecaster learns from the telemetry alone, and without this a new pool would have to be watched for a week first. Ticks go out
in the order of their times, a day of them at once, and a mark says how far they have gone: whoever is killed in between tells at
most a day again, of which readers take the first word.
"""

import asyncio
import datetime as dt
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from events import durable
from events.bus.ledger import Ledger
from events.bus.port import UnansweredError
from events.bus.telemetry import Telemetry
from events.clock import Clock
from events.ids import derive
from events.pool import MOST_MILLI_VMS
from projections.fleet.fold import Fleet
from schemas.pool import DemandQuery, Pool
from schemas.telemetry import TICK_SECONDS, PoolTold, Told
from services.signal.metrics import BACKFILLED
from services.signal.port import Measurement, Past
from services.signal.questions import Question, milli_vms, nonsense

REACH: Final = dt.timedelta(days=7)
"""What forecasts are learnt from."""

LATEST: Final = dt.timedelta(minutes=15)
"""What is told of earlier ticks than this long ago is a past to the forecaster, and what is later than in time only late."""

PIECE: Final = dt.timedelta(days=1)

TOGETHER: Final = 20
"""Pools of one org that are told in the same messages: a day of them is some 20 MB here."""

STEP_SECONDS: Final = TICK_SECONDS
COARSE_STEP_SECONDS: Final = 60
MANY_ORGS: Final = 50
"""With more orgs than this to be told of, the metrics store is asked for one tick in four; what it says stands for the other three."""

MOST_FILLED_ORGS: Final = 200
"""With more than this the other three are not told: a week of an org in all its ticks is 40,320 messages, 5 MB, and the bus keeps
1 GiB of telemetry. The forecaster learns from one tick in four too, with a thicker margin until it is watched live."""

PACE: Final = 50
PACE_SECONDS: Final = 0.1
"""So many messages, and then so long a pause: a week of an org takes a minute and a half, and the bus has room for all else."""

LOOK_SECONDS: Final = 60.0
"""Pools that are defined later are found so soon."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

log = logging.getLogger("virtscale.signal")


class Progress(msgspec.Struct, frozen=True):
    """A query's past was told up to `until`, and shall be up to `end`."""

    until: dt.datetime
    end: dt.datetime

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to tell."""
        return self.until >= self.end


class Backfill:
    """Tells the past of each pool that has a demand query, as far as nobody has told it yet."""

    def __init__(
        self, ledger: Ledger, clock: Clock, metrics: Past, telemetry: Telemetry, marks: Path
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._metrics = metrics
        self._telemetry = telemetry
        self._path = marks
        self._fleet = ledger.fold(Fleet)
        self._marks: dict[str, Progress] = {}
        """By pool and query."""

    async def work(self) -> None:
        """Whatever pool comes, its past is told once, for ever. A metrics store or a bus that is away is asked again later."""
        await self._ledger.live.wait()
        self._marks = _read(self._path)
        while True:
            orgs: dict[str, list[tuple[Pool, DemandQuery]]] = defaultdict(list)
            for pool in list(self._fleet.pools.values()):
                mark = None if pool.demand is None else self._marks.get(name(pool, pool.demand))
                if pool.demand is not None and (mark is None or not mark.is_done):
                    orgs[pool.org].append((pool, pool.demand))
            step, stands_for = _grain(len(orgs))
            for org, wanted in orgs.items():
                for start in range(0, len(wanted), TOGETHER):
                    await self._tell(org, wanted[start : start + TOGETHER], step, stands_for)
            await asyncio.sleep(LOOK_SECONDS)

    async def _tell(
        self, org: str, wanted: Sequence[tuple[Pool, DemandQuery]], step: int, stands_for: int
    ) -> None:
        """The past of these pools is told, or as much of it as somebody gave; the marks say how far."""
        now = self._clock.now()
        try:
            page = await self._telemetry.since(now - REACH + PIECE, org)
        except UnansweredError:
            return
        known = {one.pool for heard in page.heard for one in heard.told.pools}
        end = now - LATEST
        progress: dict[str, Progress] = {}
        for pool, demand in wanted:
            key = name(pool, demand)
            new = Progress(end if pool.name in known else end - REACH, end)
            progress[key] = self._marks.get(key, new)
        left = [one for one in wanted if not progress[name(*one)].is_done]
        begin = min((progress[name(*one)].until for one in left), default=end)
        end = max((progress[name(*one)].end for one in left), default=end)
        self._keep(
            progress
        )  # from here on what the telemetry holds of these pools may be ours, and not whole
        while begin < end:
            until = min(end, begin + PIECE)
            told = await self._piece(left, begin, until, step, stands_for)
            if told is None:
                return
            await self._send(org, told)
            if not await self._is_there(org):
                return  # what was dropped is told again from the mark on
            begin = until
            for one in left:
                key = name(*one)
                progress[key] = Progress(max(begin, progress[key].until), progress[key].end)
            self._keep(progress)
        if left:
            log.info("the past of %d pools of %s is told to the forecaster", len(left), org)

    async def _piece(
        self,
        wanted: Sequence[tuple[Pool, DemandQuery]],
        begin: dt.datetime,
        until: dt.datetime,
        step: int,
        stands_for: int,
    ) -> list[Told] | None:
        """The ticks that end within the piece, in order; None when the metrics store does not answer."""
        first = _aligned(begin) + dt.timedelta(seconds=TICK_SECONDS)
        end = int(_aligned(until).timestamp()) // TICK_SECONDS
        ticks: dict[int, list[PoolTold]] = defaultdict(list)
        for pool, demand in wanted:
            course = await self._metrics.course(demand.query, first, until, step)
            if course is None:
                return None
            for tick, one in filled(ticks_of(pool, demand, course), stands_for):
                if tick < end:
                    ticks[tick].append(one)
        return [Told(tick, tuple(ticks[tick])) for tick in sorted(ticks)]

    async def _is_there(self, org: str) -> bool:
        """Whether the bus answers: telemetry drops what it cannot hand over."""
        try:
            await self._telemetry.since(self._clock.now(), org)
        except UnansweredError:
            return False
        return True

    async def _send(self, org: str, told: Sequence[Told]) -> None:
        for number, one in enumerate(told, 1):
            await self._telemetry.tell(org, one)
            BACKFILLED.inc()
            if number % PACE == 0:
                await asyncio.sleep(PACE_SECONDS)

    def _keep(self, progress: dict[str, Progress]) -> None:
        here = {name(pool, pool.demand) for pool in self._fleet.pools.values() if pool.demand is not None}
        self._marks = {key: one for key, one in {**self._marks, **progress}.items() if key in here}
        try:
            durable.write(self._path, msgspec.json.encode(self._marks))
        except OSError as error:  # what it costs is that a restart tells the same again
            log.warning("how far the past was told is not kept: %s", error)


def name(pool: Pool, demand: DemandQuery) -> str:
    """What a mark calls a pool's demand query; one that is redefined has another past."""
    return derive("backfill", pool.org, pool.name, demand.query, repr(demand.per_vm))


def ticks_of(
    pool: Pool, demand: DemandQuery, course: Iterable[Measurement]
) -> Iterable[tuple[int, PoolTold]]:
    """A pool's ticks of a course, in order: each is what was measured at its end, or last within it. What is no sample makes none."""
    question = Question("demand", demand.query, demand.per_vm)
    sums: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for measured in course:
        at_ms = (measured.observed_at - _EPOCH) // dt.timedelta(milliseconds=1)
        if at_ms <= 0 or nonsense(question, measured, measured.observed_at) is not None:
            continue
        needed = milli_vms(question, measured.value, 0, MOST_MILLI_VMS)
        if needed is not None:
            sums[(at_ms - 1) // (TICK_SECONDS * 1000)].append((needed, at_ms))
    for tick in sorted(sums):
        needs = [needed for needed, _ in sums[tick]]
        mean = (2 * sum(needs) + len(needs)) // (2 * len(needs))
        yield tick, PoolTold(pool.name, mean, len(needs), max(at_ms for _, at_ms in sums[tick]))


def filled(ticks: Iterable[tuple[int, PoolTold]], stands_for: int) -> Iterable[tuple[int, PoolTold]]:
    """The same ticks, and behind each of them as many that repeat it as one step covers, up to the next that was measured.

    Where a step has no sample nothing is told for any of its ticks: silence is no demand of the past.
    """
    last: tuple[int, PoolTold] | None = None
    for tick, one in ticks:
        if last is not None:
            yield from ((at, last[1]) for at in range(last[0] + 1, min(last[0] + stands_for, tick)))
        yield tick, one
        last = tick, one
    if last is not None:
        yield from ((at, last[1]) for at in range(last[0] + 1, last[0] + stands_for))


def _grain(orgs: int) -> tuple[int, int]:
    """The step that the metrics store is asked for, in seconds, and how many ticks each of its values is told for."""
    if orgs <= MANY_ORGS:
        return STEP_SECONDS, 1
    return COARSE_STEP_SECONDS, COARSE_STEP_SECONDS // TICK_SECONDS if orgs <= MOST_FILLED_ORGS else 1


def _aligned(instant: dt.datetime) -> dt.datetime:
    """The last end of a tick up to the instant."""
    return _EPOCH + (instant - _EPOCH) // dt.timedelta(seconds=TICK_SECONDS) * dt.timedelta(
        seconds=TICK_SECONDS
    )


def _read(path: Path) -> dict[str, Progress]:
    """The marks that were kept; none where there are none, or none that can be read: then the past is told again."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Progress])
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError) as error:
        log.warning("how far the past was told cannot be read, and it is told again: %s", error)
        return {}
