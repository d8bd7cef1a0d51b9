"""Leases, folded from the ledger: a kept VM has its name until it is recycled, and a domain its address until it is undefined."""

import datetime as dt
from typing import Final, get_args

import msgspec

from events.awaited import Awaited, OfAwaited
from events.deletion import DeletionCompleted, VmUndefined
from events.envelope import Recorded
from events.fact import Fact
from events.fences import Fences
from events.gate import GateDecided
from events.keep import VmCreated
from events.once import Once
from events.vm import VmDefined

Key = tuple[str, str]
"""Org and VM."""


class Lease(msgspec.Struct, frozen=True):
    """Since when a VM has its name."""

    org: str
    vm: str
    since: dt.datetime
    seq: int


class Leases:
    """Who has which name and which address. Names of VMs that come and go with demand are their pool's, and not among them."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {GateDecided, VmCreated, VmDefined, VmUndefined, DeletionCompleted, *get_args(OfAwaited)}
    )

    def __init__(self) -> None:
        self.names: dict[Key, Lease] = {}
        self.addresses: dict[str, Key] = {}
        self._at: dict[Key, tuple[str, str]] = {}
        """The host on which each VM's domain was defined last, and its address there."""
        self._awaited = Awaited()
        self._fences = Fences()
        self._once = Once()

    def holds_name(self, org: str, vm: str) -> bool:
        """Whether somebody has the name, be it a VM that is deleted and not recycled yet."""
        return (org, vm) in self.names

    def apply(self, recorded: Recorded) -> None:
        """The leases now include the event; a name that is given is not given to another."""
        match recorded.fact:
            case VmCreated(org=org, vm=vm, created_at=at):
                self.names.setdefault((org, vm), Lease(org, vm, at, recorded.seq))
            case GateDecided(org=org, orders=orders) as decided:
                if self._fences.pass_on(recorded, decided):
                    for order in orders:
                        self._awaited.order(org, order)
            case fact if isinstance(fact, OfAwaited):
                if self._awaited.ended(fact) == "failed":
                    self.names.pop((fact.org, fact.vm), None)
            case DeletionCompleted(org=org, vm=vm, deletion=deletion, stage="recycle"):
                if self._once.first(deletion):
                    self.names.pop((org, vm), None)
            case VmDefined(org=org, vm=vm, host=host, address=address):
                self._leave((org, vm))
                former = self.addresses.get(address)
                if former is not None:
                    self._at.pop(
                        former, None
                    )  # its domain is gone, or its host would not have given the address away
                self.addresses[address] = org, vm
                self._at[org, vm] = host, address
            case VmUndefined(org=org, vm=vm, host=host, order=order) if self._once.first(order, host):
                at, _ = self._at.get((org, vm), (host, ""))
                if at == host:  # another host may say so first, on which it was once
                    self._leave((org, vm))
            case _:
                pass

    def _leave(self, key: Key) -> None:
        _, address = self._at.pop(key, ("", None))
        if address is not None:
            del self.addresses[address]
