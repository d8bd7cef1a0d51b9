"""How a request gets into the ledger once: expected sequences, grouped appends, and reading back when unsure."""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from events.bus.flights import FEW, most_now
from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.bus.port import (
    Bus,
    FullError,
    KnownError,
    StaleError,
    TooLargeError,
    UnansweredError,
)
from events.envelope import Addressed, read
from events.registry import NEWEST
from schemas.intake import Receipt, Rejection
from services.signal.decide import RequestFact, content, key_reused
from services.signal.metrics import STORED
from services.signal.state import Intake

MOST_WAITING: Final = 1024
"""Requests that may wait for the ledger; one more is refused as `Overloaded`."""

_FIRST_PAUSE_SECONDS: Final = 0.02
_LONGEST_PAUSE_SECONDS: Final = 1.0

log = logging.getLogger("virtscale.signal")


@dataclass(eq=False, slots=True)
class _Entry:
    """One request on its way into the ledger, and who waits for its receipt."""

    fact: RequestFact
    event: Addressed
    receipt: "asyncio.Future[Receipt | Rejection]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def end(self, receipt: Receipt | Rejection) -> None:
        """Whoever waits is told, unless it is gone."""
        if not self.receipt.done():
            self.receipt.set_result(receipt)


class Store:
    """Takes the requests of each subject in the order they come and puts each into the ledger exactly once.

    No deduplication of the bus is needed. Each append expects the last sequence of its own subject as it was
    read from the ledger, and this worker alone writes that subject. So when an answer stays out, either the
    message is found by reading back, or the next attempt makes it impossible that it still lands. For that, a
    subject has one append under way at a time; different subjects go side by side, or together when they are many.
    """

    def __init__(self, ledger: Ledger, bus: Bus, pen: Pen) -> None:
        self._ledger = ledger
        self._bus = bus
        self._pen = pen
        self._intake = ledger.fold(Intake)
        self._waiting = 0
        self._queues: dict[str, deque[_Entry]] = {}
        """Requests that wait, by subject."""
        self._ready: dict[str, None] = {}
        """Subjects with waiting requests and no append under way, the longest waiting first."""
        self._busy: set[str] = set()
        self._again: dict[str, list[_Entry]] = {}
        """For each id on its way here: those that came with the same id since. They are looked up when it has landed."""
        self._singles = 0
        self._batches = 0
        self._news = asyncio.Event()

    def offer(self, fact: RequestFact, id: str) -> "asyncio.Future[Receipt | Rejection]":
        """The request waits for its turn; at once `Overloaded` when too many do."""
        entry = _Entry(fact, self._pen.event(fact, id=id, cause=None, correlation=id))
        if self._waiting >= MOST_WAITING:
            entry.end(
                Rejection(
                    "Overloaded",
                    f"{MOST_WAITING} requests wait already, which is the limit of this intake: ask again in a "
                    "second. Nothing was stored.",
                )
            )
            return entry.receipt
        self._waiting += 1
        if id in self._again:
            self._again[id].append(entry)
        else:
            self._again[id] = []
            self._queue(entry)
        return entry.receipt

    async def work(self) -> None:
        """Everything that is offered is stored or refused, for ever."""
        async with asyncio.TaskGroup() as flights:
            while True:
                await self._news.wait()
                self._news.clear()
                while entries := self._next():
                    self._count(entries, +1)
                    flights.create_task(self._fly(entries), name=f"signal: {len(entries)} requests")

    async def _fly(self, entries: list[_Entry]) -> None:
        """The entries have their receipts, and what waited for them may go."""
        try:
            await self._settle([entry for entry in entries if not self._look_up(entry, repeated=True)])
        finally:
            self._count(entries, -1)
            self._land(entries)
            self._news.set()

    def _count(self, entries: list[_Entry], change: int) -> None:
        if len(entries) == 1:
            self._singles += change
        else:
            self._batches += change

    def _queue(self, entry: _Entry) -> None:
        subject = entry.event.subject
        self._queues.setdefault(subject, deque()).append(entry)
        if subject not in self._busy:
            self._ready[subject] = None
        self._news.set()

    def _next(self) -> list[_Entry]:
        """What goes together now, if anything; its subjects are busy from here on."""
        if self._batches:  # asked at every arrival, and nothing is to be counted for that
            return []
        ready = sum(len(self._queues[subject]) for subject in self._ready)
        most = most_now(ready, self._singles, self._batches)
        entries: list[_Entry] = []
        while self._ready and len(entries) < most:
            subject = next(iter(self._ready))
            del self._ready[subject]
            self._busy.add(subject)
            queue = self._queues[subject]
            while queue and len(entries) < most:
                entries.append(queue.popleft())
        return entries

    def _land(self, entries: list[_Entry]) -> None:
        """The subjects are free again, and who came with an id of these is looked up."""
        self._waiting -= len(entries)
        for entry in entries:
            subject = entry.event.subject
            if subject in self._busy:
                self._busy.remove(subject)
                if self._queues[subject]:
                    self._ready[subject] = None
                else:
                    del self._queues[subject]
        for entry in entries:
            again = self._again.pop(entry.event.id)
            while again and self._look_up(again[0], repeated=True):
                self._waiting -= 1
                again.pop(0)
            if again:
                self._again[entry.event.id] = again[1:]
                self._queue(again[0])

    async def _settle(self, entries: list[_Entry]) -> None:
        """Every entry has its receipt, and the folds include all that was stored for them."""
        pause = _FIRST_PAUSE_SECONDS
        one_by_one = False
        while entries:
            try:
                if one_by_one or len(entries) <= FEW:
                    last = await self._append(entries[0])
                else:
                    last = await self._append_together(entries)
                await self._ledger.reach(last)
                pause = _FIRST_PAUSE_SECONDS
            except (UnansweredError, StaleError, KnownError) as error:
                one_by_one = one_by_one or isinstance(error, KnownError)
                log.info("%d requests may or may not be stored (%s): reading back", len(entries), error.code)
                await asyncio.sleep(pause)
                await self._ledger.catch_up()
                if isinstance(error, StaleError):
                    for subject in {entry.event.subject for entry in entries}:
                        await self._ledger.look_on(subject)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            except FullError as error:
                log.error("requests are refused: %s", error)  # noqa: TRY400 - the sentence says it all
                for entry in entries:
                    entry.end(Rejection("LedgerFull", f"The ledger has no room: {error} Nothing was stored."))
            except TooLargeError as error:
                entries[0].end(Rejection("RequestTooLarge", f"{error}"))
            entries = [
                entry
                for entry in entries
                if not entry.receipt.done() and not self._look_up(entry, repeated=False)
            ]

    async def _append(self, entry: _Entry) -> int:
        """The entry is in the ledger; the sequence up to which the ledger must be read to see it."""
        event = entry.event
        ack = await self._pen.append(event, expect=self._last_on(event.subject))
        if ack.duplicate:
            await self._ledger.reach(ack.seq)
            if not self._look_up(entry, repeated=True):
                entry.end(await self._compare(entry, ack.seq))
        else:
            self._stored(entry, ack.seq)
        return ack.seq

    async def _append_together(self, entries: list[_Entry]) -> int:
        """All entries are in the ledger, next to each other. The first on each subject guards those behind it."""
        guarded: set[str] = set()
        batch: list[tuple[Addressed, int | None]] = []
        for entry in entries:
            subject = entry.event.subject
            batch.append((entry.event, None if subject in guarded else self._last_on(subject)))
            guarded.add(subject)
        ack = await self._pen.append_batch(batch)
        for place, entry in enumerate(reversed(entries)):
            self._stored(entry, ack.seq - place)
        return ack.seq

    def _last_on(self, subject: str) -> int:
        return max(self._intake.last_on(subject), self._ledger.noise_on(subject))

    def _stored(self, entry: _Entry, seq: int) -> None:
        STORED.labels(NEWEST[type(entry.fact)].name).inc()
        entry.end(Receipt(entry.event.id, seq))

    def _look_up(self, entry: _Entry, *, repeated: bool) -> bool:
        """True when the folds know the entry's id, and its receipt was given accordingly."""
        known = self._intake.known(entry.event.id)
        if known is None:
            return False
        entry.end(self._verdict(entry, known.seq, known.content, repeated=repeated))
        return True

    async def _compare(self, entry: _Entry, seq: int) -> Receipt | Rejection:
        """The bus knows an id that was long ago forgotten here: the ledger itself says what it asked for."""
        for stored in await self._bus.read(seq, seq):
            fact = read(stored.seq, stored.stored_ns, stored.payload).fact
            if isinstance(fact, RequestFact):
                return self._verdict(entry, seq, content(fact), repeated=True)
        return key_reused(entry.fact.key, seq)

    def _verdict(self, entry: _Entry, seq: int, present: bytes, *, repeated: bool) -> Receipt | Rejection:
        if present != content(entry.fact):
            return key_reused(entry.fact.key, seq)
        return Receipt(entry.event.id, seq, repeated=repeated)
