"""Breakers, folded from the ledger: what fails to wake again and again is left alone for a while, and what failed once is replaced.

A **trip** is an order that starts a VM, until its guest answered or it ended; one whose guest dies before its first answer, or is
paused by nobody's order, has failed like one that never started. Three trips of a pool in a row that fail on one
host call for a breaker of that host, three that boot from one template for one of that template; a boot counts for both, since
it cannot be told whose fault it was. Three sleepers in a row whose guests woke and were not fit to serve open one of the pool's
sleepers of that template: new VMs are booted instead. And three in a row that the load balancer did not take, though their guests
answered, open one of the pool: whoever else was started would only wait for the balancer as well. The gate opens and closes breakers by facts under its fence; which are due is
said here, and nothing stays due once it was told, whatever clock it was told by.

A VM that failed to wake and was to serve is **lost** to whoever asked, from the moment that it counts no more: another one takes
its place, once. A replacement is known by its decision, which orders it and answers no such request.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from events.ahead import is_to_come
from events.breaker import BreakerClosed, BreakerOpened
from events.dead import DeadHosts
from events.envelope import Recorded
from events.fact import Fact
from events.fences import Fences
from events.gate import BootOrdered, DrainOrdered, GateDecided, WakeOrdered
from events.host import HostAdmitted, HostFenced, HostRegistered, HostRemoved
from events.pool import PoolDefined
from events.vm import (
    VmAnnounced,
    VmAnnounceFailed,
    VmQuiesced,
    VmReady,
    VmStopped,
    VmUnready,
    VmWakeFailed,
)
from projections.breakers.known import (
    DIED,
    PAUSED,
    REPLACED_WITHIN,
    STALE_GUEST,
    UNTAKEN,
    Breaker,
    Key,
    Lost,
    Place,
    Trip,
    keys_of,
    lately,
    places,
)

FAILURES: Final = 3
"""So many in a row, without one that answered in between, open a breaker."""

_FIRST: Final = dt.timedelta(seconds=60)
_LONGEST: Final = dt.timedelta(minutes=30)
_LONGEST_AWAY: Final = dt.timedelta(minutes=5)
"""The same where the load balancer took nobody: nothing serves in their place, so that it is to be found back soon."""
_MOST_DOUBLINGS: Final = 5
"""60 s doubled five times are 32 minutes, which the longest is below."""

_BLAMELESS: Final = frozenset({"order-expired", "host-full"})
"""Codes of wakes that nobody tried: they say nothing about the host."""


@dataclass(slots=True)
class _Desk:
    """One org's part."""

    lost: list[Lost] = field(default_factory=list[Lost])
    due: dict[Key, None] = field(default_factory=dict[Key, None])
    stopping: dict[str, Trip] = field(default_factory=dict[str, Trip])
    """By VM: it failed and still counts, until it is switched off."""


class Breakers:
    """Every pool's breakers, and what is lost to its requests."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {
            GateDecided,
            BreakerOpened,
            BreakerClosed,
            VmReady,
            VmUnready,
            VmAnnounced,
            VmAnnounceFailed,
            VmWakeFailed,
            VmStopped,
            VmQuiesced,
            PoolDefined,
            HostRegistered,
            HostAdmitted,
            HostFenced,
            HostRemoved,
        }
    )

    def __init__(self) -> None:
        self._fences = Fences()
        self._dead = DeadHosts()
        self._breakers: dict[Key, Breaker] = {}
        self._trips: dict[tuple[str, str], Trip] = {}
        self._risen: dict[tuple[str, str], Trip] = {}
        """VMs whose guests answered and that are to be announced."""
        self._desks: dict[str, _Desk] = {}
        self._needing: dict[str, None] = {}
        self._told: dict[Key, tuple[dt.datetime, str]] = {}
        self._templates: dict[tuple[str, str], str] = {}

    # ---------------------------------------------------------------------------------------------------- what holds

    @property
    def opened(self) -> Mapping[Key, Breaker]:
        """The breakers that were opened and not closed, by place; those whose time is over are on trial."""
        return {key: one for key, one in self._breakers.items() if one.until is not None}

    def until(self, org: str, pool: str, place: Place, name: str, now: dt.datetime) -> dt.datetime | None:
        """Until when the pool's VMs are not started there; past by `now` where it is tried again; None where nothing is amiss.

        One that was opened by a clock which was ahead, or so it seems by now, keeps nobody out: it is tried again at once.
        """
        breaker = self._breakers.get((org, pool, place, name))
        if breaker is None or breaker.until is None or breaker.opened_at is None:
            return None
        return now if is_to_come(breaker.opened_at, now) else breaker.until

    def lost(self, org: str, now: dt.datetime) -> Iterator[Lost]:
        """What failed lately and is to be replaced, the first to have failed first."""
        desk = self._desks.get(org)
        return (one for one in (desk.lost if desk else ()) if now < one.lost_at + REPLACED_WITHIN)

    def to_be_lost(self, org: str, pool: str, now: dt.datetime) -> int:
        """VMs of the pool that failed just now and are being switched off: they will be replaced once they count no more."""
        desk = self._desks.get(org)
        return sum(trip.pool == pool and lately(trip, now) for trip in desk.stopping.values()) if desk else 0

    def needing(self, now: dt.datetime) -> Iterator[str]:
        """Orgs with a VM to replace, or a breaker to open or close."""
        return (
            org
            for org in self._needing
            if self._desks[org].due or next(self.lost(org, now), None) is not None
        )

    def may_need(self, org: str) -> bool:
        """Whether the org has a VM that was lost, however long ago, or a breaker to switch."""
        return org in self._needing

    def due(self, org: str, now: dt.datetime) -> Iterator[BreakerOpened | BreakerClosed]:
        """The facts that are to be said of the org's breakers."""
        desk = self._desks.get(org)
        for key in desk.due if desk else ():
            _, pool, place, name = key
            scope = "host" if place == "host" else "template"
            breaker = self._breakers[key]
            if breaker.worked:
                yield BreakerClosed(org=org, pool=pool, scope=scope, name=name, closed_at=now)
            else:
                longest = _LONGEST_AWAY if place == "balancer" else _LONGEST
                lasts = min(longest, _FIRST * 2 ** min(breaker.openings, _MOST_DOUBLINGS))
                yield BreakerOpened(
                    org=org,
                    pool=pool,
                    scope=scope,
                    name=name,
                    failures=breaker.failures,
                    code=breaker.code,
                    opened_at=now,
                    until=now + lasts,
                )

    # ------------------------------------------------------------------------------------------------- what happens

    def apply(self, recorded: Recorded) -> None:
        """The breakers now include the event."""
        match recorded.fact:
            case GateDecided() as decided if self._fences.pass_on(recorded, decided):
                self._decide(decided, recorded.seq)
            case BreakerOpened() | BreakerClosed() as fact:
                self._switch(fact, recorded)
            case PoolDefined(org=org, pool=pool, definition=definition):
                self._templates[org, pool] = definition.template
            case VmReady(org=org, vm=vm, reservation=reservation):
                trip = self._end(org, vm, reservation)
                for key in places(org, trip):
                    self._worked(key, trip.seq if trip is not None else 0)
                if trip is not None:
                    self._risen[org, vm] = trip
            case VmAnnounced(org=org, vm=vm, pool=pool):
                # Whenever it was started: the balancer takes VMs now.
                self._risen.pop((org, vm), None)
                self._worked((org, pool, "balancer", pool), recorded.seq)
            case VmAnnounceFailed(org=org, vm=vm, reservation=reservation, code=code):
                trip = self._risen.get((org, vm))
                if trip is not None and trip.reservation == reservation and code in UNTAKEN:
                    del self._risen[org, vm]
                    self._failed(org, trip, code)
            case VmWakeFailed(org=org, vm=vm, reservation=reservation, code=code, observed_at=at):
                self._skipped(org, vm, reservation, code, at)
                self._over(org, vm, reservation, "" if code in _BLAMELESS else code, at)
            case VmUnready(org=org, vm=vm, reservation=reservation, code=code, observed_at=at):
                trip = self._end(org, vm, reservation)
                if trip is not None:
                    self._failed(org, trip, code)
                    if trip.replaceable:
                        self._desk(org).stopping[vm] = replace(trip, cold=code in STALE_GUEST, failed_at=at)
            case VmStopped(org=org, vm=vm, reservation=str() as reservation, cause=cause, stopped_at=at):
                self._over(org, vm, reservation, "" if cause == "ordered" else DIED, at)
            case VmQuiesced(org=org, vm=vm, reservation=reservation, cause=cause, quiesced_at=at):
                self._over(org, vm, reservation, "" if cause == "ordered" else PAUSED, at)
            case HostFenced() | HostRemoved() | HostAdmitted() | HostRegistered() as fact:
                self._dead.apply(fact)
                if isinstance(fact, HostFenced | HostRemoved):
                    self._forget(fact.host)
            case _:
                pass
        self._look(recorded.fact.org)

    def _look(self, org: str) -> None:
        """The org is among those that may need something, or is not."""
        desk = self._desks.get(org)
        if desk is not None and (desk.due or desk.lost):
            self._needing[org] = None
        else:
            self._needing.pop(org, None)

    def _desk(self, org: str) -> _Desk:
        desk = self._desks.get(org)
        if desk is None:
            desk = self._desks[org] = _Desk()
        return desk

    def _decide(self, decided: GateDecided, seq: int) -> None:
        """Trips begin; what is replaced, is no longer asked for or failed too long ago is lost no more."""
        org, desk = decided.org, self._desk(decided.org)
        answered = {answer.request for answer in decided.answers}
        desk.lost = [one for one in desk.lost if decided.now < one.lost_at + REPLACED_WITHIN]
        desk.stopping = {vm: trip for vm, trip in desk.stopping.items() if lately(trip, decided.now)}
        for order in decided.orders:
            match order:
                case WakeOrdered(purpose="keep") | BootOrdered(purpose="keep"):
                    pass  # nobody takes the place of a VM that is kept for its own sake
                case WakeOrdered() | BootOrdered():
                    again = order.request not in answered
                    if again:
                        self._replaced(desk, order.pool, order.request)
                    if order.host in self._dead:
                        continue
                    desk.stopping.pop(order.vm, None)
                    self._trips[org, order.vm] = Trip(
                        reservation=order.id,
                        pool=order.pool,
                        host=order.host,
                        template=order.template if isinstance(order, BootOrdered) else None,
                        sleepers=None
                        if isinstance(order, BootOrdered)
                        else self._templates.get((org, order.pool)),
                        request=order.request,
                        replaceable=order.purpose == "serve" and not again,
                        seq=seq,
                        awaited_until=order.begin_by + dt.timedelta(seconds=order.ready_seconds),
                    )
                case DrainOrdered(pool=pool):
                    # Fewer are wanted by now: whoever wants more again will ask.
                    desk.lost = [one for one in desk.lost if one.pool != pool]
                    desk.stopping = {vm: trip for vm, trip in desk.stopping.items() if trip.pool != pool}
                case _:
                    pass

    @staticmethod
    def _replaced(desk: _Desk, pool: str, request: str) -> None:
        for one in desk.lost:
            if (one.pool, one.request) == (pool, request):
                desk.lost.remove(one)
                return

    def _switch(self, fact: BreakerOpened | BreakerClosed, recorded: Recorded) -> None:
        """What the gate said of a breaker holds; a copy of it, told later, does not.

        What is due is news, whatever the clock of the gate that says it: were it taken for a copy, it would be due for ever and
        said for ever. Only what nothing is known of is judged by its time.
        """
        at = fact.opened_at if isinstance(fact, BreakerOpened) else fact.closed_at
        desk, keys = self._desk(fact.org), keys_of(fact)
        closes = isinstance(fact, BreakerClosed)
        due = [key for key in keys if key in desk.due and self._breakers[key].worked == closes]
        told = [self._told[key] for key in keys if key in self._told]
        if any(recorded.id == event for _, event in told) or (
            not due and any(at <= told_at for told_at, _ in told)
        ):
            return
        key = due[0] if due else keys[0]
        self._told[key] = (at, recorded.id)
        desk.due.pop(key, None)
        if isinstance(fact, BreakerClosed):
            self._breakers.pop(key, None)
            return
        former = self._breakers.get(key, Breaker())
        self._breakers[key] = replace(
            former,
            failures=fact.failures,
            code=fact.code,
            told_failures=fact.failures,
            told_code=fact.code,
            openings=former.openings + 1,
            opened_seq=recorded.seq,
            opened_at=fact.opened_at,
            until=fact.until,
            failed=False,
            worked=False,
        )

    def _end(self, org: str, vm: str, reservation: str) -> Trip | None:
        """The trip under the reservation, which is over; None where there is none."""
        trip = self._trips.get((org, vm))
        if trip is None or trip.reservation != reservation:
            return None
        return self._trips.pop((org, vm))

    def _over(self, org: str, vm: str, reservation: str, code: str, at: dt.datetime) -> None:
        """The VM counts no more. With a code, its trip failed; without, or where its guest had answered, nothing did."""
        trip, risen = self._end(org, vm, reservation), self._risen.get((org, vm))
        if risen is not None and risen.reservation == reservation:
            del self._risen[org, vm]
        if trip is not None and code:
            self._failed(org, trip, code)
            self._lose(org, vm, trip, at)
        self._stopped(org, vm, reservation, at)

    def _skipped(self, org: str, vm: str, reservation: str, code: str, at: dt.datetime) -> None:
        """It stood in its host's queue until it was too late: nobody's failure, and lost to whoever was told that it comes.

        Not where its waker says so long after: then others will have been asked for in its place.
        """
        trip = self._trips.get((org, vm))
        if code != "order-expired" or trip is None or trip.reservation != reservation:
            return
        if at <= trip.awaited_until:
            self._lose(org, vm, trip, at)

    def _failed(self, org: str, trip: Trip, code: str) -> None:
        for key in places(org, trip, code):
            former = self._breakers.get(key, Breaker())
            if trip.seq <= former.opened_seq or former.worked:
                continue  # ordered before it was opened, or beside one that woke: it says nothing new
            failures = former.failures + 1
            failed = former.until is not None or failures >= FAILURES
            self._breakers[key] = replace(former, failures=failures, code=code, failed=failed)
            if failed:
                self._desk(org).due[key] = None

    def _worked(self, key: Key, seq: int) -> None:
        """Something that was ordered at `seq` woke there: the failures before it are over, unless a breaker was opened since."""
        former = self._breakers.get(key)
        if former is None or seq <= former.opened_seq or former.failed:
            return
        if former.until is None:
            del self._breakers[key]
            return
        self._breakers[key] = replace(former, worked=True)
        self._desk(key[0]).due[key] = None

    def _lose(self, org: str, vm: str, trip: Trip, at: dt.datetime) -> None:
        if trip.replaceable:
            lost = Lost(trip.pool, vm, trip.host, trip.reservation, trip.request, at, trip.cold)
            self._desk(org).lost.append(lost)

    def _stopped(self, org: str, vm: str, reservation: str, at: dt.datetime) -> None:
        """A VM that had failed counts no more. After `REPLACED_WITHIN` another may have come already, so that nobody replaces it."""
        desk = self._desks.get(org)
        trip = desk.stopping.get(vm) if desk else None
        if desk is not None and trip is not None and trip.reservation == reservation:
            del desk.stopping[vm]
            if lately(trip, at):
                self._lose(org, vm, trip, at)

    def _forget(self, host: str) -> None:
        """The host is dead or gone, and what is known of it with it; what failed there is still lost."""
        self._trips = {key: trip for key, trip in self._trips.items() if trip.host != host}
        self._risen = {key: trip for key, trip in self._risen.items() if trip.host != host}
        for org, desk in self._desks.items():
            desk.stopping = {vm: trip for vm, trip in desk.stopping.items() if trip.host != host}
            desk.due = {key: None for key in desk.due if key[2:] != ("host", host)}
            self._look(org)
        self._breakers = {key: one for key, one in self._breakers.items() if key[2:] != ("host", host)}
