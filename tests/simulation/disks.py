"""Disks of one host as they really are: what is asked of them waits for the same locks as what is asked of the domains.

They outlive storage. A disk is a volume with at most one layer above it, and the laws are: nobody lays a second one, no domain
writes into a file that lies under another, and what the ledger calls pinned was pinned in that very sleep.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from schemas.pool import Storage as Kind
from schemas.seed import Seed
from schemas.volume import layer_over
from services.storage.errors import StorageError, WokeError
from services.storage.port import Look, Made, Sleeper, Standing
from services.storage.volumes import Store, Volume
from services.waker.port import DomainState, HypervisorError, domain_name
from tests.simulation.clock import pause
from tests.simulation.shelves import ShelfLink

if TYPE_CHECKING:
    from tests.simulation.hypervisor import Host
    from tests.simulation.machine import Observer
    from tests.simulation.shelf import Shelf

T = TypeVar("T")

SIZE_BYTES: Final = 1 << 26
_STANDINGS: Final[dict[DomainState, Standing]] = {
    "running": "running",
    "paused": "paused",
    "saved": "off",
    "off": "off",
    "missing": "missing",
}


@dataclass(slots=True)
class Disk:
    """One VM's disk."""

    volume: str
    layer: int | None = None
    """The sleep that the layer above the volume has its name from."""
    joining: bool = False
    pinned: dict[int, bool] = field(default_factory=dict[int, bool])
    """By sleep, whether the disk was pinned in it and nowhere else."""

    @property
    def top(self) -> str:
        """The file that may be written to."""
        return self.volume if self.layer is None else layer_over(self.volume, self.layer)


class Disks:
    """The disks of one host."""

    def __init__(self, host: "Host", judge: "Observer") -> None:
        self._host = host
        self._judge = judge
        self.by_domain: dict[str, Disk] = {}
        self.shelf: Shelf | None = None
        """Where the disks of VMs lie that are kept for their own sake."""
        self.guest: Callable[[str, DomainState], None] = lambda *_: None
        """Hears of each domain that is in another state now."""
        self._ran_seq: dict[str, int] = {}
        self._files: dict[str, str] = {}

    def keep_on(self, shelf: "Shelf") -> None:
        """Disks of kept VMs lie on this shelf."""

        def holder(volume: Volume) -> str | None:
            name = domain_name(volume.org, volume.name)
            return name if self.state(name) in {"running", "paused"} else None

        def pinned(volume: Volume) -> bool:
            disk = self.by_domain.get(domain_name(volume.org, volume.name))
            return disk is not None and disk.layer is not None

        def gone(volume: Volume) -> None:
            self.by_domain.pop(domain_name(volume.org, volume.name), None)

        shelf.open_by, shelf.is_pinned, shelf.gone = holder, pinned, gone
        shelf.made = lambda volume: self.make(domain_name(volume.org, volume.name), shelf.place(volume))
        self.shelf = shelf

    def link(self) -> "DiskLink":
        """Storage's access, in one of its lives."""
        return DiskLink(self._host, self)

    def defined(self, name: str) -> None:
        """A domain that is off is described anew: it writes to the newest layer there is."""
        if name in self.by_domain:
            self._files[name] = self.by_domain[name].top

    def changed(self, name: str, state: DomainState, *, by_fault: bool) -> None:
        """The domain is in this state now; one that runs writes to its disk."""
        self.guest(name, state)
        disk = self.by_domain.get(name)
        if disk is None:
            return
        if state in {"off", "missing"}:
            disk.joining = False  # what QEMU was doing ended with it
        if state == "running":
            if not by_fault:
                self._ran_seq[name] = self._judge.stored_last()
            if self._files.get(name) != disk.top:
                self._judge.breaks(
                    f"{name} writes into {self._files.get(name)}, and its disk ends in {disk.top}."
                )

    def joins(self, name: str) -> bool:
        """Whether a former pin is being given up."""
        return name in self.by_domain and self.by_domain[name].joining

    def state(self, name: str) -> DomainState:
        """How the domain is."""
        machine = self._host.machines.get(name)
        return machine.state if machine is not None else "missing"

    def make(self, name: str, volume: str) -> None:
        """The disk is there; one that is there already stays as it is."""
        self.by_domain.setdefault(name, Disk(volume))

    def look(self, name: str) -> Look:
        """How the disk is."""
        disk, state = self.by_domain.get(name), _STANDINGS[self.state(name)]
        if disk is None or name not in self._files or state == "missing":
            return Look(state, 0, None)
        return Look(state, 1 + (disk.layer is not None), disk.layer, disk.joining)

    def begin_join(self, name: str) -> None:
        """What was written above the volume is copied into it from now on."""
        disk = self._asleep(name)
        disk.joining = disk.layer is not None

    def pivot(self, name: str) -> None:
        """The domain writes into the volume again, if it was joined."""
        disk = self.by_domain[name]
        if disk.joining:
            disk.layer, disk.joining = None, False
            self._files[name] = disk.top

    def abandon(self, name: str) -> None:
        """Nothing is joined."""
        self.by_domain[name].joining = False

    def pin(self, name: str, asleep_since: int) -> None:
        """A layer lies above the volume; where its memory is saved, the domain knows the former file by name."""
        disk, state = self.by_domain[name], self.state(name)
        if state == "missing":
            raise HypervisorError(f"There is no domain {name}.")
        if disk.layer == asleep_since:
            raise HypervisorError(f"The file {disk.top} exists already.")
        if disk.layer is not None:
            self._judge.breaks(f"The disk of {name} has three layers: s{disk.layer} and s{asleep_since}.")
        disk.layer = asleep_since
        disk.pinned[asleep_since] = state == "paused" and self._ran_seq.get(name, 0) < asleep_since
        if state != "saved":
            self._files[name] = disk.top

    def told(self, name: str, asleep_since: int, layers: int) -> None:
        """The ledger calls the disk pinned in this sleep."""
        disk = self.by_domain.get(name)
        if disk is None or not disk.pinned.get(asleep_since, False):
            self._judge.breaks(
                f"The ledger has {name} pinned as it fell asleep at #{asleep_since}, and it was not."
            )
        if layers != 2:
            self._judge.breaks(f"The ledger has {layers} layers on the disk of {name}.")

    def asks_to_touch(self, name: str) -> None:
        """Storage finds the domain asleep in memory, and asks; when that takes effect it may be otherwise."""
        self._asleep(name)

    def _asleep(self, name: str) -> Disk:
        if self.state(name) != "paused":
            raise HypervisorError(_WOKE)
        return self.by_domain[name]


_WOKE: Final = "The domain does not sleep in memory any more."


class DiskLink:
    """One life of storage on one host; `services.storage.port.Volumes` says what its methods promise."""

    def __init__(self, host: "Host", disks: Disks) -> None:
        self._host = host
        self._disks = disks

    async def make(self, org: str, vm: str, template: str) -> Made:
        """The volume is there."""
        del template
        name = domain_name(org, vm)
        volume = f"/{self._host.name}/{org}.{vm}.qcow2"
        fresh = name not in self._disks.by_domain
        await self._call(f"volume of {name}", "make", lambda: self._disks.make(name, volume))
        return Made(volume, SIZE_BYTES, fresh)

    async def lay_seed(self, org: str, vm: str, seed: Seed) -> None:
        """No template here has a place for one."""
        raise AssertionError(org, vm, seed)

    async def clear(self, org: str, vm: str) -> None:
        """Nothing of the VM is left."""
        shelf, volume = self._disks.shelf, Volume(org, vm)

        def remove() -> None:
            if shelf is not None:
                shelf.clear(volume)
            self._disks.by_domain.pop(domain_name(org, vm), None)

        await self._way("clear", volume, remove)

    async def look(self, sleeper: Sleeper) -> Look:
        """How the disk is, behind all that was asked before."""
        seen: list[Look] = []
        name = sleeper.domain
        await self._call(name, "look", lambda: seen.append(self._disks.look(name)))
        return seen[0]

    async def join(self, sleeper: Sleeper, asleep: Callable[[], bool]) -> None:
        """The layer is gone, and what was in it is in the volume."""
        name = sleeper.domain
        await self._call(name, "join", lambda: self._disks.begin_join(name))
        for _ in range(3):
            await pause(self._host.seconds())
            if not asleep():
                await self.abandon(sleeper)
                raise WokeError(f"{name} woke.")
        await self._call(name, "pivot", lambda: self._disks.pivot(name))

    async def abandon(self, sleeper: Sleeper) -> None:
        """Nothing is joined."""
        name = sleeper.domain
        await self._call(name, "abandon", lambda: self._disks.abandon(name))

    async def pin(self, sleeper: Sleeper, asleep_since: int) -> str:
        """The volume is pinned."""
        name = sleeper.domain
        try:
            self._disks.asks_to_touch(name)
        except HypervisorError as error:
            raise WokeError(str(error)) from error
        await self._call(name, "pin", lambda: self._disks.pin(name, asleep_since))
        return sleeper.volume

    def store(self) -> Store | None:
        """The volumes of kept VMs."""
        return None if self._disks.shelf is None else ShelfLink(self._disks.shelf, self._way)

    async def _way(self, what: str, volume: Volume | None, effect: Callable[[], T]) -> T:
        """A call on one volume waits for those before it; what it finds wrong is told to who asked."""
        found: list[T] = []
        wrong: list[StorageError] = []

        def do() -> None:
            try:
                found.append(effect())
            except StorageError as error:
                wrong.append(error)

        await self._call(f"volume {volume}", what, do)
        if wrong:
            raise wrong[0]
        return found[0]

    async def _call(self, name: str, kind: str, effect: Callable[[], None]) -> None:
        if not self._host.up:
            raise StorageError("There is no connection to libvirtd.", lost=True)
        try:
            await self._host.call(name, kind, effect)
        except HypervisorError as error:
            if str(error) == _WOKE:
                raise WokeError(_WOKE) from error
            raise StorageError(str(error), lost=error.lost) from error


async def at_once(what: str, call: Callable[[], T]) -> T:
    """The call is made here and now: no thread would know that time leaps."""
    del what
    return call()


class DiskHosts:
    """All hosts, as one life of storage reaches them."""

    def __init__(self, hosts: list["Host"], reach: Callable[[Any], Any]) -> None:
        self._templates = set[str]().union(*(host.disk_templates for host in hosts))
        self._links = {host.name: reach(host.disks.link()) for host in hosts}
        self._stores = {
            host.name: reach(store) for host in hosts if (store := host.disks.link().store()) is not None
        }

    def has_disk(self, template: str) -> bool:
        """Whether VMs of the template have a disk."""
        return template in self._templates

    def has_seed(self, template: str) -> bool:
        """None has."""
        del template
        return False

    def template_bytes(self, template: str) -> int:
        raise AssertionError(template)

    async def enrol(self, org: str, quota_bytes: int) -> None:
        raise AssertionError((org, quota_bytes))

    def store(self, host: str, storage: Kind) -> Store | None:
        """The volumes of kept VMs, where there are any."""
        del storage
        return self._stores.get(host)

    def at(self, host: str) -> DiskLink | None:
        """The disks of a host."""
        return self._links.get(host)
