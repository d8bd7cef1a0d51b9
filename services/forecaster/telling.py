"""Forecasts on their way into the ledger: each tick of a pool is told once, whoever tells it and whatever the bus answers."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from events.bus.ledger import Ledger
from events.bus.outsiders import Tally
from events.bus.pen import Pen
from events.bus.port import FullError, KnownError, StaleError, UnansweredError
from events.clock import Clock
from events.envelope import Addressed
from events.forecast import ForecastMade
from events.ids import derive
from projections.forecasts.fold import Forecasts
from services.forecaster.metrics import MADE, UNTOLD
from services.forecaster.timing import OFF

TOGETHER: Final = 50
"""In one append: some 50 KB, and four fsyncs for all instead of one for each."""

PATIENCE_SECONDS: Final = 8.0
"""Half a tick. What is not told by then is told with the next one's."""

_PAUSE_SECONDS: Final = 0.1

log = logging.getLogger("virtscale.forecaster")


class Telling:
    """Writes forecasts, each behind the last one of its pool that was read; any number of forecasters may."""

    def __init__(self, ledger: Ledger, pen: Pen, time: Clock) -> None:
        self._time = time
        self._ledger = ledger
        self._pen = pen
        self._forecasts = ledger.fold(Forecasts)
        self._tally = Tally(log.warning)

    async def tell(self, facts: Sequence[ForecastMade]) -> None:
        """The forecasts are in the ledger and folded, or others that tell their ticks, or the time for it is over."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                for start in range(0, len(facts), TOGETHER):
                    await self._tell(facts[start : start + TOGETHER])
        except TimeoutError:
            left = len(self._left(facts))
            UNTOLD.inc(left)
            self._tally.add("untold", f"{left} forecasts are not told yet: the bus is too slow or away.")

        for fact in facts:
            if self.told(fact):
                MADE.labels(fact.reason).inc()

    def told(self, fact: ForecastMade) -> bool:
        """Whether this very forecast is in the ledger."""
        return self._forecasts.newest(fact.org, fact.pool) == fact

    def _left(self, facts: Sequence[ForecastMade]) -> list[ForecastMade]:
        """Those whose ticks nobody has told; what a wrong clock told of the future is nobody's word."""
        newest = ((fact, self._forecasts.newest(fact.org, fact.pool)) for fact in facts)
        future = self._time.now() + OFF
        return [
            fact
            for fact, last in newest
            if last is None or last.made_at < fact.since or fact.made_at <= future < last.made_at
        ]

    async def _tell(self, facts: Sequence[ForecastMade]) -> None:
        """Safe to repeat: each expects the last message on its pool's subject, which forecasters alone write."""
        alone = False
        while left := self._left(facts):
            subject = ""
            try:
                if alone or len(left) == 1:
                    event, last = self._next(left[0])
                    subject = event.subject
                    ack = await self._pen.append(event, expect=last)
                else:
                    ack = await self._pen.append_batch([self._next(fact) for fact in left])
                await self._ledger.reach(ack.seq)
                if self._left(facts) == left:
                    return  # the bus's clock was set just now, and they count for nothing
            except FullError as error:
                UNTOLD.inc(len(left))
                self._tally.add("full", f"Forecasts are not told: {error}")
                return
            except (StaleError, KnownError, UnansweredError) as error:
                await asyncio.sleep(_PAUSE_SECONDS)
                await self._ledger.catch_up()
                if subject and isinstance(error, StaleError):
                    await self._ledger.look_on(subject)
                alone = alone or not isinstance(error, UnansweredError)

    def _next(self, fact: ForecastMade) -> tuple[Addressed, int]:
        name = derive("forecast", fact.org, fact.pool, fact.made_at.isoformat())
        event = self._pen.event(fact, id=name, cause=None, correlation=name)
        last = self._forecasts.last_seq(fact.org, fact.pool)
        return event, max(last, self._ledger.noise_on(event.subject))
