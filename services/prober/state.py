"""What the prober must know besides the fleet: which VMs are on their way up, how, and how long they may take."""

import datetime as dt
from dataclasses import dataclass, replace

from events.envelope import Recorded
from events.fences import Fences
from events.gate import GateDecided, Rise, WakeOrdered
from events.host import HostFenced
from events.pool import PoolDefined
from events.vm import VmBooted, VmQuiesced, VmReady, VmResumed, VmStopped, VmUnready, VmWakeFailed


@dataclass(frozen=True, slots=True)
class Trip:
    """One VM on its way up under one order, whose id is also the reservation."""

    org: str
    vm: str
    pool: str
    order: str
    request: str
    cold: bool
    """It boots, or so it was ordered: its waker says whether it found it asleep, or had to start it."""
    ready_seconds: int
    host: str
    refreshes: bool = False
    """Its pool wants a woken guest refreshed before it serves."""
    awake_at: dt.datetime | None = None
    """Since when its waker knows that it runs, on the waker's clock."""
    refreshed: bool = False
    """Its waker's agent set its clock, and gave it fresh entropy, when it was woken."""


class Trips:
    """Every order to get up that has no outcome yet, by org and VM; a fenced host's have none, and are over."""

    def __init__(self) -> None:
        self._refresh: set[tuple[str, str]] = set()
        """Pools that want it."""
        self._fences = Fences()
        self.open: dict[tuple[str, str], Trip] = {}

    def apply(self, recorded: Recorded) -> None:
        """The trips now include the event."""
        match recorded.fact:
            case PoolDefined(org=org, pool=pool, definition=definition):
                if definition.refresh == "agent":
                    self._refresh.add((org, pool))
                else:
                    self._refresh.discard((org, pool))
            case GateDecided(org=org, orders=orders) as decided:
                if self._fences.pass_on(recorded, decided):
                    for order in orders:
                        if isinstance(order, Rise):
                            self._begin(org, order)
            case HostFenced(host=host):
                self.open = {key: trip for key, trip in self.open.items() if trip.host != host}
            case VmResumed(org=org, vm=vm, reservation=reservation, resumed_at=moment, refreshed=refreshed):
                self._awake(org, vm, reservation, moment, cold=False, refreshed=refreshed is not None)
            case VmBooted(org=org, vm=vm, reservation=reservation, booted_at=moment):
                self._awake(org, vm, reservation, moment, cold=True)
            case VmReady(org=org, vm=vm, reservation=reservation):
                self._end(org, vm, reservation)
            case VmUnready(org=org, vm=vm, reservation=reservation):
                self._end(org, vm, reservation)
            case VmWakeFailed(org=org, vm=vm, reservation=reservation):
                self._end(org, vm, reservation)
            case VmQuiesced(org=org, vm=vm, reservation=reservation):
                self._end(org, vm, reservation)
            case VmStopped(org=org, vm=vm, reservation=reservation):
                self._end(org, vm, reservation)
            case _:
                pass

    def _begin(self, org: str, order: Rise) -> None:
        """Whoever is given no time to answer is not asked: it may have nobody who could."""
        if order.ready_seconds == 0:
            self.open.pop((org, order.vm), None)
            return
        self.open[org, order.vm] = Trip(
            org=org,
            vm=order.vm,
            pool=order.pool,
            order=order.id,
            request=order.request,
            cold=not isinstance(order, WakeOrdered),
            ready_seconds=order.ready_seconds,
            host=order.host,
            refreshes=(org, order.pool) in self._refresh,
        )

    def _awake(
        self,
        org: str,
        vm: str,
        reservation: str,
        moment: dt.datetime,
        *,
        cold: bool,
        refreshed: bool = False,
    ) -> None:
        trip = self.open.get((org, vm))
        if trip is not None and trip.order == reservation and trip.awake_at is None:
            self.open[org, vm] = replace(trip, awake_at=moment, cold=cold, refreshed=refreshed)

    def _end(self, org: str, vm: str, reservation: str | None) -> None:
        trip = self.open.get((org, vm))
        if trip is not None and trip.order == reservation:
            del self.open[org, vm]
