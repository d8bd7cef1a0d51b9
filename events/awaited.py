"""Disks that VMs are given by other orders than their first boot: restored from another's copy, or adopted with a domain.

Where such an order fails there was no VM, and its name is free; but not before a disk that was taken lies where it lay.
"""

from dataclasses import dataclass, field
from typing import Literal

from events.copy import CopyRestored, CopyRestoreFailed
from events.fact import Fact
from events.gate import AdoptOrdered, Order, RestoreOrdered
from events.keep import VmAdopted, VmAdoptFailed
from events.volume import VolumeAdopted, VolumeAdoptFailed

Key = tuple[str, str]
"""Org and VM."""

OfAwaited = VmAdopted | VmAdoptFailed | VolumeAdopted | VolumeAdoptFailed | CopyRestored | CopyRestoreFailed
"""What becomes of such an order."""


@dataclass(slots=True)
class Awaited:
    """Such orders without an outcome, by VM."""

    orders: dict[Key, str] = field(default_factory=dict[Key, str])
    _taken: set[Key] = field(default_factory=set[Key])
    """VMs whose disk was taken from somebody else's domain, which is not given up yet."""

    def order(self, org: str, order: Order) -> bool:
        """Whether the order is one of them; it is awaited from here on."""
        if isinstance(order, AdoptOrdered) or (isinstance(order, RestoreOrdered) and order.of != order.vm):
            self.orders[org, order.vm] = order.id
            self._taken.discard((org, order.vm))
            return True
        return False

    def ended(self, fact: Fact) -> Literal["given", "failed"] | None:
        """How the order ended with the event; None where it did not, or where the event names another order."""
        if not isinstance(fact, OfAwaited) or self.orders.get((fact.org, fact.vm)) != fact.order:
            return None
        key = (fact.org, fact.vm)
        match fact:
            case VolumeAdopted():
                self._taken.add(key)
                return None
            case VmAdoptFailed() if key in self._taken:
                return None  # the disk is to be given back first
            case _:
                del self.orders[key]
                self._taken.discard(key)
        return "given" if isinstance(fact, VmAdopted | CopyRestored) else "failed"
