"""What the waker must know besides the fleet: which of its orders are open, and what was last said of each host."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from events.dead import DeadHosts
from events.envelope import Recorded
from events.fences import Fences
from events.gate import (
    BootOrdered,
    GateDecided,
    Order,
    PlugOrdered,
    RebootOrdered,
    Rise,
    SaveOrdered,
    StopOrdered,
    SuspendOrdered,
    WakeOrdered,
)
from events.host import HostAdmitted, HostFenced, HostRegistered, HostRemoved
from events.pool import PoolDefined
from events.vm import (
    VmBooted,
    VmPlugFailed,
    VmPlugged,
    VmQuiesced,
    VmRebootFailed,
    VmResumed,
    VmSaved,
    VmSaveFailed,
    VmStopped,
    VmWakeFailed,
)
from projections.drift.fold import Drifts
from projections.fleet.fold import Fleet
from projections.fleet.known import FOUND_PAUSED
from projections.volumes.fold import Volumes

Key = tuple[str, str]
"""Org and VM."""

_NONE: Final[dict[Key, None]] = {}


@dataclass(frozen=True, slots=True)
class Known:
    """The folds that tell what is to be done, and what may be."""

    fleet: Fleet
    orders: "Orders"
    volumes: Volumes
    drifts: Drifts


class Orders:
    """Open orders by VM, with an index by host, so that a ring of the bell costs what is open and no more.

    It only says where to look. What is to be done follows from the fleet. Orders on a host that is dead are void, and
    those that were open when it was fenced are so from then on.
    """

    def __init__(self) -> None:
        self.rises: dict[Key, Rise] = {}
        """Wake and boot orders without an outcome; the fleet does not keep their `begin_by`."""
        self.saves: dict[Key, SaveOrdered] = {}
        """Orders to save without an outcome; the fleet does not keep whose sleep they name."""
        self.plugs: dict[Key, PlugOrdered] = {}
        """Orders to plug in vCPU without an outcome."""
        self.from_disk: dict[str, Key] = {}
        """Wake orders without an outcome of VMs that were saved: their hosts must have room for them again."""
        self.registered: dict[str, HostRegistered] = {}
        self.shaken: dict[str, int] = {}
        """Where each host was last fenced or admitted: what runs there may count otherwise since."""
        self.removed: dict[str, int] = {}
        """Where each host was last removed."""
        self._fences = Fences()
        self._dead = DeadHosts()
        self._refreshing: set[Key] = set()
        self._refreshes: dict[Key, str] = {}
        self._falls: dict[Key, str] = {}
        self._saved: dict[Key, None] = {}
        self._hosts: dict[Key, str] = {}
        self._open: dict[str, dict[Key, None]] = {}

    def open(self, host: str) -> Iterable[Key]:
        """VMs of the host with an open order, in the order in which they got it."""
        return self._open.get(host, _NONE).keys()

    def refreshes(self, key: Key, order: str | None) -> bool:
        """Whether the guest is to be refreshed that this order wakes: as its pool wanted when the order was given.

        The prober goes by the same. A pool that is defined anew while its wakes wait changes nothing for those.
        """
        return order is not None and self._refreshes.get(key) == order

    def apply(self, recorded: Recorded) -> None:
        """The orders now include the event."""
        match recorded.fact:
            case HostRegistered(host=host) as registered:
                self._dead.apply(registered)
                self.registered[host] = registered
            case HostFenced(host=host) | HostAdmitted(host=host) as changed:
                self._dead.apply(changed)
                self.shaken[host] = recorded.seq
                if host in self._dead:
                    self._void(host)
            case HostRemoved(host=host) as removed:
                # What was ordered before stays open, as the fleet has it: it counts until somebody proves that it sleeps.
                self._dead.apply(removed)
                self.registered.pop(host, None)
                self.removed[host] = recorded.seq
            case PoolDefined(org=org, pool=pool, definition=definition):
                if definition.refresh == "agent":
                    self._refreshing.add((org, pool))
                else:
                    self._refreshing.discard((org, pool))
            case GateDecided(org=org, orders=orders) as decided if self._fences.pass_on(recorded, decided):
                for order in orders:
                    self._order((org, order.vm), order)
            case VmResumed(org=org, vm=vm, reservation=reservation):
                self._risen((org, vm), reservation)
            case VmBooted(org=org, vm=vm, reservation=reservation):
                self._risen((org, vm), reservation)
            case VmRebootFailed(org=org, vm=vm, reservation=reservation):
                self._risen((org, vm), reservation)
            case VmPlugged(org=org, vm=vm, order=order_id) | VmPlugFailed(org=org, vm=vm, order=order_id):
                self._plugged((org, vm), order_id)
            case VmWakeFailed(org=org, vm=vm, reservation=reservation, found=found):
                if found == "saved" and reservation in self.from_disk:
                    self._saved[org, vm] = None
                self._ended((org, vm), reservation)
            case VmSaved(org=org, vm=vm, order=order_id):
                if self._rested((org, vm), order_id):
                    self._saved[org, vm] = None
            case VmSaveFailed(org=org, vm=vm, order=order_id, code=code):
                if code == FOUND_PAUSED:
                    self._saved.pop((org, vm), None)
                self._rested((org, vm), order_id)
            case VmQuiesced(org=org, vm=vm, reservation=reservation):
                self._saved.pop((org, vm), None)
                self._ended((org, vm), reservation)
            case VmStopped(org=org, vm=vm, reservation=reservation):
                self._ended((org, vm), reservation)
            case _:
                pass

    def _order(self, key: Key, order: Order) -> None:
        match order:
            case WakeOrdered() | BootOrdered() | RebootOrdered() | PlugOrdered() if order.host in self._dead:
                pass  # void: given before its gate had read that the host is dead
            case WakeOrdered() | BootOrdered() | RebootOrdered():
                self._rise(key, order)
                self._list(key, order.host)
            case SuspendOrdered() | StopOrdered():
                self.saves.pop(key, None)  # it runs: somebody woke it before it was saved
                self._falls[key] = order.reservation
                self._list(key, order.host)
            case PlugOrdered():
                self.plugs[key] = order
                self._list(key, order.host)
            case SaveOrdered():
                self.saves[key] = order
                self._list(key, order.host)
            case _:
                pass

    def _void(self, host: str) -> None:
        for key in self._open.pop(host, {}):
            self.rises.pop(key, None)
            self._falls.pop(key, None)
            self.saves.pop(key, None)
            self.plugs.pop(key, None)
            self._refreshes.pop(key, None)
            self._hosts.pop(key, None)
        self.from_disk = {own: key for own, key in self.from_disk.items() if key in self.rises}

    def _rise(self, key: Key, order: Rise) -> None:
        self._falls.pop(key, None)
        self.saves.pop(key, None)
        self.plugs.pop(key, None)
        if key in self._saved and isinstance(order, WakeOrdered):
            self.from_disk[order.id] = key
        self._saved.pop(key, None)
        self._refreshes.pop(key, None)
        if isinstance(order, WakeOrdered) and (key[0], order.pool) in self._refreshing:
            self._refreshes[key] = order.id
        self.rises[key] = order

    def _rested(self, key: Key, order: str) -> bool:
        """Whether an order to save has ended with this."""
        known = self.saves.get(key)
        if known is None or known.id != order:
            return False
        del self.saves[key]
        self._unlist(key)
        return True

    def _risen(self, key: Key, reservation: str) -> None:
        order = self.rises.get(key)
        if order is not None and order.id == reservation:
            del self.rises[key]
            self.from_disk.pop(order.id, None)
            self._refreshes.pop(key, None)
            self._unlist(key)

    def _plugged(self, key: Key, order: str) -> None:
        known = self.plugs.get(key)
        if known is not None and known.id == order:
            del self.plugs[key]
            self._unlist(key)

    def _ended(self, key: Key, reservation: str | None) -> None:
        self.plugs.pop(key, None)
        self._risen(key, reservation or "")
        if self._falls.get(key) == reservation:
            self._falls.pop(key, None)
            self._unlist(key)

    def _list(self, key: Key, host: str) -> None:
        former = self._hosts.get(key)
        if former is not None and former != host:
            self._open[former].pop(key, None)
        self._hosts[key] = host
        self._open.setdefault(host, {})[key] = None

    def _unlist(self, key: Key) -> None:
        if not any(key in orders for orders in (self.rises, self._falls, self.saves, self.plugs)):
            host = self._hosts.pop(key, None)
            if host is not None:
                self._open[host].pop(key, None)
