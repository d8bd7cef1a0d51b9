"""What storage must know besides fleet and volumes: where to look for what is owed."""

from events.copy import CopyRestored
from events.envelope import Recorded
from events.fences import Fences
from events.gate import BootOrdered, GateDecided, GrowOrdered, Rise
from events.vm import VmBooted, VmQuiesced, VmStopped, VmWakeFailed
from events.volume import (
    SnapshotFailed,
    SnapshotTaken,
    VolumeAdopted,
    VolumeCreated,
    VolumeFailed,
    VolumeGrowFailed,
    VolumeGrown,
)

Key = tuple[str, str]
"""Org and VM."""


class Owed:
    """Boot orders that may want a disk, and VMs with a disk that may sleep unpinned; so a ring costs what is open.

    It only says where to look. What is owed follows from the fleet and the volumes.
    """

    def __init__(self) -> None:
        self.boots: dict[Key, BootOrdered] = {}
        self.sleepers: dict[Key, int] = {}
        """By the sequence that told of their sleep."""
        self.grows: dict[Key, GrowOrdered] = {}
        """Orders to make a disk larger that nobody has said the end of."""
        self._disks: set[Key] = set()
        self._fences = Fences()

    def apply(self, recorded: Recorded) -> None:
        """What is owed now includes the event."""
        match recorded.fact:
            case GateDecided(org=org, orders=orders) as decided:
                if self._fences.pass_on(recorded, decided):
                    for order in orders:
                        if isinstance(order, Rise):
                            self.sleepers.pop((org, order.vm), None)
                            self.boots.pop((org, order.vm), None)
                        if isinstance(order, BootOrdered):
                            self.boots[org, order.vm] = order
                        if isinstance(order, GrowOrdered):
                            self.grows[org, order.vm] = order
            case VolumeCreated(org=org, vm=vm):
                self._disks.add((org, vm))
                self.boots.pop((org, vm), None)
            case VolumeAdopted(org=org, vm=vm) | CopyRestored(org=org, vm=vm):
                self._disks.add((org, vm))  # it sleeps like one that was made for a boot
            case VolumeGrown(org=org, vm=vm, order=order) | VolumeGrowFailed(org=org, vm=vm, order=order):
                growing = self.grows.get((org, vm))
                if growing is not None and growing.id == order:
                    del self.grows[org, vm]
            case VolumeFailed(org=org, vm=vm, order=order):
                self._ended((org, vm), order)
            case VmBooted(org=org, vm=vm, reservation=reservation):
                self._ended((org, vm), reservation)
            case VmQuiesced(org=org, vm=vm, reservation=reservation):
                self._ended((org, vm), reservation)
                self._sleeps((org, vm), recorded.seq)
            case VmWakeFailed(org=org, vm=vm, reservation=reservation):
                self._ended((org, vm), reservation)
                self._sleeps((org, vm), recorded.seq)
            case VmStopped(org=org, vm=vm, reservation=reservation):
                self._ended((org, vm), reservation)
            case (
                SnapshotTaken(org=org, vm=vm, asleep_since=asleep_since)
                | SnapshotFailed(org=org, vm=vm, asleep_since=asleep_since)
            ):
                # A late telling of an earlier sleep leaves the present one where it is.
                if self.sleepers.get((org, vm), asleep_since + 1) <= asleep_since:
                    del self.sleepers[org, vm]
            case _:
                pass

    def _sleeps(self, key: Key, seq: int) -> None:
        if key in self._disks:
            self.sleepers[key] = seq

    def _ended(self, key: Key, order: str | None) -> None:
        known = self.boots.get(key)
        if known is not None and known.id == order:
            del self.boots[key]
