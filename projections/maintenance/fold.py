"""The calendar of maintenance, folded from the ledger: each entry as it is, and how it came to be so."""

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from events.envelope import Recorded
from events.fact import Fact
from events.maintenance import (
    MaintenanceBegun,
    MaintenanceCancelled,
    MaintenanceEnded,
    MaintenanceRescheduled,
    MaintenanceScheduled,
)
from schemas.activity import Activity, Maintenance

OfEntry = (
    MaintenanceScheduled | MaintenanceRescheduled | MaintenanceCancelled | MaintenanceBegun | MaintenanceEnded
)
"""What becomes of an entry."""

CHANGES: Final[frozenset[type[Fact]]] = frozenset(
    {
        MaintenanceScheduled,
        MaintenanceRescheduled,
        MaintenanceCancelled,
        MaintenanceBegun,
        MaintenanceEnded,
    }
)

_OVER: Final = frozenset({"ended", "cancelled"})


class Planned(msgspec.Struct, frozen=True):
    """One entry, and the last event about it."""

    entry: Maintenance
    steps: tuple[Activity, ...]
    number: int
    """How many events there were about it."""
    event: str
    seq: int
    code: str
    actor: str | None
    """Who asked for the last change; None where nobody did."""
    at: dt.datetime
    begin_by: dt.datetime | None = None
    """Until when what has begun may be ordered."""

    @property
    def over(self) -> bool:
        """Whether nothing more becomes of it."""
        return self.entry.stage in _OVER


class Calendar:
    """Every entry there ever was; those that are not over also by org, and all by the requests that they hold."""

    TAKES: Final[frozenset[type[Fact]]] = CHANGES

    def __init__(self) -> None:
        self.entries: dict[str, Planned] = {}
        self._open: dict[str, dict[str, None]] = {}
        self._asked: dict[str, dict[str, None]] = {}

    def get(self, id: str) -> Planned | None:
        """The entry of this id; None where there is none."""
        return self.entries.get(id)

    def orgs(self) -> Iterable[str]:
        """Orgs that have an entry which is not over."""
        return self._open.keys()

    def open(self, org: str) -> Iterator[Planned]:
        """The org's entries that are not over, in the order in which they were made."""
        return (self.entries[one] for one in self._open.get(org, ()))

    def holding(self, activity: str) -> list[Planned]:
        """The entries in which the request ever was, the oldest first."""
        return [self.entries[one] for one in self._asked.get(activity, ())]

    def apply(self, recorded: Recorded) -> None:
        """The calendar now includes the event; one that does not follow the last about its entry says nothing."""
        fact = recorded.fact
        if not isinstance(fact, OfEntry):
            return
        known = self.entries.get(fact.entry.id)
        if fact.number != (1 if known is None else known.number + 1):
            return
        planned = self.entries[fact.entry.id] = _after(known, fact, recorded)
        for activity in fact.entry.asked:
            self._asked.setdefault(activity.id, {})[fact.entry.id] = None
        mine = self._open.setdefault(fact.org, {})
        if planned.over:
            mine.pop(fact.entry.id, None)
        else:
            mine[fact.entry.id] = None
        if not mine:
            del self._open[fact.org]


def _after(known: Planned | None, fact: OfEntry, recorded: Recorded) -> Planned:
    steps = known.steps if known is not None else ()
    code, actor, begin_by = "Begun", None, None
    match fact:
        case MaintenanceScheduled():
            steps, code, at = fact.steps, "Scheduled", fact.scheduled_at
        case MaintenanceRescheduled():
            steps, code, actor, at = fact.steps, fact.code, fact.actor, fact.rescheduled_at
        case MaintenanceCancelled():
            code, actor, at = fact.code, fact.actor, fact.cancelled_at
        case MaintenanceBegun():
            at, begin_by = fact.begun_at, fact.begin_by
        case MaintenanceEnded():
            code, at = fact.code, fact.ended_at
    return Planned(fact.entry, steps, fact.number, recorded.id, recorded.seq, code, actor, at, begin_by)
