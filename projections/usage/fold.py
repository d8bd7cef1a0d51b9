"""Usage is a set: which VM holds which size under which reservation. It is never a counter that drifts.

Only a decision of the gate, or a VM found awake that nobody ordered, adds to it; only proof that a domain does
not run, naming the same reservation, or that its host is dead, takes from it. Everything else folds to nothing, so that duplicates, late
outcomes and outcomes of somebody else's reservation change nothing.
"""

from dataclasses import dataclass, replace
from typing import Final

from events.contract import ContractTookEffect
from events.dead import DeadHosts
from events.envelope import Recorded
from events.fact import Fact
from events.fences import Fences
from events.gate import BootOrdered, GateDecided, WakeOrdered
from events.host import HostAdmitted, HostFenced, HostRegistered, HostRemoved
from events.vm import VmBooted, VmFoundAwake, VmQuiesced, VmResumed, VmStopped, VmWakeFailed
from schemas.capacity import NOTHING, Capacity, Size
from schemas.contract.document import terms
from schemas.contract.terms import Contract


@dataclass(frozen=True, slots=True)
class Holding:
    """One VM counts `size` under `reservation`; `proven` once its waker said that it runs."""

    pool: str
    host: str
    size: Size
    reservation: str
    proven: bool
    stray: bool = False


class Usage:
    """Holdings by org and VM, with totals per org kept as they change."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {
            ContractTookEffect,
            HostRegistered,
            HostAdmitted,
            HostRemoved,
            HostFenced,
            GateDecided,
            VmResumed,
            VmBooted,
            VmWakeFailed,
            VmQuiesced,
            VmStopped,
            VmFoundAwake,
        }
    )

    def __init__(self) -> None:
        self.contracts: dict[str, Contract] = {}
        self.holdings: dict[tuple[str, str], Holding] = {}
        self._fences = Fences()
        self._dead = DeadHosts()
        self._proven: dict[str, Capacity] = {}
        self._reserved: dict[str, Capacity] = {}
        self._strays: dict[str, int] = {}
        self._told: set[str] = set()
        """Reservations of VMs found awake: the same finding told again, however late, counts no second time."""

    def used(self, org: str) -> Capacity:
        """Capacity of VMs proven awake."""
        return self._proven.get(org, NOTHING)

    def reserved(self, org: str) -> Capacity:
        """Capacity of VMs ordered awake without an outcome yet; unknown counts as awake."""
        return self._reserved.get(org, NOTHING)

    def strays(self, org: str) -> int:
        """VMs awake that nobody ordered; growth stops while there is one."""
        return self._strays.get(org, 0)

    def apply(self, recorded: Recorded) -> None:
        """Usage now includes the event."""
        match recorded.fact:
            case ContractTookEffect(org=org, document=document):
                self.contracts[org] = terms(document)
            case HostRegistered() | HostAdmitted() | HostRemoved() as fact:
                self._dead.apply(fact)
            case HostFenced(host=host) as fact:
                self._dead.apply(fact)
                self._release_all(host)
            case GateDecided(org=org, orders=orders) as decided:
                starts = [order for order in orders if isinstance(order, WakeOrdered | BootOrdered)]
                for order in starts if self._fences.pass_on(recorded, decided) else ():
                    if order.host not in self._dead:
                        holding = Holding(order.pool, order.host, order.size, order.id, proven=False)
                        self._hold(org, order.vm, holding)
            case VmResumed(org=org, vm=vm, reservation=reservation):
                self._prove(org, vm, reservation)
            case VmBooted(org=org, vm=vm, reservation=reservation):
                self._prove(org, vm, reservation)
            case VmWakeFailed(org=org, vm=vm, reservation=reservation):
                self._release(org, vm, reservation)
            case VmQuiesced(org=org, vm=vm, reservation=reservation):
                self._release(org, vm, reservation)
            case VmStopped(org=org, vm=vm, reservation=reservation):
                self._release(org, vm, reservation)
            case VmFoundAwake(org=org, vm=vm, pool=pool, host=host, size=size, reservation=reservation):
                if (org, vm) not in self.holdings and reservation not in self._told:
                    self._hold(org, vm, Holding(pool, host, size, reservation, proven=True, stray=True))
                self._told.add(reservation)
            case _:
                pass

    def _hold(self, org: str, vm: str, holding: Holding) -> None:
        former = self.holdings.get((org, vm))
        if former is not None:
            self._subtract(org, former)
        self.holdings[org, vm] = holding
        self._add(org, holding)

    def _prove(self, org: str, vm: str, reservation: str) -> None:
        holding = self.holdings.get((org, vm))
        if holding is not None and holding.reservation == reservation and not holding.proven:
            self._hold(org, vm, replace(holding, proven=True))

    def _release(self, org: str, vm: str, reservation: str | None) -> None:
        holding = self.holdings.get((org, vm))
        if holding is not None and holding.reservation == reservation:
            del self.holdings[org, vm]
            self._subtract(org, holding)

    def _release_all(self, host: str) -> None:
        """Nothing runs on the host; it happens so seldom that looking through all holdings is cheap enough."""
        for (org, vm), holding in list(self.holdings.items()):
            if holding.host == host:
                self._release(org, vm, holding.reservation)

    def _add(self, org: str, holding: Holding) -> None:
        totals = self._proven if holding.proven else self._reserved
        totals[org] = totals.get(org, NOTHING) + holding.size.compute
        self._strays[org] = self._strays.get(org, 0) + holding.stray

    def _subtract(self, org: str, holding: Holding) -> None:
        totals = self._proven if holding.proven else self._reserved
        totals[org] = totals[org] - holding.size.compute
        self._strays[org] = self._strays[org] - holding.stray
