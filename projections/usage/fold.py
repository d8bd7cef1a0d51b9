"""Usage is a set: which VM holds which size under which reservation. It is never a counter that drifts.

Only a decision of the gate, or a VM found awake that nobody ordered, adds to it; only proof that a domain does
not run, naming the same reservation, or that its host is dead, takes from it. Everything else folds to nothing, so that duplicates, late
outcomes and outcomes of somebody else's reservation change nothing.
"""

from dataclasses import dataclass, replace
from typing import Final, get_args

from events.contract import ContractTookEffect
from events.dead import DeadHosts
from events.drift import DomainDrifted, DomainSettled
from events.envelope import Recorded
from events.fact import Fact
from events.fences import Fences
from events.gate import (
    BootOrdered,
    GateDecided,
    Order,
    PlugOrdered,
    RebootOrdered,
    WakeOrdered,
)
from events.host import HostAdmitted, HostFenced, HostRegistered, HostRemoved
from events.vm import (
    VmBooted,
    VmFoundAwake,
    VmPlugFailed,
    VmPlugged,
    VmQuiesced,
    VmRebootFailed,
    VmResumed,
    VmStopped,
    VmWakeFailed,
)
from projections.usage.stored import OfDisk, Stored
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
    after: Size | None = None
    """The size that it counts once it runs anew; until then the larger of it and the former."""


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
            VmPlugged,
            VmPlugFailed,
            VmRebootFailed,
            DomainDrifted,
            DomainSettled,
            *get_args(OfDisk),
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
        self._disks = Stored()
        self._plugging: dict[tuple[str, str], tuple[str, Size]] = {}
        """The order to plug in more vCPU, and the size that the VM has until it is carried out."""
        self._drifted: dict[tuple[str, str], tuple[str, Size]] = {}
        """The reservation of a VM that was found larger than it was ordered, and the size that was ordered."""
        self._told: set[str] = set()
        """Reservations of VMs found awake: the same finding told again, however late, counts no second time."""

    def stored(self, org: str) -> int:
        """Bytes of all disks of the org, those of VMs that are off as well; of one that grows the larger size."""
        return self._disks.total.get(org, 0)

    def disk_bytes(self, org: str, vm: str) -> int:
        """What the VM's disk counts; 0 where it has none."""
        return self._disks.of(org, vm)

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
                if self._fences.pass_on(recorded, decided):
                    for order in orders:
                        self._order(org, order)
                        self._disks.order(org, order)
            case DomainDrifted(
                org=org, vm=vm, what="size", reservation=str(reservation), size=Size() as size
            ):
                self._drift(org, vm, reservation, size)
            case DomainSettled(org=org, vm=vm, what="size"):
                self._settle(org, vm)
            case VmRebootFailed(org=org, vm=vm, reservation=reservation, size=size):
                self._prove(org, vm, reservation, size)
            case VmPlugged(size=size) as fact:
                self._plugged(fact, size)
            case VmPlugFailed() as fact:
                self._plugged(fact, None)
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
            case fact if isinstance(fact, OfDisk):
                self._disks.apply(fact)
            case _:
                pass

    def _order(self, org: str, order: Order) -> None:
        """What an order of the gate adds."""
        match order:
            case WakeOrdered() | BootOrdered() | RebootOrdered() if order.host in self._dead:
                pass  # void: given before its gate had read that the host is dead
            case WakeOrdered() | BootOrdered():
                self._hold(org, order.vm, Holding(order.pool, order.host, order.size, order.id, proven=False))
            case RebootOrdered():
                former = self.holdings.get((org, order.vm))
                size = order.size if former is None else order.size.larger(former.size)
                holding = Holding(order.pool, order.host, size, order.id, proven=False, after=order.size)
                self._hold(org, order.vm, holding)
            case PlugOrdered():
                former = self.holdings.get((org, order.vm))
                if former is not None and former.reservation == order.reservation:
                    self._plugging[org, order.vm] = order.id, former.size
                    self._hold(org, order.vm, replace(former, size=order.size.larger(former.size)))
            case _:
                pass

    def _plugged(self, fact: VmPlugged | VmPlugFailed, size: Size | None) -> None:
        """The order has ended, and the VM has that size; without one the size that it had. A life that began since has its own."""
        key = fact.org, fact.vm
        under_way, former = self._plugging.get(key, ("", None))
        holding = self.holdings.get(key)
        if under_way != fact.order or holding is None or former is None:
            return
        del self._plugging[key]
        if holding.reservation == fact.reservation:
            self._hold(*key, replace(holding, size=size or former))

    def _drift(self, org: str, vm: str, reservation: str, size: Size) -> None:
        """It runs with another size than was ordered: the larger counts."""
        holding = self.holdings.get((org, vm))
        if holding is not None and holding.reservation == reservation:
            ordered = self._drifted.get((org, vm), (reservation, holding.size))
            self._drifted[org, vm] = ordered if ordered[0] == reservation else (reservation, holding.size)
            self._hold(org, vm, replace(holding, size=size.larger(self._drifted[org, vm][1])))

    def _settle(self, org: str, vm: str) -> None:
        reservation, size = self._drifted.pop((org, vm), (None, None))
        holding = self.holdings.get((org, vm))
        if holding is not None and size is not None and holding.reservation == reservation:
            self._hold(org, vm, replace(holding, size=size))

    def _hold(self, org: str, vm: str, holding: Holding) -> None:
        former = self.holdings.get((org, vm))
        if former is not None:
            self._subtract(org, former)
        self.holdings[org, vm] = holding
        self._add(org, holding)

    def _prove(self, org: str, vm: str, reservation: str, size: Size | None = None) -> None:
        """It runs; with the size that was ordered, unless another is said."""
        holding = self.holdings.get((org, vm))
        if holding is not None and holding.reservation == reservation and not holding.proven:
            self._hold(org, vm, replace(holding, proven=True, size=size or holding.after or holding.size))

    def _release(self, org: str, vm: str, reservation: str | None) -> None:
        holding = self.holdings.get((org, vm))
        if holding is not None and holding.reservation == reservation:
            del self.holdings[org, vm]
            self._plugging.pop((org, vm), None)
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
