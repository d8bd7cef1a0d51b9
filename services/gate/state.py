"""What the gate must know besides usage and fleet: which requests await an answer, and where the fence stands."""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from events.envelope import Recorded
from events.gate import GateDecided
from events.quiesce import QuiesceRequested
from events.scale import ScaleRequested
from events.stock import StockRequested

Wish = ScaleRequested | QuiesceRequested | StockRequested
"""The requests that the gate answers."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A request that no decision has answered yet."""

    seq: int
    id: str
    wish: Wish


@dataclass(slots=True)
class _Desk:
    """One org's part: unanswered requests by sequence, the fence, and when its pools last grew by a trigger."""

    pending: dict[int, Pending] = field(default_factory=dict[int, Pending])
    through: int = 0
    fence_seq: int = 0
    scaled_at: dict[str, dt.datetime] = field(default_factory=dict[str, dt.datetime])


class Docket:
    """Every org's desk, folded from the ledger."""

    def __init__(self) -> None:
        self._desks: dict[str, _Desk] = {}
        self._waiting: dict[str, None] = {}

    def waiting(self) -> Iterable[str]:
        """Orgs with an unanswered request."""
        return self._waiting.keys()

    def pending(self, org: str) -> Iterator[Pending]:
        """Unanswered requests of the org in ledger order."""
        desk = self._desks.get(org)
        return iter(desk.pending.values()) if desk else iter(())

    def through(self, org: str) -> int:
        """Requests at or below this sequence are answered, for ever."""
        desk = self._desks.get(org)
        return desk.through if desk else 0

    def fence_seq(self, org: str) -> int:
        """The sequence of the last decision about the org; 0 when there is none."""
        desk = self._desks.get(org)
        return desk.fence_seq if desk else 0

    def scaled_at(self, org: str, pool: str) -> dt.datetime | None:
        """When a trigger last made the pool grow, by the clock of the gate that decided it."""
        desk = self._desks.get(org)
        return desk.scaled_at.get(pool) if desk else None

    def apply(self, recorded: Recorded) -> None:
        """The docket now includes the event."""
        match recorded.fact:
            case ScaleRequested() | QuiesceRequested() | StockRequested() as wish:
                desk = self._desk(wish.org)
                if recorded.seq > desk.through:
                    desk.pending[recorded.seq] = Pending(recorded.seq, recorded.id, wish)
                    self._waiting[wish.org] = None
            case GateDecided() as decided:
                self._close(self._desk(decided.org), decided, recorded.seq)
            case _:
                pass

    def _desk(self, org: str) -> _Desk:
        return self._desks.setdefault(org, _Desk())

    def _close(self, desk: _Desk, decided: GateDecided, seq: int) -> None:
        for answer in decided.answers:
            pending = desk.pending.get(answer.request_seq)
            if pending is None or answer.granted == 0:
                continue
            if isinstance(pending.wish, ScaleRequested) and pending.wish.sample is not None:
                desk.scaled_at[answer.pool] = decided.now
        desk.fence_seq = seq
        desk.through = max(desk.through, decided.through)
        for answered in list(takewhile(lambda at: at <= desk.through, desk.pending)):
            del desk.pending[answered]
        if not desk.pending:
            self._waiting.pop(decided.org, None)
