"""What the waker asks of a hypervisor; libvirt answers it, and the simulation does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from schemas.capacity import Size
from schemas.names import is_name
from services.waker.build import Build

DomainState = Literal["running", "paused", "saved", "off", "missing"]
"""`saved` is off with an image of its memory on the host's disk: whoever starts it goes on where it slept."""

CALL_SECONDS: Final = 20.0
"""How long an answer is waited for, where nothing else is said; the call may end later."""

REFRESH_SECONDS: Final = 5.0
"""How long a guest's agent has for its clock and its entropy. It takes 40 ms without KVM; on two cores with a load of 27 its
first word took more than a second, and the cold boot that follows a failure 20 (docs/performance.md)."""

SAVE_SECONDS: Final = 240.0
"""How long the writing of a guest's memory may take: 10 GiB at 100 MB/s take 107 s. An order to save is overdue after 300 s."""

ENTROPY_BYTES: Final = 64
"""What a woken guest is given: twice the key of the generator that the kernel seeds with it."""


class HypervisorError(Exception):
    """The hypervisor said no, or did not answer; `lost` when the connection is gone and must be made anew."""

    code = "Hypervisor"

    def __init__(self, text: str, *, lost: bool = False, final: bool = False, silent: bool = False) -> None:
        super().__init__(text)
        self.lost = lost
        self.silent = silent
        """Nothing was said in time: what was asked for may still be under way."""
        self.final = final
        """Trying again cannot help: the template is missing, the definition is not valid."""


class VolumeFailedError(HypervisorError):
    """The disk that the domain needs could not be made; trying again cannot help this order."""

    code = "VolumeFailed"

    def __init__(self, text: str) -> None:
        super().__init__(text, final=True)


class DiskFullError(HypervisorError):
    """The host's disk has no room for a guest's memory; trying again at once cannot help."""

    code = "DiskFull"

    def __init__(self, text: str) -> None:
        super().__init__(text, final=True)


@dataclass(frozen=True, slots=True)
class HostReport:
    """What the host says of itself: libvirt's version number, its CPUs."""

    libvirt_version: int
    vcpu: int


@dataclass(frozen=True, slots=True)
class Domain:
    """One of our domains as the hypervisor lists it; org, pool, VM and size are in its metadata."""

    name: str
    org: str
    pool: str
    vm: str
    size: Size
    state: DomainState
    build: Build | None = None
    """How it is built; None where its hypervisor does not say."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A domain that bears our mark, which nobody can read: it counts nowhere, and only a person can say whose it is."""

    name: str
    state: DomainState


@dataclass(frozen=True, slots=True)
class Definition:
    """A domain that shall exist."""

    org: str
    pool: str
    vm: str
    size: Size
    template: str
    volume: str | None = None
    """The file of its disk, or `pool/image` of one in Ceph, for a template that has one."""
    order: str = ""
    """The order that it is defined for, where whoever sees it run must know whether that was carried out."""
    most_vcpu: int = 1
    """So many may be plugged in while it runs, where that is more than it has; its template has a place for the number."""
    pinned: bool = False
    """Its memory and its vCPU are to be on one NUMA node of the host."""
    ephemeral_bytes: int = 0
    """What its second disk has, which is empty at each boot; 0 for none."""


@dataclass(frozen=True, slots=True)
class Life:
    """What a domain that runs was started as: the order that it was defined for, where that was said, and its size."""

    order: str
    size: Size


@dataclass(frozen=True, slots=True)
class Defined:
    """A domain that exists, and where its guest will answer: `host:port`."""

    name: str
    uuid: str
    address: str


REBOOTED: Final = "rebooted"
"""The word for a guest that started anew by itself, while its domain ran on."""

_PREFIX: Final = "vs-"


def domain_name(org: str, vm: str) -> str:
    """The libvirt name of a VM's domain: `vs-acme.web-1`.

    The dot keeps two orgs apart, since names hold dashes and no dots: with a dash between them, `web-1` of org
    `acme-x` and `x-web-1` of org `acme` would be one domain.
    """
    return f"{_PREFIX}{org}.{vm}"


def owner(name: str) -> tuple[str, str] | None:
    """Org and VM of a domain's name; None when the domain is not one of ours."""
    if not name.startswith(_PREFIX):
        return None
    org, dot, vm = name.removeprefix(_PREFIX).partition(".")
    return (org, vm) if dot and is_name(org) and is_name(vm) else None


class Hypervisor(Protocol):
    """One host. Calls on one domain take effect in the order they were made, as libvirt's job lock does it.

    So a `suspend` that was answered is a barrier: nothing that was asked of the domain before can still land.
    Every call ends in bounded time or raises `HypervisorError`; then its effect may still land later.
    """

    async def connect(self) -> HostReport:
        """There is a connection, old or new; what is watched is watched again."""
        ...

    async def domains(self) -> Sequence[Domain | Unknown]:
        """All domains that carry our metadata, also where it cannot be read."""
        ...

    async def state(self, name: str) -> DomainState:
        """How the domain is right now."""
        ...

    def has_disk(self, template: str) -> bool:
        """Whether VMs of the template have a disk, which must be there before they are defined."""
        ...

    async def define(self, definition: Definition) -> Defined:
        """The domain exists and is off or as it was; safe to repeat: name, uuid and address are the same."""
        ...

    async def nodeless(self, name: str, memory_mib: int) -> str | None:
        """Why the domain, which is pinned, would fit no NUMA node of the host with so much memory; None where it would."""
        ...

    async def start(self, name: str, within_seconds: float = CALL_SECONDS) -> None:
        """The domain that was off runs, one that was saved where it slept; an error on one that runs.

        Waits that long for the answer: the memory of one that was saved has to be read.
        """
        ...

    async def resume(self, name: str) -> None:
        """The paused domain runs; no harm when it runs already."""
        ...

    async def suspend(self, name: str) -> None:
        """The running domain is paused; no harm when it is paused already."""
        ...

    async def save(self, name: str) -> int:
        """The paused domain is saved, and its host has its memory back; the bytes of its image.

        No harm when it is saved already: then all that was asked of it before has taken effect. `DiskFullError` where its
        image has no room: then it is paused as before.
        """
        ...

    async def refresh(self, name: str) -> int:
        """The running guest's clock is its host's, and its kernel has fresh randomness; so many bytes of it.

        Ends within `REFRESH_SECONDS` and one call's time, or raises. Safe to repeat.
        """
        ...

    async def kills(self, name: str) -> int:
        """How many processes the running guest's kernel killed since its boot for want of memory, as its agent says; changes nothing.

        An error where it has no agent, or one that does not answer within a second or two.
        """
        ...

    async def life(self, name: str) -> Life | None:
        """What the domain that runs was started as; None for one that does not run."""
        ...

    async def shutdown(self, name: str) -> None:
        """The guest was asked to shut down, and may do it or not; no harm when it is off already. Safe to repeat."""
        ...

    async def plug(self, name: str, vcpu: int) -> None:
        """The domain that runs has at least so many vCPU. Safe to repeat: what is plugged in stays."""
        ...

    async def stop(self, name: str) -> None:
        """The domain is off at once, as if its power was cut, and so is a saved one; no harm when it is off already."""
        ...

    async def undefine(self, name: str) -> None:
        """The domain is gone, with its memory wherever that is, and its address is free; no harm when it is missing already.

        Its disks stay: they are storage's. Safe to repeat.
        """
        ...

    async def retire(self, domain: str, uuid: str) -> DomainState:
        """A domain of somebody else's is gone where it was off, and its disks stay; how it was found.

        One that is not off is left as it is, and so is one whose name is not `domain` any more, which is an error. Safe to repeat: one
        that is missing is as good.
        """
        ...

    def watch(self, changed: Callable[[str, DomainState, str], None]) -> None:
        """From now on `changed(name, state, detail)` is called in the event loop whenever a domain changes.

        `detail` is libvirt's word for why: `crashed`, `failed`, `shutdown`, `destroyed`, `paused`, ...
        An empty name says that the connection is gone: until `connect`, changes go unseen.
        """
        ...
