"""The rules of the waker: what a VM's place in the fleet asks of its domain, and what a look at the domain means."""

import datetime as dt
from collections.abc import Container, Sequence
from typing import Final, Literal

from events.gate import BootOrdered, RebootOrdered, Rise, WakeOrdered
from projections.fleet.fold import SAVING, Fleet, Vm
from projections.fleet.life import UP
from projections.volumes.fold import Volumes
from projections.volumes.release import release_by
from schemas.volume import in_cluster
from services.waker.port import Domain, DomainState, HypervisorError, Unknown, VolumeFailedError

Step = Literal["rise", "suspend", "save", "stop", "confirm"]
"""`confirm`: the guest was seen to answer, or not, before the waker could say that its domain runs."""

Finding = Literal["awake", "stray", "asleep", "stopped", "gone", "unsaved"]
"""What the ledger must be told: `awake` proves a reservation, `stray` runs and sleeps in the ledger, `asleep` and
`stopped` end a reservation, `gone` is a sleeper that lost its domain or its RAM. `unsaved` is no news but a repair: it sleeps
in RAM that the ledger has given to others."""

SaveFailureCode = Literal["disk-full", "save-refused", "unpinned"]

PIN_PATIENCE: Final = dt.timedelta(seconds=10)
"""How long an order to save waits for the pin of the VM's disk; a pin takes some ten milliseconds (docs/performance.md)."""

FailureCode = Literal[
    "order-expired", "wake-refused", "template-missing", "domain-lost", "host-full", "volume-failed"
]


def ordered(vm: Vm | None) -> Step | None:
    """The step that the gate's orders ask of the VM's waker now."""
    if vm is None:
        return None
    if vm.reservation is None:
        return "save" if vm.state == "saving" else None
    match vm.state:
        case "suspending":
            return "suspend"
        case "stopping":
            return "stop"
        case "waking" | "booting":
            return None if vm.proven else "rise"
        case _:
            return None if vm.proven else "confirm"


def finding(vm: Vm | None, seen: DomainState) -> Finding | None:
    """What is new about a domain, given what the ledger says of its VM; None when they agree.

    Only for a VM without an ordered step: a domain that is on its way is in neither state for good.
    """
    if vm is None:
        return "stray" if seen == "running" else None
    if vm.reservation is not None:
        match seen:
            case "running":
                return None if vm.proven else "awake"
            case "paused" | "saved":
                return "asleep"
            case "off" | "missing":
                return "stopped"
    match seen:
        case "running":
            return "stray"
        case "paused":
            return "unsaved" if vm.state == "saved" else None
        case "saved":
            return (
                None  # somebody saved a sleeper of RAM: it holds less than it counts, and wakes all the same
            )
        case "off" | "missing":
            return "gone" if vm.state in {"quiesced", "saved"} else None


def is_up(vm: Vm, host: str, reservation: str) -> bool:
    """Whether the VM is awake on this host, in that very life. A domain of its name elsewhere is not the VM, whatever it does."""
    return vm.state in UP and (vm.host, vm.reservation) == (host, reservation)


def reconciled(fleet: Fleet, host: str, listed: Sequence[Domain | Unknown]) -> bool:
    """Whether nothing runs on the host that the ledger does not count there, and nothing is left to tell it.

    What has an ordered step counts whatever its domain does. A domain that runs here and is another host's in the ledger
    counts nowhere, and only a person can say what it is: with it the host is not reconciled. So it is with one that runs and
    bears a mark that nobody can read.
    """
    if any(isinstance(domain, Unknown) and domain.state == "running" for domain in listed):
        return False
    seen: dict[tuple[str, str], DomainState] = {
        (domain.org, domain.vm): domain.state for domain in listed if isinstance(domain, Domain)
    }
    here = {key for key, vm in fleet.vms.items() if vm.host == host}
    for key in here | seen.keys():
        vm = fleet.vms.get(key)
        state: DomainState = seen.get(key, "missing")
        if vm is not None and vm.host != host:
            if state == "running":
                return False
        elif ordered(vm) is None and finding(vm, state) is not None:
            return False
    return True


def too_late(begin_by: dt.datetime, now: dt.datetime) -> bool:
    """Whether a wake may no longer begin; the gate counted on it until then."""
    return now > begin_by


REBOOT_ATTEMPTS: Final = 3
"""A VM that was stopped to be rebooted is started so often at least, however late it is: it must not stay off for our being slow."""


def is_kept(order: Rise) -> bool:
    """Whether the order is about a VM that is kept for its own sake: its domain is as the order says, each time anew."""
    return isinstance(order, RebootOrdered) or order.purpose == "keep"


def is_late(order: Rise, attempts: int, now: dt.datetime) -> bool:
    """Whether a start may no longer begin. Once a VM was stopped to be rebooted it is tried all the same."""
    if isinstance(order, RebootOrdered) and attempts < REBOOT_ATTEMPTS:
        return False
    return too_late(order.begin_by, now)


def awaits_disk(volumes: Volumes, vm: Vm, order: Rise | None, now: dt.datetime) -> bool:
    """Whether a boot from a template with a disk must wait until its disk is made and freed; not when it failed or is too late."""
    if not isinstance(order, BootOrdered) or too_late(order.begin_by, now):
        return False
    if diskless(volumes, vm, order, now) is not None:
        return False
    return (vm.org, vm.name) not in volumes.disks or is_held(volumes, vm, order)


def is_held(volumes: Volumes, vm: Vm, order: Rise) -> bool:
    """Whether the VM's disk is in Ceph, and nobody has said yet that it is free for this order.

    A QEMU that was killed holds it for some 30 s, and a domain that is started meanwhile cannot write. Who is woken has it open.
    """
    key = vm.org, vm.name
    disk = volumes.disks.get(key)
    starts = isinstance(order, BootOrdered | RebootOrdered)
    return starts and disk is not None and in_cluster(disk.volume) and volumes.released.get(key) != order.id


def awaits_release(volumes: Volumes, vm: Vm, order: RebootOrdered, now: dt.datetime) -> bool:
    """Whether a VM that was stopped to be rebooted must wait for its disk; not when it was said that it is not to be had."""
    return is_held(volumes, vm, order) and diskless(volumes, vm, order, now) is None


def diskless(volumes: Volumes, vm: Vm, order: Rise, now: dt.datetime) -> str | None:
    """Why there is no disk for this start; None where none is missing, or nobody has said so yet."""
    failed = volumes.failed.get((vm.org, vm.name))
    if failed is not None and failed.order == order.id:
        return failed.text
    if isinstance(order, RebootOrdered) and is_held(volumes, vm, order) and now > release_by(order):
        return f"Storage did not say by {release_by(order):%H:%M:%S} UTC that nobody holds the disk of {vm.org}/{vm.name} any more."
    return None


def lacking_mib(fleet: Fleet, vm: Vm, from_disk: Container[str]) -> int:
    """How much memory the VM's host lacks for its boot, or for its wake from disk; 0 where there is room.

    The gates of two orgs do not know of each other: each may have given the same memory away. What stands first in the
    ledger has it. So boots, and wakes from disk (`from_disk` has their reservations), of which nobody has said yet that they
    run are gone through in the order of their orders: each that fits into what the others hold and what those before it took
    has its memory, and each that does not is passed over. It does not matter when a waker asks: who was passed over takes
    nothing from those behind it.
    """
    host = fleet.hosts.get(vm.host)
    if host is None or fleet.free_mib(vm.host) >= 0:
        return 0
    coming = [
        one
        for one in fleet.vms.values()
        if one.host == vm.host
        and not one.proven
        and (one.state == "booting" or (one.state == "waking" and (one.reservation or "") in from_disk))
    ]
    free_mib = fleet.free_mib(vm.host) + sum(one.size.memory_mib for one in coming)
    for one in sorted(coming, key=lambda one: (one.since_seq, one.org, one.name)):
        if one.size.memory_mib <= free_mib:
            free_mib -= one.size.memory_mib
        elif (one.org, one.name) == (vm.org, vm.name):
            return one.size.memory_mib - free_mib
    return 0


def failure(
    order: Rise, error: HypervisorError | None, found: DomainState, *, full: bool = False
) -> FailureCode:
    """Why a wake failed, as the ledger names it; without an error nothing was tried."""
    if full:
        return "host-full"
    if isinstance(error, VolumeFailedError):
        return "volume-failed"
    if error is None:
        return "order-expired"
    if error.code == "TemplateMissing":
        return "template-missing"
    return "domain-lost" if isinstance(order, WakeOrdered) and found == "missing" else "wake-refused"


def unpinned(volumes: Volumes, vm: Vm) -> bool:
    """Whether storage may still be about to pin the disk of this sleep.

    What is saved remembers the files of its disk by name. A pin that landed after it would have the VM wake into the file
    that is pinned, so nobody is saved before storage has said how it went.
    """
    disk = volumes.disks.get((vm.org, vm.name))
    if disk is None or in_cluster(disk.volume):
        return False
    return vm.asleep_since is not None and disk.settled < vm.asleep_since


def awaits_pin(volumes: Volumes, vm: Vm, now: dt.datetime) -> bool:
    """Whether an order to save still waits for storage; a VM that is being saved cannot be woken, so it does not for long."""
    return unpinned(volumes, vm) and vm.due_at is not None and now < vm.due_at - SAVING + PIN_PATIENCE


def save_failure(error: HypervisorError) -> SaveFailureCode:
    """Why a sleeper is not on disk, as the ledger names it."""
    return "disk-full" if error.code == "DiskFull" else "save-refused"


def stop_cause(detail: str) -> Literal["crashed", "shut-down", "found"]:
    """Why a domain stopped by itself, from the hypervisor's word for it."""
    match detail:
        case "crashed" | "failed":
            return "crashed"
        case "shutdown":
            return "shut-down"
        case _:
            return "found"
