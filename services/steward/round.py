"""One look at an org's calendar: what this look says already counts for whatever it says next."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field

from events.fact import Fact
from events.ids import derive
from events.maintenance import (
    MaintenanceBegun,
    MaintenanceCancelled,
    MaintenanceDeclined,
    MaintenanceEnded,
    MaintenanceRescheduled,
    MaintenanceScheduled,
)
from schemas.activity import Maintenance
from schemas.dated import PolicyError
from schemas.maintenance import Policy, Window, chosen, policy
from schemas.names import shorten
from schemas.objection import Objection
from services.steward.plan import Terms, announce
from services.steward.state import State, Wanted, event_id
from services.steward.work import combine


@dataclass(frozen=True, slots=True)
class Said:
    """An event that is to be recorded, under an id that is the same for whoever decides the same."""

    fact: Fact
    id: str
    cause: str | None
    correlation: str


@dataclass(slots=True)
class Round:
    """The open entries of one org as this round leaves them. Each entry has one event in a round; the next one goes on from there."""

    org: str
    state: State
    now: dt.datetime
    said: list[Said] = field(default_factory=list[Said])
    known: dict[str, Maintenance] = field(init=False)
    wanted: dict[str, list[Wanted]] = field(default_factory=dict[str, list[Wanted]])
    """Announced reboots, by VM."""
    _of: dict[str, dict[str, None]] = field(default_factory=dict[str, dict[str, None]])
    _numbers: dict[str, int] = field(init=False)
    _touched: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        planned = list(self.state.calendar.open(self.org))
        self.known = {one.entry.id: one.entry for one in planned}
        self._numbers = {one.entry.id: one.number for one in planned}
        for one in planned:
            self._of.setdefault(one.entry.vm, {})[one.entry.id] = None
        for wish in self.state.desk.reboots.values():
            if wish.org == self.org:
                self.wanted.setdefault(wish.vm, []).append(wish)

    @property
    def entries(self) -> Sequence[Maintenance]:
        """All that is not over."""
        return tuple(self.known.values())

    def of(self, vm: str) -> list[Maintenance]:
        """The VM's entries."""
        return [self.known[id_] for id_ in self._of.get(vm, ()) if id_ in self.known]

    def is_touched(self, entry: Maintenance) -> bool:
        """Whether this round has said something about the entry."""
        return entry.id in self._touched

    def terms(self, pool: str | None) -> Terms:
        """What the pool's maintenance is planned by from now on."""
        found = self.state.fleet.pools.get((self.org, pool or ""))
        if found is None:
            return Terms(policy(self.now), Window())
        return Terms(policy_of(found.notice, self.now), found.window)

    # ---------------------------------------------------------------------------------------------------- what is said

    def schedule(self, entry: Maintenance, cause: str | None) -> Objection | None:
        """The new entry is announced; an objection where nothing is."""
        told = self._announced(entry)
        if isinstance(told, Objection):
            return told
        self._say(
            told,
            MaintenanceScheduled(
                org=self.org,
                vm=told.vm,
                number=self._next(told),
                entry=told,
                steps=combine(told.asked).steps,
                notice_seconds=self.terms(told.pool).policy.notice_seconds,
                scheduled_at=self.now,
            ),
            cause,
        )
        return None

    def reschedule(
        self,
        entry: Maintenance,
        code: str,
        *,
        actor: str | None = None,
        request: str | None = None,
        cause: str | None = None,
    ) -> Objection | None:
        """The entry is so from here on, and announced where it is planned anew; an objection where nothing is."""
        told = self._announced(entry) if entry.stage == "planned" else entry
        if isinstance(told, Objection):
            return told
        self._say(
            told,
            MaintenanceRescheduled(
                org=self.org,
                vm=told.vm,
                number=self._next(told),
                entry=told,
                steps=combine(told.asked).steps,
                notice_seconds=self.terms(told.pool).policy.notice_seconds,
                code=code,
                actor=actor,
                request=request,
                rescheduled_at=self.now,
            ),
            request or cause,
        )
        return None

    def cancel(
        self,
        entry: Maintenance,
        code: str,
        *,
        actor: str | None = None,
        request: str | None = None,
        cause: str | None = None,
    ) -> None:
        """Nothing of the entry, which is cancelled already, will be done."""
        fact = MaintenanceCancelled(
            org=self.org,
            vm=entry.vm,
            number=self._next(entry),
            entry=entry,
            code=code,
            actor=actor,
            request=request,
            cancelled_at=self.now,
        )
        self._say(entry, fact, request or cause)

    def begin(self, entry: Maintenance, begin_by: dt.datetime) -> None:
        """The gate may order what the entry, which runs already, announced."""
        fact = MaintenanceBegun(
            org=self.org,
            vm=entry.vm,
            pool=entry.pool or "",
            number=self._next(entry),
            entry=entry,
            begin_by=begin_by,
            begun_at=self.now,
        )
        self._say(entry, fact, None)

    def end(self, entry: Maintenance, code: str) -> None:
        """The entry, which has ended already, is over."""
        fact = MaintenanceEnded(
            org=self.org, vm=entry.vm, number=self._next(entry), entry=entry, code=code, ended_at=self.now
        )
        self._say(entry, fact, None)

    def decline(
        self,
        vm: str,
        request: str,
        objection: Objection,
        maintenance: str | None = None,
        *,
        cause: str | None = None,
    ) -> None:
        """Nothing follows from the request; `cause` is the event behind it, where it is none itself."""
        fact = MaintenanceDeclined(
            org=self.org,
            vm=vm,
            request=request,
            maintenance=maintenance,
            code=objection.code,
            text=shorten(objection.text),
            declined_at=self.now,
        )
        self.said.append(Said(fact, derive("maintenance.declined", request), cause or request, request))

    # ---------------------------------------------------------------------------------------------------------- inside

    def _announced(self, entry: Maintenance) -> Maintenance | Objection:
        others = [other for other in self.known.values() if other.id != entry.id]
        return announce(self.now, entry, others, self.terms(entry.pool))

    def _next(self, entry: Maintenance) -> int:
        return self._numbers.get(entry.id, 0) + 1

    def _say(self, entry: Maintenance, fact: Fact, cause: str | None) -> None:
        assert entry.id not in self._touched, entry
        number = self._next(entry)
        self._touched.add(entry.id)
        self._numbers[entry.id] = number
        if entry.stage in {"ended", "cancelled"}:
            self.known.pop(entry.id, None)
        else:
            self.known[entry.id] = entry
            self._of.setdefault(entry.vm, {})[entry.id] = None
        before = event_id(entry.id, number - 1) if number > 1 else None
        self.said.append(Said(fact, event_id(entry.id, number), cause or before, entry.id))


def policy_of(version: str | None, now: dt.datetime) -> Policy:
    """The policy of this version, or of the day where none is named, or one that this program does not know."""
    if version is None:
        return policy(now)
    try:
        return chosen(version)
    except PolicyError:
        return policy(now)
