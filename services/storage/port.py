"""What storage asks of the disks of one host; a directory of qcow2 files answers it, and the simulation does.

A disk is one volume over its template's. It is pinned at most once at a time: what a VM writes after it is pinned goes
elsewhere, so that the pinned state stays readable as it was. Before it is pinned anew the former pin is given up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from schemas.pool import Storage
from schemas.seed import Seed
from services.storage.volumes import Store

Standing = Literal["paused", "running", "off", "missing"]
"""How the domain is whose disk is looked at."""


@dataclass(frozen=True, slots=True)
class Made:
    """A volume that exists."""

    place: str
    size_bytes: int
    fresh: bool = True
    """It was not there before."""


@dataclass(frozen=True, slots=True)
class Sleeper:
    """A VM that sleeps in its host's memory, by its domain's name, and its volume."""

    domain: str
    volume: str


@dataclass(frozen=True, slots=True)
class Look:
    """How a disk is right now."""

    standing: Standing
    layers: int
    """Files above the template's; 0 where the domain does not have the volume."""
    pinned: int | None
    """The sleep whose pin lies on the disk, by the sequence at which it began."""
    joining: bool = False
    """The former pin is being given up, by this life of storage or a former one."""


class Volumes(Protocol):
    """The disks of one host. Calls on one disk take effect in the order they were made.

    Every call but `join` ends in bounded time or raises `StorageError`; then its effect may still land later, but before that
    of any call that is made after it.
    """

    async def make(self, org: str, vm: str, template: str) -> Made:
        """The VM has a volume over its template's; safe to repeat: one that is there stays as it is."""
        ...

    async def lay_seed(self, org: str, vm: str, seed: Seed) -> None:
        """The VM's seed disk tells it this; safe to repeat: one that says so stays, one that says otherwise is made anew."""
        ...

    async def clear(self, org: str, vm: str) -> None:
        """No file of the VM is left among the host's disks, nor in their trash: it was looked.

        Its disk with its layers and snapshots, drafts, its seed disk, and whatever else bears its name. `InUseError` while somebody has
        one of them open for writing: then nothing was removed. Safe to repeat.
        """
        ...

    async def look(self, sleeper: Sleeper) -> Look:
        """How the disk is; nothing that was asked before takes effect after it."""
        ...

    async def join(self, sleeper: Sleeper, asleep: Callable[[], bool]) -> None:
        """The former pin is given up, and the disk is one layer again.

        Asks `asleep` all the while, and raises `WokeError` once it says no: a long join must not go on under a VM that works.
        """
        ...

    async def abandon(self, sleeper: Sleeper) -> None:
        """No join is under way on the disk, and it has its two layers still; safe to repeat."""
        ...

    async def pin(self, sleeper: Sleeper, asleep_since: int) -> str:
        """The disk is pinned under the name of this sleep; the file that nobody writes any more.

        Not safe to repeat blindly: look first. `WokeError` where the domain does not sleep.
        """
        ...


class Hosts(Protocol):
    """Where disks can be."""

    def has_disk(self, template: str) -> bool:
        """Whether VMs of the template have a disk."""
        ...

    def has_seed(self, template: str) -> bool:
        """Whether VMs of the template have a seed disk."""
        ...

    def template_bytes(self, template: str) -> int:
        """What the disk of a VM of the template has where nobody says otherwise."""
        ...

    async def enrol(self, org: str, quota_bytes: int) -> None:
        """The org may have volumes in the cluster, and write so many bytes there. Safe to repeat, also with another number."""
        ...

    def store(self, host: str, storage: Storage) -> Store | None:
        """Where disks of kept VMs are made for a host; None where it has no such storage."""
        ...

    def at(self, host: str) -> Volumes | None:
        """The disks of a host; None where it has no place for any."""
        ...
