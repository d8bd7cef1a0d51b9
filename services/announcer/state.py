"""What the announcer must know besides the fleet: how long each drain may take, and which VMs changed since when."""

import datetime as dt
from dataclasses import dataclass
from itertools import takewhile

from events.envelope import Recorded
from events.gate import DrainOrdered, GateDecided, Order
from events.vm import (
    VmAnnounced,
    VmAnnounceFailed,
    VmDefined,
    VmDrained,
    VmFoundAwake,
    VmQuiesced,
    VmReady,
    VmStopped,
    VmUnready,
    VmWakeFailed,
)


@dataclass(frozen=True, slots=True)
class Drain:
    """One drain as the gate ordered it, by the clock of that gate."""

    order: str
    seconds: int
    ordered_at: dt.datetime


class Changes:
    """VMs in the order of their latest change, and the latest drain of each."""

    def __init__(self) -> None:
        self.drains: dict[tuple[str, str], Drain] = {}
        self._changed: dict[tuple[str, str], int] = {}

    def since(self, seq: int) -> list[tuple[str, str]]:
        """VMs that an event after sequence `seq` was about, the earliest change first."""
        newest_first = takewhile(lambda vm: self._changed[vm] > seq, reversed(self._changed))
        return list(newest_first)[::-1]

    def apply(self, recorded: Recorded) -> None:
        """The changes now include the event."""
        match recorded.fact:
            case GateDecided(org=org, orders=orders, now=now):
                for order in orders:
                    self._order(org, order, now)
                    self._note(org, order.vm, recorded.seq)
            case (
                VmDefined(org=org, vm=vm)
                | VmReady(org=org, vm=vm)
                | VmUnready(org=org, vm=vm)
                | VmAnnounced(org=org, vm=vm)
                | VmAnnounceFailed(org=org, vm=vm)
                | VmQuiesced(org=org, vm=vm)
                | VmStopped(org=org, vm=vm)
                | VmWakeFailed(org=org, vm=vm)
                | VmFoundAwake(org=org, vm=vm)
            ):
                self._note(org, vm, recorded.seq)
            case VmDrained(org=org, vm=vm, drain=drain):
                known = self.drains.get((org, vm))
                if known is not None and known.order == drain:
                    del self.drains[org, vm]
                self._note(org, vm, recorded.seq)
            case _:
                pass

    def _order(self, org: str, order: Order, now: dt.datetime) -> None:
        if isinstance(order, DrainOrdered):
            self.drains[org, order.vm] = Drain(order.id, order.drain_seconds, now)
        else:
            self.drains.pop((org, order.vm), None)

    def _note(self, org: str, vm: str, seq: int) -> None:
        self._changed.pop((org, vm), None)
        self._changed[org, vm] = seq
