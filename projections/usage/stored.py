"""Bytes of disks, which count while they exist, whether their VM is awake or not; of one that grows the larger size counts."""

from dataclasses import dataclass, field

from events.awaited import Awaited, OfAwaited
from events.copy import CopyRestored
from events.deletion import VolumeErased
from events.drift import VolumeDrifted
from events.fact import Fact
from events.gate import AdoptOrdered, GrowOrdered, Order, RestoreOrdered
from events.keep import VmCreated
from events.once import Once
from events.volume import VolumeAdopted, VolumeCreated, VolumeGrowFailed, VolumeGrown

OfDisk = (
    VmCreated
    | VolumeCreated
    | VolumeGrown
    | VolumeGrowFailed
    | VolumeAdopted
    | VolumeDrifted
    | VolumeErased
    | CopyRestored
    | OfAwaited
)
"""Events after which a disk counts otherwise."""


@dataclass(slots=True)
class Stored:
    """What each VM's disk counts, and all of an org's together."""

    total: dict[str, int] = field(default_factory=dict[str, int])
    disks: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    _open: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    """The order by which a disk comes to have another size, and that has not ended: what is told of a former one says nothing."""
    _erased: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """VMs whose disk is gone: what is told late of it makes none, until there is another VM of that name."""
    _awaited: Awaited = field(default_factory=Awaited)
    _once: Once = field(default_factory=Once)

    def of(self, org: str, vm: str) -> int:
        """What the VM's disk counts; 0 where it has none."""
        return self.disks.get((org, vm), 0)

    def order(self, org: str, order: Order) -> None:
        """What an order of the gate adds."""
        match order:
            case GrowOrdered(vm=vm, size_bytes=size_bytes):
                self._open[org, vm] = order.id
                self._put(org, vm, max(size_bytes, self.of(org, vm)))
            case AdoptOrdered() | RestoreOrdered():
                self._open[org, order.vm] = order.id
                self._awaited.order(org, order)
            case _:
                pass

    def apply(self, fact: Fact) -> None:
        """The disks now include the event."""
        if isinstance(fact, OfAwaited) and self._awaited.ended(fact) == "failed":
            self._put(fact.org, fact.vm, 0)  # it was made for that, and has no disk
            return
        match fact:
            case VmCreated(org=org, vm=vm, disk_bytes=size_bytes):
                self._erased.discard((org, vm))
                self._put(org, vm, size_bytes)
            case VolumeCreated(org=org, vm=vm, size_bytes=size_bytes):
                if (org, vm) not in self._erased:
                    self._put(org, vm, max(size_bytes, self.of(org, vm)))
            case VolumeGrown(org=org, vm=vm, size_bytes=size_bytes, order=order):
                if self._open.get((org, vm)) == order:
                    del self._open[org, vm]
                if (org, vm) in self.disks:  # told late, it says what the disk had before it grew again
                    self._put(org, vm, max(size_bytes, self.of(org, vm)))
            case (
                VolumeGrowFailed(org=org, vm=vm, size_bytes=size_bytes, order=order)
                | VolumeAdopted(org=org, vm=vm, size_bytes=size_bytes, order=order)
                | CopyRestored(org=org, vm=vm, size_bytes=size_bytes, order=order)
            ):
                if self._open.get((org, vm)) == order:
                    del self._open[org, vm]
                    self._put(org, vm, size_bytes)
            case VolumeDrifted(org=org, vm=vm, what="size", size_bytes=int(size_bytes)):
                if (org, vm) not in self._erased:
                    self._put(org, vm, size_bytes)
            case VolumeErased(org=org, vm=vm, order=order) if self._once.first(order):
                self._erased.add((org, vm))
                self._open.pop((org, vm), None)
                self._put(org, vm, 0)
            case _:
                pass

    def _put(self, org: str, vm: str, size_bytes: int) -> None:
        self.total[org] = self.total.get(org, 0) - self.of(org, vm) + size_bytes
        if size_bytes:
            self.disks[org, vm] = size_bytes
        else:
            self.disks.pop((org, vm), None)
