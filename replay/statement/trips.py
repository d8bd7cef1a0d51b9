"""Which activations of a month served, and which of them in time."""

from dataclasses import dataclass, field
from typing import Final

from events.envelope import Recorded
from events.gate import BootOrdered, GateDecided, WakeOrdered
from events.host import HostFenced, HostRemoved
from events.vm import VmAnnounced, VmAnnounceFailed, VmQuiesced, VmStopped, VmUnready, VmWakeFailed

_SECOND_NS: Final = 10**9


@dataclass(slots=True)
class Trips:
    """Wakes and boots that were ordered to serve, by what became of them.

    In time is one that served no later after its decision than the order gives the guest to answer, `ready_seconds`: the
    whole trip, with the waker's and the balancer's part, within what the pool's definition allows the guest alone.
    """

    ordered: int = 0
    served: int = 0
    in_time: int = 0
    failed: int = 0
    _open: dict[str, tuple[int, int, str]] = field(default_factory=dict[str, tuple[int, int, str]])

    @property
    def open(self) -> int:
        """Those without an outcome yet."""
        return len(self._open)

    def order(self, decided: GateDecided, at_ns: int) -> None:
        """The round's trips begin."""
        for order in decided.orders:
            if isinstance(order, WakeOrdered | BootOrdered) and order.purpose == "serve":
                self.ordered += 1
                self._open[order.id] = (at_ns, order.ready_seconds, order.host)

    def take(self, recorded: Recorded, at_ns: int) -> None:
        """The event may be the end of a trip."""
        match recorded.fact:
            case VmAnnounced(order=order):
                began = self._open.pop(order, None)
                if began is not None:
                    self.served += 1
                    self.in_time += at_ns - began[0] <= began[1] * _SECOND_NS
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
                for order in [name for name, (_, _, where) in self._open.items() if where == host]:
                    self._fail(order)
            case _:
                pass

    def _fail(self, order: str) -> None:
        if self._open.pop(order, None) is not None:
            self.failed += 1
