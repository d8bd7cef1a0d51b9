"""Triggers at work: each pool's query is asked every five seconds, and asks for VMs when its rule says so."""

import asyncio
import datetime as dt
import logging
from typing import Final

from events.bus.ledger import Ledger
from events.clock import Clock
from projections.fleet.fold import Fleet
from projections.usage.fold import Usage
from schemas.intake import Rejection
from schemas.names import TRIGGER
from schemas.pool import Pool, Trigger
from services.signal.decide import Streak, cooled, due, lengthen, request_id, triggered
from services.signal.limits import Limits
from services.signal.metrics import REJECTED, SILENT
from services.signal.observer import Observer
from services.signal.port import Metrics
from services.signal.state import Intake
from services.signal.store import Store

POLL_SECONDS: Final = 5.0
QUERY_SECONDS: Final = 2.0
AT_ONCE: Final = 8
"""Queries under way at the same time."""

log = logging.getLogger("virtscale.signal")


class Triggers:
    """Every pool's trigger. What is counted lives here alone: after a restart a streak begins anew."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        metrics: Metrics,
        store: Store,
        limits: Limits,
        *,
        observer: Observer,
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._store = store
        self._limits = limits
        self._observer = observer
        self._fleet = ledger.fold(Fleet)
        self._usage = ledger.fold(Usage)
        self._intake = ledger.fold(Intake)
        self._streaks: dict[tuple[str, str, Trigger], Streak] = {}
        self._silent: set[tuple[str, str]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def work(self) -> None:
        """Pools are looked at and their triggers ask, for ever."""
        while True:
            pools = [self._agreed(pool) for pool in self._fleet.pools.values()]
            # A redefined trigger begins anew, and a dropped one is forgotten.
            keys = {(pool.org, pool.name, pool.trigger) for pool in pools}
            self._streaks = {key: streak for key, streak in self._streaks.items() if key in keys}
            async with asyncio.TaskGroup() as queries:
                for pool in pools:
                    if pool.trigger is None:
                        self._observer.look(pool, None, self._clock.now())
                    else:
                        queries.create_task(self._look(pool, pool.trigger))
            await asyncio.sleep(POLL_SECONDS)

    def _agreed(self, pool: Pool) -> Pool:
        contract = self._usage.contracts.get(pool.org)
        return pool if contract is None else contract.pool(pool)

    async def _look(self, pool: Pool, trigger: Trigger) -> None:
        async with self._slots:
            measured = await self._metrics.query(trigger.query, QUERY_SECONDS)
        self._observer.look(pool, measured, self._clock.now())
        place = (pool.org, pool.name)
        if measured is None:
            SILENT.labels(*place).inc()
            if place not in self._silent:
                self._silent.add(place)
                log.warning("the trigger of %s/%s hears nothing: %s", *place, trigger.query)
            return
        self._silent.discard(place)
        key = (*place, trigger)
        streak = lengthen(self._streaks.get(key, Streak()), trigger, measured.value, measured.observed_at)
        fresh = streak != self._streaks.get(key)
        self._streaks[key] = streak
        if fresh and due(streak, trigger) and self._cooled(pool):
            await self._ask(pool, trigger, measured.value, measured.observed_at)
            self._streaks[key] = Streak(0, streak.newest)

    def _cooled(self, pool: Pool) -> bool:
        return cooled(pool, self._intake.triggered_at(pool.org, pool.name), self._clock.now())

    async def _ask(self, pool: Pool, trigger: Trigger, value: float, observed_at: dt.datetime) -> None:
        """The request is in the ledger. Repeating it is safe: its key names the sample."""
        fact = triggered(pool, trigger, value, observed_at, self._clock.now())
        with self._limits.entered(pool.org, TRIGGER, asyncio.get_running_loop().time()) as refused:
            receipt = refused or await self._store.offer(
                fact, request_id(pool.org, TRIGGER, "scale", fact.key)
            )
        if isinstance(receipt, Rejection):
            REJECTED.labels(receipt.code).inc()
            log.warning("the trigger of %s/%s was refused: %s", pool.org, pool.name, receipt.text)
