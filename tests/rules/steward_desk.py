"""A steward's desk for tests: a Sunday in November, requests with ids that can be read, and entries that are placed one by one."""

import datetime as dt
from typing import Any

from msgspec.structs import replace

from schemas.activity import Activity, Change, Kind, Maintenance, activity
from schemas.maintenance import AtOnce, Window, chosen
from schemas.objection import Objection
from services.steward.plan import Placed, Target, Terms, announce, place
from services.steward.turns import Turn, turns

MORNING = dt.datetime(2026, 11, 22, 8, tzinfo=dt.UTC)
"""09:00 in Berlin: with 12 hours' notice tonight's window can be taken from 22:00 on."""

TONIGHT = dt.datetime(2026, 11, 22, 21, tzinfo=dt.UTC)
TOMORROW = TONIGHT + dt.timedelta(days=1)
HOUR = dt.timedelta(hours=1)
MINUTE = dt.timedelta(minutes=1)


def key(number: int) -> str:
    return f"{number:032x}"


def wish(number: int, kind: Kind, **said: Any) -> Activity:
    return activity(key(number), kind, **said)


def resize(number: int, what: str = "vcpu", before: int = 2, after: int = 4, **said: Any) -> Activity:
    return wish(number, "resize", changes=[Change(what, str(before), str(after))], **said)


class Desk:
    """Entries of one org, and the terms by which they are planned."""

    def __init__(
        self, policy: str = "maintenance-12h", window: Window | None = None, at_once: AtOnce | None = None
    ) -> None:
        self.terms = Terms(chosen(policy), window or Window(), at_once or AtOnce(pool=100, org=100))
        self.entries: dict[str, Maintenance] = {}
        self._ids = 1000

    def ask(
        self, asked: Activity, now: dt.datetime = MORNING, vm: str = "web-1", pool: str | None = "web"
    ) -> Placed | Objection:
        self._ids += 1
        placed = place(
            now,
            asked,
            Target("acme", vm, pool),
            tuple(self.entries.values()),
            self.terms,
            key=key(self._ids),
        )
        if isinstance(placed, Placed):
            self.keep(placed.maintenance)
        return placed

    def placed(self, asked: Activity, now: dt.datetime = MORNING, **said: Any) -> Placed:
        placed = self.ask(asked, now, **said)
        assert isinstance(placed, Placed), placed
        return placed

    def announced(self, asked: Activity, now: dt.datetime = MORNING, **said: Any) -> Maintenance:
        """Placed, and told to contacts at once."""
        return self.tell(self.placed(asked, now, **said).maintenance, now)

    def tell(self, entry: Maintenance, now: dt.datetime = MORNING) -> Maintenance:
        told = announce(now, entry, tuple(self.entries.values()), self.terms)
        assert isinstance(told, Maintenance), told
        return self.keep(told)

    def keep(self, entry: Maintenance) -> Maintenance:
        self.entries[entry.id] = entry
        return entry

    def alter(self, entry: Maintenance, **fields: Any) -> Maintenance:
        return self.keep(replace(entry, **fields))

    def turns(self, now: dt.datetime) -> tuple[Turn, ...]:
        return turns(now, self.entries.values(), self.terms.policy, self.terms.at_once)
