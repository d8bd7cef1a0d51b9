"""What the announcer must know besides the fleet: how long each drain may take, and which VMs changed since when."""

import datetime as dt
from dataclasses import dataclass
from itertools import takewhile

from events.envelope import Recorded
from events.fences import Fences
from events.gate import (
    BootOrdered,
    DrainCancelled,
    DrainOrdered,
    GateDecided,
    Order,
    RebootOrdered,
    WakeOrdered,
)
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
    """VMs in the order of their latest change, and the drains that each was ordered while awake."""

    def __init__(self) -> None:
        self._fences = Fences()
        self._drains: dict[tuple[str, str], dict[str, Drain]] = {}
        self._changed: dict[tuple[str, str], int] = {}

    def since(self, seq: int) -> list[tuple[str, str]]:
        """VMs that an event after sequence `seq` was about, the earliest change first."""
        newest_first = takewhile(lambda vm: self._changed[vm] > seq, reversed(self._changed))
        return list(newest_first)[::-1]

    def drain(self, org: str, vm: str, order: str) -> Drain | None:
        """The drain of this order, while the VM is awake."""
        return self._drains.get((org, vm), {}).get(order)

    def apply(self, recorded: Recorded) -> None:
        """The changes now include the event."""
        match recorded.fact:
            case GateDecided(org=org, orders=orders, now=now) as decided:
                if self._fences.pass_on(recorded, decided):
                    for order in orders:
                        self._order(org, order, now)
                        self._note(org, order.vm, recorded.seq)
            case (
                VmDefined(org=org, vm=vm)
                | VmReady(org=org, vm=vm)
                | VmUnready(org=org, vm=vm)
                | VmAnnounced(org=org, vm=vm)
                | VmAnnounceFailed(org=org, vm=vm)
                | VmDrained(org=org, vm=vm)
                | VmQuiesced(org=org, vm=vm)
                | VmStopped(org=org, vm=vm)
                | VmWakeFailed(org=org, vm=vm)
                | VmFoundAwake(org=org, vm=vm)
            ):
                self._note(org, vm, recorded.seq)
            case _:
                pass

    def _order(self, org: str, order: Order, now: dt.datetime) -> None:
        match order:
            case WakeOrdered() | BootOrdered() | RebootOrdered():
                self._drains.pop((org, order.vm), None)
            case DrainOrdered():
                drains = self._drains.setdefault((org, order.vm), {})
                drains[order.id] = Drain(order.id, order.drain_seconds, now)
            case DrainCancelled():
                self._drains.get((org, order.vm), {}).pop(order.drain, None)
            case _:
                pass  # no drain of the VM begins or ends with it

    def _note(self, org: str, vm: str, seq: int) -> None:
        self._changed.pop((org, vm), None)
        self._changed[org, vm] = seq
