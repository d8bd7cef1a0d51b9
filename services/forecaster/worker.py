"""The forecaster at work: every 15 s each pool's tick is taken in, judged, told where it changes something, and acted on."""

import asyncio
import datetime as dt
import logging
from collections import deque
from typing import Final

from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.bus.port import Bus, UnansweredError
from events.bus.telemetry import Telemetry, end_of, tick_of
from events.clock import Clock
from events.forecast import ForecastMade
from events.ids import derive
from schemas.intake import Scale
from schemas.telemetry import TICK_SECONDS
from services.forecaster import metrics
from services.forecaster.absence import away
from services.forecaster.asking import Intake
from services.forecaster.decide import Request, Sight, Standing, Verdict, decide, foreseen_seconds
from services.forecaster.gather import Gathered, due_at, newest_closed
from services.forecaster.keeping import Shelf, UnusableError, decode, encode, made_by
from services.forecaster.learning import Learning
from services.forecaster.model import Forecast
from services.forecaster.past import REACH
from services.forecaster.roster import NEVER, RING, Roster, Seen
from services.forecaster.state import Orgs, State
from services.forecaster.telling import Telling
from services.forecaster.timing import OFF, BusTime

KEPT_TICKS: Final = 20
"""Every five minutes what was learnt is kept: what came since is in the telemetry."""

RESTED: Final = dt.timedelta(minutes=10)
"""After so long a sleeper may be put to disk."""

_STEP: Final = 4  # ticks to catch up with between which others have their turn: some two milliseconds
_LOOKED: Final = 200  # pools, the same
_RETRY_SECONDS: Final = 0.5
_DOUBT_SECONDS: Final = 120.0
"""After so long it is certain that a tick which was taken in is still to come, and that nothing is only late."""
_SILENT_TICKS: Final = 5760
"""Of a day: so many without any sample are not taken in one by one."""

log = logging.getLogger("virtscale.forecaster")


class Forecaster:
    """Foresees every pool whose forecast is not `off`. Two may run: a tick is told once, and a request asks once."""

    def __init__(self, ledger: Ledger, bus: Bus, clock: Clock, shelf: Shelf) -> None:
        self._ledger = ledger
        self._clock = clock
        self._shelf = shelf
        self._state = State.of(ledger)
        self._telemetry = Telemetry(bus)
        self._time = BusTime(clock)
        self._telling = Telling(ledger, Pen(bus, "forecaster", clock), self._time)
        self._intake = Intake(bus)
        self._by = made_by()
        self._made_by = derive("forecaster", self._by)
        self._roster = Roster()
        self._gathered = Gathered()
        self._read: int | None = None
        """How far the telemetry was read; None before anything was."""
        self._marks: deque[tuple[dt.datetime, int]] = deque(
            maxlen=RESTED // dt.timedelta(seconds=TICK_SECONDS) + 2
        )
        """Where the ledger stood at the last ticks."""
        self._looked = False
        """Whether the telemetry was read to its end before: what comes then is new."""
        self._heard = 0
        """The last sequence of the ledger whose time was looked at."""

    async def work(self) -> None:
        """Every tick is taken in as soon as its time is over, for ever."""
        await self._ledger.live.wait()
        await self._restore()
        while True:
            await self._foresee()
            log.warning(
                "What was learnt says ticks that are still to come: a clock was wrong. It is learnt anew."
            )
            self._roster, self._gathered, self._read = Roster(), Gathered(), None
            self._marks.clear()

    async def _foresee(self) -> None:
        """Ticks are taken in for as long as they follow each other; ends where those that were taken in have not come yet."""
        learning, loop, right_at = Learning(self._telemetry, self._time), asyncio.get_running_loop(), None
        async with asyncio.TaskGroup() as tasks:
            lessons = tasks.create_task(
                learning.work(self._roster, self._gathered), name="forecaster: learning"
            )
            while True:
                now = await self._now()
                newest = newest_closed(now)
                if newest > self._roster.number:
                    forecast = await self._take_in(newest)
                    learning.look()
                    await self._act(tasks, forecast)
                    number = self._roster.number
                    metrics.WORK.observe((self._time.now() - end_of(number)).total_seconds())
                    if number % KEPT_TICKS == 0:
                        tasks.create_task(self._keep(encode(self._roster, self._by)), name="forecaster: keep")
                if end_of(self._roster.number) - now <= OFF:
                    right_at = loop.time()
                elif right_at is None or loop.time() - right_at > _DOUBT_SECONDS:
                    lessons.cancel()
                    return
                wait = due_at(max(self._roster.number, newest) + 1) - self._time.now()
                # Looked at each tick at least: a clock that was set forward is past what it was to wait for.
                await asyncio.sleep(min(max(wait.total_seconds(), 0.001), TICK_SECONDS))

    async def _now(self) -> dt.datetime:
        """The time that ticks are closed by; waited for where the clock differs from all that the bus holds."""
        since: dt.datetime | None = None
        while True:
            newest = self._ledger.newest
            if newest is not None and newest.seq > self._heard:
                self._time.hear(newest.stored_ns, fresh=self._heard > 0)
                self._heard = newest.seq
            now = self._time.known()
            if now is not None:
                return now
            if since is None:
                bus = self._time.bus() or self._clock.now()
                since = end_of(self._roster.number) if self._roster.number >= 0 else bus
            await self._read_telemetry(since)
            if self._time.known() is None:
                await asyncio.sleep(_RETRY_SECONDS)

    async def _restore(self) -> None:
        """What was learnt before is known, if this code may go on with it and it is not too long ago."""
        data = await self._shelf.read()
        if data is None:
            return
        try:
            kept = decode(data, self._by)
        except UnusableError as error:
            metrics.UNUSABLE.inc()
            log.warning("%s It is learnt anew from the telemetry.", error)
            return
        # One of ticks that are still to come is given up as soon as it is certain that they are.
        if self._time.now() - end_of(kept.number) < REACH:
            self._roster = kept
            measured = dict(zip(kept.names, kept.measured.tolist(), strict=True))
            self._gathered = Gathered(closed=kept.number, used=measured)

    async def _keep(self, data: bytearray) -> None:
        try:
            await self._shelf.put(data)
        except OSError as error:  # a restart then goes on from an older one, and the telemetry has the rest
            log.warning("What forecasts are made from is not kept: %s.", error)

    async def _take_in(self, newest: int) -> Forecast:
        """All ticks up to the newest are taken in, however long the bus was away; the forecast of the last.

        Days of which nothing was told are passed over, but for their last hour: a clock may have been set.
        """
        state, roster = self._state, self._roster
        first = roster.number + 1 if roster.number >= 0 else newest
        roster.seat({place: state.pool(*place) for place in state.foreseen()})
        metrics.POOLS.set(len(roster.names))
        await self._read_telemetry(end_of(first - 1))
        now = self._time.known()  # reading took its time, and may have shown a clock that differs
        tick = max(first, newest if now is None else newest_closed(now))
        number = first
        while number < tick:
            told = self._gathered.next_told(number)
            come = tick if told is None else min(told, tick)
            if come - number > _SILENT_TICKS:
                number = come - RING
            roster.tick(number, self._gathered.close(number))
            metrics.TICKS.inc()
            number += 1
            if number % _STEP == 0:
                await asyncio.sleep(0)
        metrics.TICKS.inc()
        return roster.tick(tick, self._gathered.close(tick))

    async def _read_telemetry(self, since: dt.datetime) -> None:
        """Everything that the bus has by now is gathered; a bus that is away is waited for."""
        newest, again = 0, self._looked
        while True:
            try:
                page = await (
                    self._telemetry.since(since) if self._read is None else self._telemetry.after(self._read)
                )
            except UnansweredError:
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            if page.end:
                self._looked = True
                if newest:
                    self._time.hear(newest, fresh=again)
                return
            for heard in page.heard:
                self._gathered.take(heard)
                newest = max(newest, heard.stored_ns)
            self._read = page.seq

    async def _act(self, tasks: asyncio.TaskGroup, forecast: Forecast) -> None:
        """What changed is told, and what is needed is asked for."""
        seen, made_at = self._roster.see(forecast), end_of(self._roster.number)
        now = self._time.now()
        rested = max((seq for at, seq in self._marks if now - at >= RESTED), default=0)
        self._marks.append((now, self._ledger.seq))
        orgs, silent = Orgs(self._state, now, rested), away(self._roster)
        facts: list[ForecastMade] = []
        asks: list[tuple[ForecastMade, Request]] = []
        for column, place in enumerate(self._roster.names):
            if column % _LOOKED == _LOOKED - 1:
                await asyncio.sleep(0)
            told = self._state.forecasts.newest(*place)
            if told is not None and told.made_at > now + OFF:
                told = None  # by a wrong clock
            never = seen.outlook[column] is None and told is None
            if never or (told is not None and told.made_at >= made_at):
                continue
            sight, standing = self._sight(seen, column, silent=place[0] in silent), orgs.standing(*place)
            verdict = decide(sight, standing, told, made_at)
            if verdict.reason is not None:
                facts.append(self._fact(seen, column, standing, verdict, told))
            for request in verdict.asks if not self._intake.busy(place) else ():
                asks.append((facts[-1], request))
                if isinstance(request, Scale):
                    orgs.promise(*place, (request.want or 0) - standing.staying)
        await self._telling.tell(facts)
        for fact, request in asks:
            if self._telling.told(fact):
                self._intake.ask(tasks, (fact.org, fact.pool), request)

    def _sight(self, seen: Seen, column: int, *, silent: bool) -> Sight:
        measured, learnt = int(self._roster.measured[column]), bool(self._roster.learnt[column])
        measured_at = end_of(measured) if measured != NEVER else None
        return Sight(seen.target[column], seen.outlook[column], measured_at, silent, learnt)

    def _fact(
        self, seen: Seen, column: int, standing: Standing, verdict: Verdict, told: ForecastMade | None
    ) -> ForecastMade:
        org, name = self._roster.names[column]
        pool, mode = standing.pool, standing.pool.forecast
        assert verdict.reason is not None, verdict
        assert mode != "off", pool
        span = self._roster.span(column, NEVER if told is None else tick_of(told.made_at) - 1)
        return ForecastMade(
            org=org,
            pool=name,
            mode=mode,
            reason=verdict.reason,
            since=end_of(span.first),
            made_at=end_of(seen.number),
            ticks=span.ticks,
            target=seen.target[column],
            target_min=span.target_min,
            target_max=span.target_max,
            reserve=standing.reserve,
            want=verdict.want,
            staying=standing.staying,
            capped=verdict.capped,
            outlook=seen.outlook[column],
            horizon_seconds=foreseen_seconds(pool),
            coverage_bp=pool.coverage_bp,
            history_seconds=seen.history_ticks[column] * TICK_SECONDS,
            parameters=self._made_by,
            input=span.input,
            state_seq=self._ledger.seq,
        )
