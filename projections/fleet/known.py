"""One VM and one host as the ledger tells them."""

import datetime as dt
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from events.gate import Purpose, RebootOrdered, Rise, WakeOrdered
from events.host import HostAdmitted, HostCordoned, HostFenced, HostRegistered, HostRemoved
from projections.fleet.life import STAYING, State
from schemas.capacity import Size
from schemas.images import restore_seconds

_MOST_DIGITS: Final = 6


FOUND_PAUSED: Final = "found-paused"
"""Why a VM that was saved sleeps in RAM: its memory was read back by nobody's order, and cannot be saved again. Of this code an
outcome needs no order."""


class Vm(msgspec.Struct, frozen=True):
    """One VM as the ledger tells it. `reservation` is set exactly while it counts as awake."""

    org: str
    name: str
    pool: str
    host: str
    size: Size
    state: State
    reservation: str | None = None
    proven: bool = False
    """Its waker said that it runs under this reservation."""
    request: str | None = None
    """The request that its present life answers."""
    purpose: Purpose = "serve"
    order: str | None = None
    """The latest order that concerns it."""
    due_at: dt.datetime | None = None
    """When the latest order should have had its outcome, by the clock of the gate that gave it."""
    unprobed: bool = False
    """Nobody waits for its guest's answer: it runs as soon as its waker says so."""
    alarmed: bool = False
    """The order is known to be overdue."""
    from_disk: bool = False
    """It was saved when it was last ordered awake, so that its memory had to be read first."""
    address: str | None = None
    domain: str | None = None
    boot_id: str | None = None
    since_seq: int = 0
    asleep_since: int | None = None
    """The sequence at which it fell asleep, kept while it is put to disk; None while it is awake or off."""


HostState = Literal["ready", "cordoned", "fenced", "removed"]
"""Whether VMs may start on a host. On a cordoned one those that are awake go on; on the last two none is."""


class Host(msgspec.Struct, frozen=True):
    """One hypervisor, and the memory in MiB that it lends to guests."""

    name: str
    uri: str
    substrate: str
    memory_mib: int
    state: HostState = "ready"


OfHost = HostRegistered | HostCordoned | HostAdmitted | HostFenced | HostRemoved
"""What becomes of a host."""


def host_after(known: Host | None, fact: OfHost) -> Host | None:
    """The host as it is after the event; None where nobody knows of it yet."""
    match fact:
        case HostRegistered():
            state = "ready" if known is None or known.state == "removed" else known.state
            return Host(fact.host, fact.uri, fact.substrate, fact.memory_mib, state)
        case _ if known is None:
            return None
        case HostCordoned():
            return replace(known, state="cordoned")
        case HostAdmitted():
            return replace(known, state="ready")
        case HostFenced():
            return replace(known, state="fenced")
        case HostRemoved():
            return replace(known, state="removed")


def ordered_up(known: Vm | None, org: str, order: Rise, seq: int) -> Vm:
    """The VM as it begins a new life under the order, whatever it was before.

    The order is overdue when the guest could long serve though it began as late as it might. Its readiness window runs from
    when it is awake: one whose memory is read from disk is so that much later.
    """
    vm = known or Vm(org, order.vm, order.pool, order.host, order.size, "stopped")
    wakes = isinstance(order, WakeOrdered)
    from_disk = wakes and vm.state == "saved"
    takes = order.ready_seconds + (restore_seconds(order.size.memory_mib) if from_disk else 0)
    return replace(
        vm,
        host=order.host,
        size=order.size,
        state="waking" if wakes else "booting",
        reservation=order.id,
        proven=False,
        request=order.request,
        purpose="keep" if isinstance(order, RebootOrdered) else order.purpose,
        order=order.id,
        due_at=order.begin_by + dt.timedelta(seconds=takes),
        alarmed=False,
        from_disk=from_disk,
        unprobed=order.ready_seconds == 0,
        since_seq=seq,
        asleep_since=None,
    )


def number(name: str) -> int:
    """The number behind a VM's pool; 0 where there is none, or one so long that nobody here gave it."""
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() and len(digits) <= _MOST_DIGITS else 0


def place(vm: Vm) -> tuple[object, ...]:
    """What any index or total is computed from."""
    return vm.state, vm.host, vm.purpose, vm.pool, vm.size, hangs(vm), is_imaging(vm)


def is_imaging(vm: Vm) -> bool:
    """Whether its memory is to go to its host's disk or to come back from there, and nobody has said that it has."""
    return vm.state == "saving" or (vm.state == "waking" and vm.from_disk and not vm.proven)


def is_stock(vm: Vm) -> bool:
    """Whether it is being prepared to sleep, and is not there for demand."""
    return vm.purpose == "stock" and vm.state in STAYING


def hangs(vm: Vm) -> bool:
    """Whether it was to start, should have long since, and nobody said that it runs.

    It counts, for unknown counts as awake; it is not waited for. One that runs and does not answer is the prober's to judge.
    """
    return vm.alarmed and not vm.proven and vm.state in {"booting", "waking"}


def awaits_gate(vm: Vm) -> bool:
    """Whether the next step of its life is the gate's to order, unasked."""
    if vm.state == "warm":
        return vm.purpose == "stock"
    if vm.state == "unready":
        return vm.purpose != "keep"  # its owner says what becomes of it
    return vm.state in {"drained", "unannounced", "stray"}
