"""Pools' queries at work: asked every five seconds or pushed, they set off triggers, make ticks, and are missed when silent."""

import asyncio
import datetime as dt
import logging
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from events.bus.ledger import Ledger
from events.clock import Clock
from projections.fleet.fold import Fleet
from projections.usage.fold import Usage
from schemas.intake import Rejection
from schemas.names import TRIGGER
from schemas.pool import Pool, Trigger
from services.signal.decide import cooled, request_id, triggered
from services.signal.hearing import Hearing, wanting_most
from services.signal.limits import Limits
from services.signal.losses import Losses
from services.signal.metrics import REJECTED, SILENT
from services.signal.observer import Observer
from services.signal.port import Heard, Measurement, Metrics
from services.signal.questions import queries, questions
from services.signal.state import Intake
from services.signal.store import Store
from services.signal.ticks import Ticks

POLL_SECONDS: Final = 5.0
QUERY_SECONDS: Final = 2.0
AT_ONCE: Final = 8
"""Queries under way at the same time."""

PUSH_HOLDS_SECONDS: Final = 15.0
"""A query of which a sample was pushed is not asked for so long: scrapes come every 15 s or more often, and when pushes end, three
looks are left before the query counts as lost."""

log = logging.getLogger("virtscale.signal")


class Triggers:
    """Every pool's queries. Any of a pool's triggers may ask, and all of them share its cooldown."""

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        metrics: Metrics,
        store: Store,
        limits: Limits,
        *,
        observer: Observer,
        ticks: Ticks,
        losses: Losses,
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._store = store
        self._limits = limits
        self._observer = observer
        self._ticks = ticks
        self._losses = losses
        self._fleet = ledger.fold(Fleet)
        self._usage = ledger.fold(Usage)
        self._intake = ledger.fold(Intake)
        self._hearing = Hearing()
        self._pushed_at: dict[str, float] = {}
        """When a sample of a query was last pushed, in the loop's time."""
        self._askers: dict[str, list[Pool]] = {}
        """The pools that have a query."""
        self._asking: set[tuple[str, str]] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self._slots = asyncio.Semaphore(AT_ONCE)

    @property
    def queries(self) -> Mapping[str, object]:
        """Every query of every pool, by its text."""
        return self._askers

    async def work(self) -> None:
        """Pools are looked at and their triggers ask, for ever."""
        async with asyncio.TaskGroup() as self._tasks:
            while True:
                await self._look_at_all()
                await asyncio.sleep(POLL_SECONDS)

    def pushed(self, query: str, measured: Measurement) -> None:
        """A sample of the query was pushed: it counts at once, for every pool that has the query."""
        self._pushed_at[query] = asyncio.get_running_loop().time()
        now = self._clock.now()
        for pool in self._askers.get(query, ()):
            self._observer.hear(pool, query, measured, now)
            self._hear(pool, {query: measured}, now)

    async def _look_at_all(self) -> None:
        pools = [self._agreed(pool) for pool in self._fleet.pools.values()]
        self._hearing.keep(pools)
        self._askers = _askers(pools)
        self._pushed_at = {query: at for query, at in self._pushed_at.items() if query in self._askers}
        asked = [(pool.org, pool.name, one) for pool in pools for one in questions(pool)]
        self._losses.keep(asked, asyncio.get_running_loop().time())
        async with asyncio.TaskGroup() as looks:
            for pool in pools:
                looks.create_task(self._look(pool))
        self._losses.look(self._clock.now(), asyncio.get_running_loop().time())

    def _agreed(self, pool: Pool) -> Pool:
        contract = self._usage.contracts.get(pool.org)
        return pool if contract is None else contract.pool(pool)

    async def _look(self, pool: Pool) -> None:
        wanted = [query for query in queries(pool) if not self._is_pushed(query)]
        answers: dict[str, Heard] = {}
        for query in wanted:
            async with self._slots:
                answers[query] = await self._metrics.query(query, QUERY_SECONDS)
        now = self._clock.now()
        measured = {query: one for query, one in answers.items() if isinstance(one, Measurement)}
        self._observer.look(pool, measured, now)
        self._hear(pool, answers, now)

    def _is_pushed(self, query: str) -> bool:
        at = self._pushed_at.get(query)
        return at is not None and asyncio.get_running_loop().time() - at < PUSH_HOLDS_SECONDS

    def _hear(self, pool: Pool, answers: Mapping[str, Heard], now: dt.datetime) -> None:
        """Each answer is a sample where it is due, and a miss where it is not; what fires asks."""
        place = (pool.org, pool.name)
        loop_now = asyncio.get_running_loop().time()
        serving = len(self._fleet.members(*place, "serving"))
        due: dict[Trigger, Measurement] = {}
        for query, heard in answers.items():
            for verdict in self._hearing.judge(pool, query, heard, now):
                question = verdict.question
                if verdict.why is not None or not isinstance(heard, Measurement):
                    self._losses.miss(*place, question, verdict.why or "silent", loop_now)
                    if not isinstance(heard, Measurement):
                        SILENT.labels(*place).inc()
                    continue
                self._losses.hear(*place, question, heard.observed_at, loop_now)
                self._ticks.hear(place, question, heard, serving, now)
                due.update((trigger, heard) for trigger in self._hearing.due(pool, question, heard))
        trigger = wanting_most(due)
        if trigger is not None and place not in self._asking and self._cooled(pool):
            assert self._tasks is not None, "a sample came before the work began"
            self._asking.add(place)
            self._tasks.create_task(self._ask(pool, trigger, due[trigger]))

    def _cooled(self, pool: Pool) -> bool:
        return cooled(pool, self._intake.triggered_at(pool.org, pool.name), self._clock.now())

    async def _ask(self, pool: Pool, trigger: Trigger, measured: Measurement) -> None:
        """The request is in the ledger. Repeating it is safe: its key names the sample.

        While the bus is away it waits for it, and the pool asks for nothing else; looks go on meanwhile.
        """
        fact = triggered(pool, trigger, measured.value, measured.observed_at, self._clock.now())
        try:
            with self._limits.entered(pool.org, TRIGGER, asyncio.get_running_loop().time()) as refused:
                receipt = refused or await self._store.offer(
                    fact, request_id(pool.org, TRIGGER, "scale", fact.key)
                )
        finally:
            self._asking.discard((pool.org, pool.name))
        self._hearing.begin_anew(pool, trigger)
        if isinstance(receipt, Rejection):
            REJECTED.labels(receipt.code).inc()
            log.warning("the trigger of %s/%s was refused: %s", pool.org, pool.name, receipt.text)


def _askers(pools: list[Pool]) -> dict[str, list[Pool]]:
    found: dict[str, list[Pool]] = defaultdict(list)
    for pool in pools:
        for query in queries(pool):
            found[query].append(pool)
    return dict(found)
