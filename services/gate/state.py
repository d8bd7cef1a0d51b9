"""What the gate must know besides usage and fleet: which requests await an answer, and where the fence stands."""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from events.envelope import Recorded
from events.fences import Fences
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
    """One org's part: unanswered requests by sequence, and when its pools last grew by a trigger."""

    pending: dict[int, Pending] = field(default_factory=dict[int, Pending])
    through: int = 0
    scaled_at: dict[str, dt.datetime] = field(default_factory=dict[str, dt.datetime])


class Docket:
    """Every org's desk, folded from the ledger."""

    def __init__(self) -> None:
        self._desks: dict[str, _Desk] = {}
        self._waiting: dict[str, None] = {}
        self._fences = Fences()

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
        return self._fences.last(org)

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
            case GateDecided() as decided if self._fences.pass_on(recorded, decided):
                self._close(self._desk(decided.org), decided)
            case _:
                pass

    def _desk(self, org: str) -> _Desk:
        return self._desks.setdefault(org, _Desk())

    def _close(self, desk: _Desk, decided: GateDecided) -> None:
        for answer in decided.answers:
            pending = desk.pending.get(answer.request_seq)
            if pending is None or answer.granted == 0:
                continue
            if isinstance(pending.wish, ScaleRequested) and pending.wish.origin == "trigger":
                desk.scaled_at[pending.wish.pool] = decided.now
        desk.through = max(desk.through, decided.through)
        for answered in list(takewhile(lambda at: at <= desk.through, desk.pending)):
            del desk.pending[answered]
        if not desk.pending:
            self._waiting.pop(decided.org, None)
