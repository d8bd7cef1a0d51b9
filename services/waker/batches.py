"""Wakes in batches: the next guest of a pool begins to rise as soon as one before it serves, and not earlier.

64 guests that woke at once took 18 s until all answered; in groups of 8 a group took 0.2 s, at most 0.7, since a guest that has just
woken wants its CPU for itself (measured before there was a waker, docs/performance.md). Pools that ramp at one moment rise beside each
other: a host has no bound of its own. A boot is no wake: it takes seconds, and its orders would expire in a queue.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from events.clock import Clock
from events.dead import DeadHosts
from events.envelope import Recorded
from events.fences import Fences
from events.gate import GateDecided, Rise, WakeOrdered
from events.host import HostAdmitted, HostFenced, HostRegistered, HostRemoved
from events.vm import (
    VmAnnounced,
    VmAnnounceFailed,
    VmBooted,
    VmQuiesced,
    VmReady,
    VmResumed,
    VmStopped,
    VmUnready,
    VmWakeFailed,
)
from projections.fleet.fold import Fleet
from schemas.images import MOST_RESTORES
from services.waker.decide import too_late
from services.waker.state import Key, Orders

PoolKey = tuple[str, str]
"""Org and pool."""


@dataclass(frozen=True, slots=True)
class _Climb:
    """One wake under way, and until when it may hold its place: the end of the guest's readiness window."""

    order: WakeOrdered
    until: dt.datetime | None = None


class Climbs:
    """Wakes whose guests run and do not serve yet, by host and pool; they hold places of their batch."""

    def __init__(self) -> None:
        self._fences = Fences()
        self._dead = DeadHosts()
        self._open: dict[Key, _Climb] = {}
        self._places: dict[tuple[str, str, str], dict[str, dt.datetime]] = {}

    def ends(self, host: str, pool: PoolKey, now: dt.datetime) -> list[dt.datetime]:
        """Until when each place is held that is held now, in no order."""
        return [until for until in self._places.get((host, *pool), {}).values() if until > now]

    def apply(self, recorded: Recorded) -> None:
        """The climbs now include the event."""
        match recorded.fact:
            case HostRegistered() | HostAdmitted() | HostRemoved() as fact:
                self._dead.apply(fact)
            case HostFenced(host=host) as fact:
                self._dead.apply(fact)
                for key in [key for key, climb in self._open.items() if climb.order.host == host]:
                    self._leave(key)
            case GateDecided(org=org, orders=orders) as decided if self._fences.pass_on(recorded, decided):
                for order in orders:
                    if isinstance(order, Rise) and order.host not in self._dead:
                        self._leave((org, order.vm))
                        if isinstance(order, WakeOrdered) and order.purpose != "keep":
                            self._open[org, order.vm] = _Climb(order)
            case VmResumed(org=org, vm=vm, reservation=reservation, resumed_at=moment):
                self._rise((org, vm), reservation, moment)
            case VmBooted(org=org, vm=vm, reservation=reservation, booted_at=moment):
                self._rise((org, vm), reservation, moment)
            case VmReady(org=org, vm=vm, reservation=reservation):
                climb = self._open.get((org, vm))
                if climb is not None and climb.order.purpose == "stock":
                    self._end((org, vm), reservation)
            case (
                VmAnnounced(org=org, vm=vm, reservation=reservation)
                | VmAnnounceFailed(org=org, vm=vm, reservation=reservation)
                | VmUnready(org=org, vm=vm, reservation=reservation)
                | VmWakeFailed(org=org, vm=vm, reservation=reservation)
                | VmQuiesced(org=org, vm=vm, reservation=reservation)
                | VmStopped(org=org, vm=vm, reservation=reservation)
            ):
                self._end((org, vm), reservation)
            case _:
                pass

    def _rise(self, key: Key, reservation: str, moment: dt.datetime) -> None:
        climb = self._open.get(key)
        if climb is None or climb.order.id != reservation or climb.until is not None:
            return
        until = moment + dt.timedelta(seconds=climb.order.ready_seconds)
        self._open[key] = _Climb(climb.order, until)
        self._places.setdefault((climb.order.host, key[0], climb.order.pool), {})[key[1]] = until

    def _end(self, key: Key, reservation: str | None) -> None:
        climb = self._open.get(key)
        if climb is not None and climb.order.id == reservation:
            self._leave(key)

    def _leave(self, key: Key) -> None:
        climb = self._open.pop(key, None)
        if climb is None:
            return
        pool = climb.order.host, key[0], climb.order.pool
        places = self._places.get(pool, {})
        places.pop(key[1], None)
        if not places:
            self._places.pop(pool, None)


class Turns:
    """Whose turn it is to rise on one host: what the ledger says of the climbs, and what this waker has begun since."""

    def __init__(self, climbs: Climbs, fleet: Fleet, orders: Orders, host: str, clock: Clock) -> None:
        self._climbs = climbs
        self._fleet = fleet
        self._orders = orders
        self._host = host
        self._clock = clock
        self._begun: dict[Key, str] = {}
        self._again_at: dt.datetime | None = None

    def comes(self, key: Key, order: Rise) -> bool:
        """Whether the order may be carried out now; then it holds a place until its outcome.

        One that is too late needs none: all that is left to do is to prove that it did not begin. While its memory is read a
        guest wants no CPU: a wake from disk waits for the disk, in the order of the ledger, and for those of its pool that are
        being read; it keeps no place from wakes out of RAM, and has one as soon as it runs.
        """
        now = self._clock.now()
        pool = self._fleet.pools.get((key[0], order.pool))
        if not isinstance(order, WakeOrdered) or pool is None or too_late(order.begin_by, now):
            return True
        if self._begun.get(key) == order.id:
            return True
        from_disk = order.id in self._orders.from_disk
        held = [] if from_disk else self._climbs.ends(self._host, (key[0], order.pool), now)
        rising = [one for one in self._rising() if (one[1].id in self._orders.from_disk) == from_disk]
        mates = sum((org, one.pool) == (key[0], order.pool) for org, one in rising)
        is_disk_free = not from_disk or len(rising) < MOST_RESTORES
        if len(held) + mates < pool.wake_batch and is_disk_free:
            self._begun[key] = order.id
            return True
        soonest = min([order.begin_by, *held])
        self._again_at = soonest if self._again_at is None else min(soonest, self._again_at)
        return False

    def leave(self, key: Key) -> None:
        """Nobody is at work on the VM any more; the place of one that rose is in the ledger."""
        self._begun.pop(key, None)

    def pause_seconds(self) -> float:
        """After how long an order that had to wait is to be asked about again, though the ledger said nothing."""
        again_at, self._again_at = self._again_at, None
        return inf if again_at is None else max(0.001, (again_at - self._clock.now()).total_seconds() + 0.001)

    def _rising(self) -> Iterator[tuple[str, Rise]]:
        """Wakes that were begun here, of which the ledger does not know yet whether they run, and their orgs."""
        for key, own in self._begun.items():
            order = self._orders.rises.get(key)
            if order is not None and order.id == own:
                yield key[0], order
