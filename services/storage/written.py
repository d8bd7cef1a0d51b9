"""What each VM's disk should be, whatever was found since; and whether a guest ever had it."""

from events.copy import CopyRestored
from events.deletion import VolumeErased
from events.envelope import Recorded
from events.vm import VmBooted, VmFoundAwake, VmResumed
from events.volume import VolumeAdopted, VolumeCreated, VolumeGrowFailed, VolumeGrown
from schemas.volume import in_cluster

Key = tuple[str, str]
"""Org and VM."""


class Written:
    """The sizes of disks as they were made and grown by order, and which of them may hold what a guest wrote.

    A disk that nobody ever wrote can be made anew where it is gone; any other cannot, and a VM that wants it is better refused than
    started with an empty one.
    """

    def __init__(self) -> None:
        self._sizes: dict[Key, int] = {}
        self._made_for: dict[Key, str] = {}
        self._written: set[Key] = set()

    def size_bytes(self, key: Key) -> int | None:
        """What the disk was made or grown to by order; None where there is none."""
        return self._sizes.get(key)

    def is_written(self, key: Key) -> bool:
        """Whether a guest may have written to it, or whoever made the disk that it was adopted or restored from."""
        return key in self._written

    def apply(self, recorded: Recorded) -> None:
        """The disks now include the event."""
        match recorded.fact:
            case VolumeCreated(org=org, vm=vm, order=order, volume=volume, size_bytes=size):
                if self._made_for.get((org, vm)) != order:
                    self._made_for[org, vm] = order
                    self._sizes[org, vm] = size
                    if not in_cluster(
                        volume
                    ):  # one in a cluster is told anew for each host that its VM starts on
                        self._written.discard((org, vm))
            case (
                VolumeGrown(org=org, vm=vm, size_bytes=size)
                | VolumeGrowFailed(org=org, vm=vm, size_bytes=size)
            ):
                self._sizes[org, vm] = size
            case (
                VolumeAdopted(org=org, vm=vm, order=order, size_bytes=size)
                | CopyRestored(org=org, vm=vm, order=order, size_bytes=size)
            ):
                self._made_for[org, vm] = order
                self._sizes[org, vm] = size
                self._written.add((org, vm))
            case VmBooted(org=org, vm=vm) | VmResumed(org=org, vm=vm) | VmFoundAwake(org=org, vm=vm):
                self._written.add((org, vm))
            case VolumeErased(org=org, vm=vm):
                self._sizes.pop((org, vm), None)
                self._written.discard((org, vm))
            case _:
                pass
