"""What the prober must know besides the fleet: which VMs are on their way up, how, and how long they may take."""

import datetime as dt
from dataclasses import dataclass, replace

from events.envelope import Recorded
from events.fences import Fences
from events.gate import BootOrdered, GateDecided, WakeOrdered
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
    """It boots; of a wake this is learnt when its waker had to start the domain."""
    ready_seconds: int
    awake_at: dt.datetime | None = None
    """Since when its waker knows that it runs, on the waker's clock."""


class Trips:
    """Every order to get up that has no outcome yet, by org and VM."""

    def __init__(self) -> None:
        self._fences = Fences()
        self.open: dict[tuple[str, str], Trip] = {}

    def apply(self, recorded: Recorded) -> None:
        """The trips now include the event."""
        match recorded.fact:
            case GateDecided(org=org, orders=orders) as decided:
                if self._fences.pass_on(recorded, decided):
                    for order in orders:
                        if isinstance(order, WakeOrdered | BootOrdered):
                            self._begin(org, order)
            case VmResumed(org=org, vm=vm, reservation=reservation, resumed_at=moment):
                self._awake(org, vm, reservation, moment, cold=False)
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

    def _begin(self, org: str, order: WakeOrdered | BootOrdered) -> None:
        self.open[org, order.vm] = Trip(
            org=org,
            vm=order.vm,
            pool=order.pool,
            order=order.id,
            request=order.request,
            cold=isinstance(order, BootOrdered),
            ready_seconds=order.ready_seconds,
        )

    def _awake(self, org: str, vm: str, reservation: str, moment: dt.datetime, *, cold: bool) -> None:
        trip = self.open.get((org, vm))
        if trip is not None and trip.order == reservation and trip.awake_at is None:
            self.open[org, vm] = replace(trip, awake_at=moment, cold=trip.cold or cold)

    def _end(self, org: str, vm: str, reservation: str | None) -> None:
        trip = self.open.get((org, vm))
        if trip is not None and trip.order == reservation:
            del self.open[org, vm]
