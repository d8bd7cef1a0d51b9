"""What the intake must know: which requests are in the ledger, where their subjects end, and what was answered."""

import datetime as dt
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

from events.envelope import Recorded
from events.fences import Fences
from events.gate import Answer, ContractRef, GateDecided
from events.registry import NEWEST
from events.scale import ScaleRequested
from services.signal.decide import RequestFact, content

MOST_REQUESTS: Final = 20_000
"""Requests of one publisher whose keys are remembered, 7 MB; the same key after so many others of its own asks anew.

At the highest rate that it may keep up, they are those of the last 100 s, and the bus knows those of the last 600 s.
"""

MOST_ANSWERS: Final = 10_000
"""Answers that are remembered for whoever waits for one; about a kilobyte each."""


@dataclass(frozen=True, slots=True)
class Known:
    """A request that is in the ledger."""

    seq: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Settled:
    """What the gate answered to a request, and the contract it did so by."""

    answer: Answer
    contract: ContractRef | None
    decided_at: dt.datetime


class Intake:
    """The requests in the ledger, bounded for each publisher, and the last sequence of each request subject.

    The last sequences are what makes a request stored once: nobody else writes these subjects, so an append
    that expects the last one either is the next, or finds out that it is not. Pools and people bound their number.
    """

    def __init__(self) -> None:
        self._fences = Fences()
        self._requests: dict[str, Known] = {}
        self._ids: dict[tuple[str, str], deque[str]] = {}
        self._answers: OrderedDict[str, Settled] = OrderedDict()
        self._last: dict[str, int] = {}
        self._triggered_at: dict[tuple[str, str], dt.datetime] = {}

    def last_on(self, subject: str) -> int:
        """The sequence of the last message on a request subject; 0 when there is none."""
        return self._last.get(subject, 0)

    def known(self, request: str) -> Known | None:
        """Where the request with this id stands in the ledger; None when it is not there, or long ago."""
        return self._requests.get(request)

    def settled(self, request: str) -> Settled | None:
        """What the gate answered to the request; None when it has not yet, or long ago."""
        return self._answers.get(request)

    def triggered_at(self, org: str, pool: str) -> dt.datetime | None:
        """When a trigger of the pool last asked."""
        return self._triggered_at.get((org, pool))

    def apply(self, recorded: Recorded) -> None:
        """The intake now includes the event."""
        match recorded.fact:
            case ScaleRequested() as fact:
                if fact.origin == "trigger":
                    self._triggered_at[fact.org, fact.pool] = fact.received_at
                self._store(recorded, fact)
            case fact if isinstance(fact, RequestFact):
                self._store(recorded, fact)
            case GateDecided() as decided:
                for answer in decided.answers if self._fences.pass_on(recorded, decided) else ():
                    self._answers.setdefault(answer.request, Settled(answer, decided.contract, decided.now))
                while len(self._answers) > MOST_ANSWERS:
                    self._answers.popitem(last=False)
            case _:
                pass

    def _store(self, recorded: Recorded, fact: RequestFact) -> None:
        row = NEWEST[type(fact)]
        self._last[f"vs.{fact.org}.{recorded.writer}.{row.kind}.{row.entity(fact)}.{row.name}"] = recorded.seq
        if recorded.id in self._requests:
            return
        self._requests[recorded.id] = Known(recorded.seq, content(fact))
        # Each publisher forgets its own: no flood makes another's repeated key ask twice.
        ids = self._ids.setdefault((fact.org, fact.publisher), deque())
        ids.append(recorded.id)
        if len(ids) > MOST_REQUESTS:
            del self._requests[ids.popleft()]
