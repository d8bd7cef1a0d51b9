"""Disks of VMs, and what is pinned of them while they sleep."""

from events.fact import Fact, Moment
from events.place import Place
from schemas.names import Count, Id, Name, Text, Word


class VolumeCreated(Fact, frozen=True):
    """The VM's disk exists on its host, as a thin layer over its template's."""

    vm: Name
    host: Name
    volume: Place
    template: Name
    size_bytes: Count
    order: Id
    """The boot order that needs it."""
    created_at: Moment


class VolumeReleased(Fact, frozen=True):
    """Nobody who died holds the VM's disk in Ceph any more, and its host knows the secret for it: the order's domain may start.

    A QEMU that was killed is believed to live for some 30 s, and holds the disk for so long.
    """

    vm: Name
    host: Name
    volume: Place
    order: Id
    """The boot or reboot that it was released for, and for no later one."""
    released_at: Moment


class VolumeFailed(Fact, frozen=True):
    """The VM's disk could not be made or released for this order; the order cannot be carried out."""

    vm: Name
    host: Name
    order: Id
    code: Word
    text: Text
    observed_at: Moment


class SnapshotTaken(Fact, frozen=True):
    """The sleeping VM's disk is pinned as it fell asleep: what it writes later goes into a layer of its own.

    `layers` counts the files above the template's: never more than two, since the last sleep's is merged first.
    """

    vm: Name
    host: Name
    snapshot: Place
    """The file that no one writes any more."""
    layers: Count
    asleep_since: Count
    """The ledger sequence at which it fell asleep."""
    taken_at: Moment


class SnapshotFailed(Fact, frozen=True):
    """The sleeping VM's disk is not pinned: `woke` when it woke first, or what the hypervisor says."""

    vm: Name
    host: Name
    asleep_since: Count
    code: Word
    text: Text
    observed_at: Moment


class VolumeGrown(Fact, frozen=True):
    """The VM's disk has so many bytes, by this order; a guest that runs sees them."""

    vm: Name
    host: Name
    volume: Place
    order: Id
    size_bytes: Count
    grown_at: Moment


class VolumeGrowFailed(Fact, frozen=True):
    """The VM's disk is as large as it was: the order to make it larger has ended."""

    vm: Name
    host: Name
    volume: Place
    order: Id
    size_bytes: Count
    """What it has."""
    code: Word
    text: Text
    observed_at: Moment


class VolumeAdopted(Fact, frozen=True):
    """A disk that was somebody else's is the VM's, and lies where its disks lie."""

    vm: Name
    host: Name
    order: Id
    former: Place
    volume: Place
    template: Name
    size_bytes: Count
    adopted_at: Moment


class VolumeAdoptFailed(Fact, frozen=True):
    """The disk lies where it lay: the order has ended."""

    vm: Name
    host: Name
    order: Id
    code: Word
    text: Text
    observed_at: Moment
