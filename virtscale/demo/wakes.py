"""When VMs woke, folded from the ledger: so that a request can be told from one that met a VM which had just been woken."""

import datetime as dt
from dataclasses import dataclass
from typing import Final

from events.envelope import Recorded
from events.fact import Fact
from events.fences import Fences
from events.gate import BootOrdered, GateDecided, WakeOrdered
from events.vm import VmAnnounced

FRESH: Final = dt.timedelta(seconds=5)
"""A VM counts as just woken for so long after it was announced: its caches are cold and its sockets are new."""


@dataclass(frozen=True, slots=True)
class Wake:
    """A VM's way up: ordered then, sent work from then on."""

    vm: str
    ordered_at: dt.datetime
    announced_at: dt.datetime


class Wakes:
    """Every wake to serve of one ledger, in the order in which they ended."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset({GateDecided, VmAnnounced})

    def __init__(self) -> None:
        self.ended: list[Wake] = []
        self._fences = Fences()
        self._ordered: dict[str, dt.datetime] = {}

    def apply(self, recorded: Recorded) -> None:
        """The fold now includes the event."""
        match recorded.fact:
            case GateDecided(orders=orders, now=now) as decided:
                if self._fences.pass_on(recorded, decided):
                    for order in orders:
                        if isinstance(order, WakeOrdered | BootOrdered):
                            self._ordered[order.id] = now
            case VmAnnounced(order=order, vm=vm, announced_at=announced_at):
                ordered_at = self._ordered.pop(order, None)
                if ordered_at is not None:
                    self.ended.append(Wake(vm, ordered_at, announced_at))
            case _:
                pass
