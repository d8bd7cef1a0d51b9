"""Disks and their pins, folded from the ledger."""

import datetime as dt
from typing import Final

import msgspec
from msgspec.structs import replace

from events.copy import CopyRestored
from events.deletion import VolumeErased
from events.drift import VolumeDrifted
from events.envelope import Recorded
from events.fact import Fact
from events.once import Once
from events.volume import (
    SnapshotFailed,
    SnapshotTaken,
    VolumeAdopted,
    VolumeAdoptFailed,
    VolumeCreated,
    VolumeFailed,
    VolumeGrowFailed,
    VolumeGrown,
    VolumeReleased,
)


class Disk(msgspec.Struct, frozen=True):
    """One VM's disk: a volume over its template's, and where it is pinned, one layer above it."""

    org: str
    vm: str
    host: str
    volume: str
    template: str
    size_bytes: int
    order: str
    """The boot order for which it was made."""
    created_at: dt.datetime
    layers: int | None = 1
    """Files above the template's; None from a sleep on in which it was not pinned, until the next in which it is: an attempt may
    have ended midway, and its event says in words alone how far it came."""
    snapshot: str | None = None
    """The file that is pinned, as the VM's disk was when it fell asleep at `pinned_since`."""
    pinned_since: int | None = None
    taken_at: dt.datetime | None = None
    settled: int = 0
    """The latest sleep, by the sequence at which it began, of which was said whether its disk is pinned."""
    trouble: str | None = None
    """Why the disk of the latest sleep is not pinned; None where it is."""


class Volumes:
    """The disk of every VM that has one, and the latest order whose disk could not be made."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {
            VolumeCreated,
            VolumeFailed,
            VolumeGrown,
            VolumeGrowFailed,
            VolumeDrifted,
            VolumeAdopted,
            VolumeAdoptFailed,
            VolumeErased,
            CopyRestored,
            VolumeReleased,
            SnapshotTaken,
            SnapshotFailed,
        }
    )

    def __init__(self) -> None:
        self.disks: dict[tuple[str, str], Disk] = {}
        self.failed: dict[tuple[str, str], VolumeFailed] = {}
        self._erased: dict[tuple[str, str], dt.datetime] = {}
        """When a disk was erased: what is told late of one from before makes none."""
        self._once = Once()
        self.released: dict[tuple[str, str], str] = {}
        """The latest order for which the VM's disk in Ceph was freed from whoever held it before."""

    def apply(self, recorded: Recorded) -> None:
        """The disks now include the event; a second telling of one changes nothing."""
        match recorded.fact:
            case VolumeCreated(org=org, vm=vm) as made:
                known = self.disks.get((org, vm))
                # One that is made again for a later boot was gone: its layers and its pin went with it.
                if known is None or (known.order != made.order and known.created_at < made.created_at):
                    self._put(_new(made))
                self.failed.pop((org, vm), None)
            case VolumeFailed(org=org, vm=vm) as failed:
                self.failed[org, vm] = failed
            case (
                VolumeGrown(org=org, vm=vm, size_bytes=size_bytes)
                | VolumeGrowFailed(org=org, vm=vm, size_bytes=size_bytes)
            ):
                known = self.disks.get((org, vm))
                if known is not None:  # told late, it says what the disk had before it grew again
                    larger = max(known.size_bytes, size_bytes)
                    self.disks[org, vm] = replace(known, size_bytes=larger)
            case VolumeDrifted(org=org, vm=vm, what="size", size_bytes=int(size_bytes)):
                known = self.disks.get((org, vm))
                if known is not None:
                    self.disks[org, vm] = replace(known, size_bytes=size_bytes)
            case VolumeAdopted() as adopted:
                self._put(_given(adopted, adopted.adopted_at))
            case CopyRestored() as restored:
                self._put(_given(restored, restored.restored_at))
            case VolumeAdoptFailed(org=org, vm=vm, order=order):
                known = self.disks.get((org, vm))
                if known is not None and known.order == order:  # it was taken, and given back
                    del self.disks[org, vm]
            case VolumeErased(org=org, vm=vm, order=order, erased_at=at) if self._once.first(order):
                if self.disks.pop((org, vm), None) is not None:
                    self._erased[org, vm] = at
                self.failed.pop((org, vm), None)
                self.released.pop((org, vm), None)
            case VolumeReleased(org=org, vm=vm, order=order):
                self.released[org, vm] = order
            case SnapshotTaken() as taken:
                self._pinned(taken)
            case SnapshotFailed() as failed:
                self._unpinned(failed)
            case _:
                pass

    def _put(self, disk: Disk) -> None:
        key = (disk.org, disk.vm)
        erased_at, known = self._erased.get(key), self.disks.get(key)
        if known is not None and known.order == disk.order:
            return  # told once more, and it may have grown since
        if erased_at is None or disk.created_at > erased_at:
            self.disks[key] = disk
            self._erased.pop(key, None)

    def _pinned(self, taken: SnapshotTaken) -> None:
        disk = self.disks.get((taken.org, taken.vm))
        if disk is None or taken.asleep_since <= disk.settled:
            return
        self.disks[taken.org, taken.vm] = replace(
            disk,
            layers=taken.layers,
            snapshot=taken.snapshot,
            pinned_since=taken.asleep_since,
            taken_at=taken.taken_at,
            settled=taken.asleep_since,
            trouble=None,
        )

    def _unpinned(self, failed: SnapshotFailed) -> None:
        disk = self.disks.get((failed.org, failed.vm))
        if disk is None or failed.asleep_since < disk.settled:
            return
        self.disks[failed.org, failed.vm] = replace(
            disk,
            layers=None,
            snapshot=None,
            pinned_since=None,
            taken_at=None,
            settled=failed.asleep_since,
            trouble=failed.code,
        )


def _new(made: VolumeCreated) -> Disk:
    return Disk(
        org=made.org,
        vm=made.vm,
        host=made.host,
        volume=made.volume,
        template=made.template,
        size_bytes=made.size_bytes,
        order=made.order,
        created_at=made.created_at,
    )


def _given(fact: VolumeAdopted | CopyRestored, at: dt.datetime) -> Disk:
    """A disk that no boot made: nothing of what lay there before is pinned any more."""
    return Disk(
        org=fact.org,
        vm=fact.vm,
        host=fact.host,
        volume=fact.volume,
        template=fact.template,
        size_bytes=fact.size_bytes,
        order=fact.order,
        created_at=at,
    )
