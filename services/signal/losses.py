"""Losses at work: a query that yields nothing new is told once, and once more when it does again."""

import asyncio
import datetime as dt
import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.bus.port import FullError, StaleError, UnansweredError
from events.envelope import Recorded
from events.fact import Fact
from events.ids import derive
from events.signal import SignalFound, SignalLost
from projections.signals.fold import Place, Signals
from schemas.names import shorten
from services.signal.metrics import LOST
from services.signal.questions import Question
from services.signal.silence import WORDS, Silence, Why

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0
_QUERY_SHOWN: Final = 300

Key = tuple[str, str, Place]
"""Org, pool, and which of its queries."""

log = logging.getLogger("virtscale.signal")


class Told:
    """Where the subjects of losses end: what keeps two workers from telling one loss twice."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset({SignalLost, SignalFound})

    def __init__(self) -> None:
        self._last: dict[tuple[type[Fact], str, str], int] = {}

    def last_seq(self, kind: type[Fact], org: str, pool: str) -> int:
        """The sequence of the pool's last event of this kind; 0 when there is none."""
        return self._last.get((kind, org, pool), 0)

    def apply(self, recorded: Recorded) -> None:
        """The fold now includes the event."""
        fact = recorded.fact
        if isinstance(fact, SignalLost | SignalFound):
            self._last[type(fact), fact.org, fact.pool] = recorded.seq


@dataclass(slots=True)
class _Watch:
    """One query that is listened to."""

    question: Question
    silence: Silence
    newest: dt.datetime | None = None
    """When its newest sample was taken."""
    folded: bool = False
    """Whether the ledger said at the last look that it is lost."""


class Losses:
    """Compares what is heard with what the ledger says is lost, and writes the difference. Any number of workers may.

    The ledger alone remembers: a worker that begins has heard nothing yet, and says nothing until it has listened for as long as
    a query may be silent.
    """

    def __init__(self, ledger: Ledger, pen: Pen) -> None:
        self._ledger = ledger
        self._pen = pen
        self._signals = ledger.fold(Signals)
        self._told = ledger.fold(Told)
        self._watches: dict[Key, _Watch] = {}
        self._due: dict[Key, SignalLost | SignalFound] = {}
        self._news = asyncio.Event()

    def keep(self, asked: Collection[tuple[str, str, Question]], loop_now: float) -> None:
        """These questions are asked from here on, and no others."""
        keys: dict[Key, Question] = {(org, pool, (one.source, one.id)): one for org, pool, one in asked}
        self._watches = {key: watch for key, watch in self._watches.items() if key in keys}
        for key, question in keys.items():
            if key not in self._watches:
                self._watches[key] = _Watch(question, Silence(loop_now))

    def hear(self, org: str, pool: str, question: Question, at: dt.datetime, loop_now: float) -> None:
        """A new sample came, which was taken then."""
        watch = self._watches.get((org, pool, (question.source, question.id)))
        if watch is not None:
            watch.silence.hear(loop_now)
            watch.newest = at

    def miss(self, org: str, pool: str, question: Question, why: Why, loop_now: float) -> None:
        """A look found nothing new.

        A trigger's query that yields no number is no loss: a quantile or a share of no requests at all is NaN, and a pool without
        traffic must be able to shrink. A demand that is no number is one: nobody knows it then.
        """
        watch = self._watches.get((org, pool, (question.source, question.id)))
        if watch is None:
            return
        if why == "no-number" and question.source == "trigger":
            watch.silence.answer(loop_now)
        else:
            watch.silence.miss(why)

    def look(self, now: dt.datetime, loop_now: float) -> None:
        """What has changed is on its way into the ledger."""
        self._due = {}
        for key, watch in self._watches.items():
            fact = self._change(key, watch, now, loop_now)
            if fact is not None:
                self._due[key] = fact
        LOST.set(sum(watch.folded for watch in self._watches.values()))
        if self._due:
            self._news.set()

    def _change(
        self, key: Key, watch: _Watch, now: dt.datetime, loop_now: float
    ) -> SignalLost | SignalFound | None:
        org, pool, place = key
        loss = self._signals.loss(org, pool, place)
        silence = watch.silence
        if watch.folded and loss is None and not silence.is_heard(loop_now):
            silence.wait_anew(loop_now)
        watch.folded = loss is not None
        if loss is not None and silence.is_heard(loop_now):
            return SignalFound(
                org=org, pool=pool, source=place[0], query=place[1], lost_at=loss.lost_at, found_at=now
            )
        if loss is None and silence.is_lost(loop_now):
            return SignalLost(
                org=org,
                pool=pool,
                source=place[0],
                query=place[1],
                last_sample_at=watch.newest,
                code=silence.why,
                text=shorten(_sentence(org, pool, watch, loop_now)),
                lost_at=now,
            )
        return None

    async def work(self) -> None:
        """What has changed is written, for ever; what is no longer so by then is not."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            await self._news.wait()
            self._news.clear()
            while self._due:
                key = next(iter(self._due))
                if await self._write(key, self._due.pop(key)):
                    pause = _FIRST_PAUSE_SECONDS
                else:  # the next look finds it again, if it is still so
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _write(self, key: Key, fact: SignalLost | SignalFound) -> bool:
        """One attempt; safe to repeat, since it expects the last sequence of its own subject, as this worker read it."""
        org, pool, place = key
        if (self._signals.loss(org, pool, place) is None) != isinstance(fact, SignalLost):
            return True
        moment = fact.lost_at if isinstance(fact, SignalLost) else fact.found_at
        id_ = derive("signal", type(fact).__name__, org, pool, *place, moment.isoformat())
        event = self._pen.event(fact, id=id_, cause=None, correlation=id_)
        last = max(self._told.last_seq(type(fact), org, pool), self._ledger.noise_on(event.subject))
        try:
            ack = await self._pen.append(event, expect=last)
        except (UnansweredError, StaleError, FullError) as error:
            log.info("%s of %s/%s may not be in the ledger (%s)", type(fact).__name__, org, pool, error.code)
            if not isinstance(error, FullError):
                await self._ledger.catch_up()
            if isinstance(error, StaleError):
                await self._ledger.look_on(event.subject)
            return False
        await self._ledger.reach(ack.seq)
        if isinstance(fact, SignalLost):
            log.warning("%s", fact.text)
        else:
            log.warning("the %s query of %s/%s is heard again", fact.source, org, pool)
        return True


def _sentence(org: str, pool: str, watch: _Watch, loop_now: float) -> str:
    question, silence = watch.question, watch.silence
    what = "demand query" if question.source == "demand" else "query of a trigger"
    query = "".join(
        letter if letter.isprintable() else ascii(letter)[1:-1] for letter in " ".join(question.query.split())
    )
    query = query if len(query) <= _QUERY_SHOWN else f"{query[:_QUERY_SHOWN]}..."
    return (
        f"The {what} of {org}/{pool} has yielded nothing new for {loop_now - silence.since:.0f} s: {WORDS[silence.why]}. What is "
        f"awake stays awake, and nothing is put to sleep automatically until it does. The query: {query}"
    )
