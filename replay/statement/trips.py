"""Which activations of a month served, and which of them in time."""

from dataclasses import dataclass, field
from typing import Final

from events.dead import DeadHosts
from events.envelope import Recorded
from events.gate import BootOrdered, GateDecided, WakeOrdered
from events.host import HostFenced, HostRemoved
from events.vm import VmAnnounced, VmAnnounceFailed, VmQuiesced, VmStopped, VmUnready, VmWakeFailed

_SECOND_NS: Final = 10**9


@dataclass(frozen=True, slots=True)
class _Trip:
    """One order: since when, how long it may take, and where."""

    at_ns: int
    ready_ns: int
    host: str

    @property
    def until_ns(self) -> int:
        """The last nanosecond at which it is in time."""
        return self.at_ns + self.ready_ns


@dataclass(slots=True)
class Trips:
    """Wakes and boots that were ordered to serve, by what became of them.

    In time is one that served no later after its decision than the order gives the guest to answer, `ready_seconds`: the
    whole trip, with the waker's and the balancer's part, within what the pool's definition allows the guest alone.

    Each is judged once, in the month in which it serves, fails, or its time is up. One whose time was not up when the
    month ended is carried over to the next. An order to a host that was declared dead before the decision was stored is
    void: it failed where it was given, as one does whose host is declared dead right behind it.
    """

    carried: int = 0
    """Those ordered before the month whose time was not up when it began."""
    ordered: int = 0
    served: int = 0
    in_time: int = 0
    failed: int = 0
    late: int = 0
    """Those without an outcome when the month was closed, whose time was up."""
    _open: dict[str, _Trip] = field(default_factory=dict[str, _Trip])
    _dead: DeadHosts = field(default_factory=DeadHosts)
    _begun: bool = False

    @property
    def open(self) -> int:
        """Those without an outcome yet."""
        return len(self._open)

    @property
    def judged(self) -> int:
        """Those of which it is known whether they served in time."""
        return self.served + self.failed + self.late

    def begin(self, begin_ns: int) -> None:
        """From now on is counted; told once more it changes nothing. What was late before was judged before."""
        if not self._begun:
            self._open = {name: trip for name, trip in self._open.items() if trip.until_ns >= begin_ns}
            self.carried, self.ordered, self.served, self.in_time, self.failed = len(self._open), 0, 0, 0, 0
            self._begun = True

    def close(self, at_ns: int) -> None:
        """Nothing comes before this instant that was not told."""
        self.late = sum(trip.until_ns < at_ns for trip in self._open.values())

    def order(self, decided: GateDecided, at_ns: int) -> None:
        """The round's trips begin."""
        for order in decided.orders:
            if isinstance(order, WakeOrdered | BootOrdered) and order.purpose == "serve":
                self.ordered += 1
                self._open[order.id] = _Trip(at_ns, order.ready_seconds * _SECOND_NS, order.host)
                if order.host in self._dead:
                    self._fail(order.id)

    def take(self, recorded: Recorded, at_ns: int) -> None:
        """The event may be the end of a trip."""
        self._dead.apply(recorded.fact)
        match recorded.fact:
            case VmAnnounced(order=order):
                began = self._open.pop(order, None)
                if began is not None:
                    self.served += 1
                    self.in_time += at_ns <= began.until_ns
            case VmAnnounceFailed(order=order):
                self._fail(order)
            case (
                VmWakeFailed(reservation=reservation)
                | VmUnready(reservation=reservation)
                | VmQuiesced(reservation=reservation)
                | VmStopped(reservation=str() as reservation)
            ):
                self._fail(reservation)
            case HostFenced(host=host) | HostRemoved(host=host):
                for order in [name for name, trip in self._open.items() if trip.host == host]:
                    self._fail(order)
            case _:
                pass

    def _fail(self, order: str) -> None:
        if self._open.pop(order, None) is not None:
            self.failed += 1
