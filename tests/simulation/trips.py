"""Breakers and replacements, found in the ledger by other means than the folds': what must be so of every start that failed.

A **trip** is an order that starts a VM, until its guest answered or it ended. The laws: three of a pool in a row that fail at one
place open its breaker, before anything else is started there; while it is open nothing is; it lasts as long as it may, closes by a
success alone, and by one it does. Who failed is replaced once, and of one request no more VMs count at a time than it was granted.
"""

import datetime as dt
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from events.ahead import AHEAD
from events.breaker import BreakerClosed, BreakerOpened
from events.envelope import Recorded
from events.gate import BootOrdered, GateDecided, WakeOrdered
from events.host import HostFenced, HostRemoved
from events.ids import derive
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

IN_A_ROW: Final = 3
LEAST: Final = dt.timedelta(minutes=1)
MOST: Final = dt.timedelta(minutes=30)
MOST_UNTAKEN: Final = dt.timedelta(minutes=5)
"""Where the load balancer takes nobody: nothing serves in their place."""

BLAMELESS: Final = frozenset({"order-expired", "host-full"})
UNTAKEN: Final = frozenset({"balancer-unreachable", "balancer-refused"})
UNFIT: Final = frozenset({"not-refreshed", "clock-off", "rebooted"})

Key = tuple[str, str, str, str]
"""Org, pool, one of host, template, sleepers and balancer, and its name; the balancer has the pool's."""


@dataclass(frozen=True, slots=True)
class _Trip:
    reservation: str
    request: str
    pool: str
    host: str
    template: str | None
    """Of one that boots."""
    sleepers: str | None
    """The template of one that wakes."""
    seq: int
    first: bool
    """It was to serve, and is nobody's replacement."""


@dataclass(slots=True)
class _Place:
    """One place where a pool's VMs are started."""

    failures: int = 0
    openings: int = 0
    opened_seq: int = 0
    due: str = ""
    """`open` or `close`, when the gate owes the ledger that word."""
    due_seq: int = 0
    past: list[tuple[int, BreakerOpened | None]] = field(
        default_factory=list["tuple[int, BreakerOpened | None]"]
    )
    """The opening in force from each place of the ledger on."""
    owed: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """From where to where an opening was due."""

    def at(self, seq: int) -> BreakerOpened | None:
        """The opening in force at a place of the ledger."""
        return next((opened for at, opened in reversed(self.past) if at <= seq), None)

    def owes_opening(self, seq: int) -> bool:
        """Whether an opening was due there and not said."""
        if self.due == "open" and self.due_seq <= seq:
            return True
        return any(since <= seq < until for since, until in self.owed)


class Trips:
    """The ledger so far, as these laws see it; `void` are the orders on hosts that were dead by then."""

    def __init__(self, void: AbstractSet[str]) -> None:
        self._void = void
        self._places: dict[Key, _Place] = {}
        self._trips: dict[tuple[str, str], _Trip] = {}
        self._risen: dict[tuple[str, str], _Trip] = {}
        """VMs whose guests answered, and of whom the load balancer has said nothing yet."""
        self._templates: dict[tuple[str, str], str] = {}
        self._granted: dict[str, int] = {}
        self._counting: dict[tuple[str, str], tuple[str, str, str]] = {}
        """Of each VM that counts: its reservation, its request and its host."""
        self._live: dict[str, set[str]] = {}
        """By request: the reservations that count."""
        self._failed: dict[str, dict[str, str]] = {}
        """By request: first attempts that failed, and what replaced each, or nothing yet."""
        self._until_decided: tuple[int, str] | None = None
        self._forgotten: dict[Key, tuple[int, _Place]] = {}
        """What a host owed when it was called dead or removed, and which event said so."""
        self._unread: list[tuple[int, str]] = []
        """Switches that were due until such an event, and what is wrong where the decision behind them had read it."""

    def fold(self, line: Recorded) -> Iterator[str]:
        """The event is known; what is wrong with it, one sentence each."""
        fact, seq = line.fact, line.seq
        if self._until_decided is not None:
            yield from self._follows(line)
        match fact:
            case GateDecided():
                yield from self._decided(fact, seq)
            case BreakerOpened() | BreakerClosed():
                self._until_decided = seq, fact.org
                yield from self._switched(fact, seq)
            case PoolDefined(org=org, pool=pool, definition=definition):
                self._templates[org, pool] = definition.template
            case VmReady(org=org, vm=vm, reservation=reservation):
                trip = self._end(org, vm, reservation)
                if trip is not None:
                    self._risen[org, vm] = trip
                    for key in _tried(org, trip, ""):
                        self._worked(key, trip.seq, seq)
            case VmAnnounced(org=org, vm=vm, pool=pool):
                self._risen.pop((org, vm), None)
                self._worked((org, pool, "balancer", pool), seq, seq)
            case VmAnnounceFailed(org=org, vm=vm, reservation=reservation, code=code):
                trip = self._risen.get((org, vm))
                if trip is not None and trip.reservation == reservation and code in UNTAKEN:
                    del self._risen[org, vm]
                    self._fail(org, trip, code, seq)
            case VmWakeFailed(org=org, vm=vm, reservation=reservation, code=code):
                trip = self._trips.get((org, vm))
                if (
                    trip is not None
                    and trip.reservation == reservation
                    and code == "order-expired"
                    and trip.first
                ):
                    self._failed.setdefault(trip.request, {}).setdefault(
                        reservation, ""
                    )  # its turn never came
                self._over(org, vm, reservation, "" if code in BLAMELESS else code, seq)
            case VmUnready(org=org, vm=vm, reservation=reservation, code=code):
                trip = self._end(org, vm, reservation)
                if trip is not None:
                    self._fail(org, trip, code, seq)
            case VmStopped(org=org, vm=vm, reservation=str() as reservation, cause=cause):
                self._over(org, vm, reservation, "" if cause == "ordered" else "died", seq)
            case VmQuiesced(org=org, vm=vm, reservation=reservation, cause=cause):
                self._over(org, vm, reservation, "" if cause == "ordered" else "paused", seq)
            case HostFenced(host=host):
                for key in [key for key, one in self._counting.items() if one[2] == host]:
                    self._release(*key, self._counting[key][0])
                self._forget(host, seq)
            case HostRemoved(host=host):
                self._forget(host, seq)
            case _:
                pass

    def at_rest(self) -> Iterator[str]:
        """What is still owed where nobody has anything more to do."""
        for (_, pool, place, name), one in self._places.items():
            if one.due:
                yield f"The breaker of {pool} for the {place} {name} is to {one.due} since #{one.due_seq}, and nobody says so."

    def open_at_rest(self) -> Iterator[tuple[Key, BreakerOpened]]:
        """The breakers that are open, or on trial."""
        return ((key, opened) for key, one in self._places.items() if (opened := one.at(1 << 60)) is not None)

    # --------------------------------------------------------------------------------------- what opens and closes

    def _follows(self, line: Recorded) -> Iterator[str]:
        """What switches a breaker stands in one batch with a decision of its org, which orders nothing."""
        assert self._until_decided is not None
        seq, org = self._until_decided
        fact = line.fact
        if isinstance(fact, GateDecided) and fact.org == org and not fact.orders:
            self._until_decided = None
            yield from (what for forgotten_seq, what in self._unread if fact.state_seq >= forgotten_seq)
            self._unread.clear()
        elif not (isinstance(fact, BreakerOpened | BreakerClosed) and fact.org == org):
            self._until_decided = None
            yield f"#{seq} switches a breaker of {org}, and no decision stands behind it."

    def _switched(self, fact: BreakerOpened | BreakerClosed, seq: int) -> Iterator[str]:
        what = f"#{seq} about {fact.org}/{fact.pool} and the {fact.scope} {fact.name}"
        place = self._about(fact)
        due = "close" if isinstance(fact, BreakerClosed) else "open"
        owing = place if place.due == due else self._forgotten_owing(fact, due, what) or place
        if isinstance(fact, BreakerClosed):
            if owing.due != "close":
                yield f"{what} closes a breaker behind which nothing woke."
            place.failures = place.openings = 0
            place.past.append((seq, None))
            place.due = ""
            return
        if owing.due != "open":
            yield f"{what} opens a breaker, and {owing.failures} starts failed there in a row."
        most = MOST_UNTAKEN if fact.code in UNTAKEN else MOST
        lasts = min(most, LEAST * 2 ** min(owing.openings, 10))
        if fact.until - fact.opened_at != lasts:
            yield f"{what} opens a breaker for {fact.until - fact.opened_at}, and it is to be {lasts}."
        if place.due == "open":
            place.owed.append((place.due_seq, seq))
        place.openings += 1
        place.opened_seq = seq
        place.due = ""
        place.past.append((seq, fact))

    def _forgotten_owing(self, fact: BreakerOpened | BreakerClosed, due: str, what: str) -> _Place | None:
        """The host's place as it stood when the host was called dead or removed, where that switch was due then.

        Who says it had not read the end of the host: the decision behind it tells.
        """
        key = (fact.org, fact.pool, fact.scope, fact.name)
        seq, place = self._forgotten.get(key, (0, None))
        if place is None or place.due != due:
            return None
        del self._forgotten[key]
        self._unread.append((seq, f"{what} switches what was over with #{seq}, which was read."))
        return place

    def _about(self, fact: BreakerOpened | BreakerClosed) -> _Place:
        """Which place the fact is about: sleepers stand under their template, and are told by the code, or by what is due."""
        if fact.scope == "host":
            return self._place((fact.org, fact.pool, "host", fact.name))
        kinds = ("template", "sleepers", "balancer")
        if isinstance(fact, BreakerOpened):
            kind = "sleepers" if fact.code in UNFIT else "balancer" if fact.code in UNTAKEN else "template"
            return self._place((fact.org, fact.pool, kind, fact.name))
        places = [self._place((fact.org, fact.pool, kind, fact.name)) for kind in kinds]
        return next((one for one in places if one.due == "close"), places[0])

    def _place(self, key: Key) -> _Place:
        return self._places.setdefault(key, _Place())

    def _fail(self, org: str, trip: _Trip, code: str, seq: int) -> None:
        if trip.first and code not in UNTAKEN:
            self._failed.setdefault(trip.request, {}).setdefault(trip.reservation, "")
        for key in _tried(org, trip, code):
            place = self._place(key)
            if trip.seq <= place.opened_seq or place.due == "close":
                continue
            place.failures += 1
            if (place.at(seq) is not None or place.failures >= IN_A_ROW) and not place.due:
                place.due, place.due_seq = "open", seq

    def _worked(self, key: Key, ordered_seq: int, seq: int) -> None:
        place = self._places.get(key)
        if place is None or ordered_seq <= place.opened_seq or place.due:
            return
        place.failures = 0
        if place.at(seq) is not None:
            place.due, place.due_seq = "close", seq

    def _forget(self, host: str, seq: int) -> None:
        self._trips = {key: trip for key, trip in self._trips.items() if trip.host != host}
        self._risen = {key: trip for key, trip in self._risen.items() if trip.host != host}
        gone = {key: one for key, one in self._places.items() if key[2:] == ("host", host)}
        self._forgotten |= {key: (seq, one) for key, one in gone.items() if one.due}
        self._places = {key: one for key, one in self._places.items() if key not in gone}

    # ------------------------------------------------------------------------------------------------- decisions

    def _decided(self, decided: GateDecided, seq: int) -> Iterator[str]:
        answered = {answer.request for answer in decided.answers}
        for answer in decided.answers:
            self._granted[answer.request] = self._granted.get(answer.request, 0) + answer.granted
        for order in decided.orders:
            if not isinstance(order, WakeOrdered | BootOrdered) or order.purpose == "keep":
                continue  # nobody takes the place of a VM that is kept, and no breaker holds it
            yield from self._may_start(decided, order, seq)
            first = order.request in answered
            if not first:
                yield from self._replaces(order, seq)
            if order.id not in self._void:
                self._start(decided.org, order, seq, first=first)
                live = len(self._live[order.request])
                if live > self._granted.get(order.request, 0):
                    yield (
                        f"{live} VMs count for the request {order.request[:8]} since #{seq}, and it was granted "
                        f"{self._granted.get(order.request, 0)}."
                    )

    def _may_start(self, decided: GateDecided, order: WakeOrdered | BootOrdered, seq: int) -> Iterator[str]:
        """No breaker stands in the way, by what the decision had read and by its own time."""
        read = decided.state_seq
        keys: list[Key] = [(decided.org, order.pool, "host", order.host)]
        if isinstance(order, BootOrdered):
            keys.append((decided.org, order.pool, "template", order.template))
        if order.purpose == "serve":
            keys.append((decided.org, order.pool, "balancer", order.pool))
        for key in keys:
            place = self._places.get(key)
            if place is None:
                continue
            opened = place.at(read)
            # One that was opened in a minute or later, by the clock that decides, is nobody's word: a clock was wrong.
            told = opened is not None and opened.opened_at <= decided.now + AHEAD
            if told and opened is not None and decided.now < opened.until:
                yield f"{order.vm} was started at #{seq}, and the breaker of its {key[2]} {key[3]} is open until {opened.until}."
            if place.owes_opening(read):
                yield f"{order.vm} was started at #{seq}, and the breaker of its {key[2]} {key[3]} was to be opened by #{read}."

    def _start(self, org: str, order: WakeOrdered | BootOrdered, seq: int, *, first: bool) -> None:
        boots = isinstance(order, BootOrdered)
        self._trips[org, order.vm] = _Trip(
            reservation=order.id,
            request=order.request,
            pool=order.pool,
            host=order.host,
            template=order.template if isinstance(order, BootOrdered) else None,
            sleepers=None if boots else self._templates.get((org, order.pool)),
            seq=seq,
            first=first and order.purpose == "serve",
        )
        former = self._counting.get((org, order.vm))
        if former is not None:
            self._release(org, order.vm, former[0])
        self._counting[org, order.vm] = order.id, order.request, order.host
        self._live.setdefault(order.request, set()).add(order.id)

    def _over(self, org: str, vm: str, reservation: str, code: str, seq: int) -> None:
        """The VM counts no more; with a code it failed, if its guest had not answered yet."""
        risen = self._risen.get((org, vm))
        if risen is not None and risen.reservation == reservation:
            del self._risen[org, vm]
        trip = self._end(org, vm, reservation)
        if trip is not None and code:
            self._fail(org, trip, code, seq)
        self._release(org, vm, reservation)

    def _release(self, org: str, vm: str, reservation: str) -> None:
        held = self._counting.get((org, vm))
        if held is not None and held[0] == reservation:
            del self._counting[org, vm]
            self._live[held[1]].discard(reservation)

    def _end(self, org: str, vm: str, reservation: str) -> _Trip | None:
        trip = self._trips.get((org, vm))
        if trip is None or trip.reservation != reservation:
            return None
        return self._trips.pop((org, vm))

    # ---------------------------------------------------------------------------------------------- replacements

    def _replaces(self, order: WakeOrdered | BootOrdered, seq: int) -> Iterator[str]:
        """It takes the place of one that failed, and is the only one that does."""
        failed = self._failed.get(order.request, {})
        whose = next((one for one in failed if _again(order, one)), None)
        if whose is None:
            yield f"{order.vm} was started at #{seq} for {order.request[:8]}, which that decision does not answer, and nobody failed."
        elif failed[whose]:
            yield f"{order.vm} was started at #{seq} in the place of {whose[:8]}, and so was {failed[whose]}."
        else:
            failed[whose] = f"{order.vm} at #{seq}"


def _again(order: WakeOrdered | BootOrdered, reservation: str) -> bool:
    kind = "wake.ordered" if isinstance(order, WakeOrdered) else "boot.ordered"
    return order.id == derive(order.request, derive(reservation, 2), kind, order.vm)


def _tried(org: str, trip: _Trip, code: str) -> Iterator[Key]:
    """The places that a trip says something about: a success about all of them, a failure about those whose fault it may be."""
    if code in UNTAKEN:
        yield org, trip.pool, "balancer", trip.pool
        return
    if code not in UNFIT and code != "template-missing":
        yield org, trip.pool, "host", trip.host
    if code not in UNFIT and trip.template is not None:
        yield org, trip.pool, "template", trip.template
    if (code in UNFIT or not code) and trip.sleepers is not None:
        yield org, trip.pool, "sleepers", trip.sleepers
