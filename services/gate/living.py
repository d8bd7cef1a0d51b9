"""What the gate answers about VMs that are kept for their own sake: made, started, stopped, rebooted, resized, protected.

Nobody takes the place of such a VM, and nobody chooses another: it is this one, on the host where its disk is. What it counts is
asked of the envelope when it is made (its disk), when it starts, and when it becomes larger; a reboot that was announced is asked
once more when its time has come.
"""

import datetime as dt
from typing import Literal

from msgspec.structs import replace

from events.ahead import is_to_come
from events.fact import Fact
from events.gate import BootOrdered, Evidence, Order, WakeOrdered
from events.keep import (
    VmChangeRequested,
    VmCreated,
    VmCreateRequested,
    VmProtected,
    VmResized,
    VmResizeRequested,
    VmUnprotected,
)
from events.maintenance import MaintenanceBegun
from projections.directory.fold import Kept
from projections.fleet.fold import Vm
from projections.fleet.life import ASLEEP, IN_MEMORY, SLEEPING, UP
from schemas.capacity import NOTHING, Capacity, Size
from schemas.codes import Code
from schemas.limits import check, check_disk, profile
from schemas.pool import Pool
from schemas.volume import in_cluster
from services.gate import orders as order
from services.gate.draft import Draft
from services.gate.kept import asked, found, held, is_taken
from services.gate.state import Pending


def create(draft: Draft, pending: Pending, wish: VmCreateRequested) -> None:
    """The name is the VM's, its disk counts, and where that was asked for it starts; or nothing of it."""
    pool = draft.pool(wish.pool)
    if pool is None or pool.kind != "kept":
        draft.decline(pending, "PoolUnknown" if pool is None else "PoolScales")
        return
    if is_taken(draft, wish.vm):
        draft.decline(pending, "NameTaken")
        return
    objection = check(
        wish.size, wish.disk_bytes or None, wish.kind, profile(pool.profile, draft.now), "operator"
    )
    if objection is not None:
        draft.decline(pending, objection.code)
        return
    compute = wish.size.compute if wish.start else NOTHING
    code, evidence = asked(draft, Capacity(block_bytes=wish.disk_bytes) + compute)
    host = draft.places.room(pool.name).take(pool.placement, wish.size.memory_mib) if wish.start else ""
    if code == "Granted" and host is None:
        code, evidence = "HostsFull", (*evidence, draft.places.host_evidence(wish.size.memory_mib))
    if code != "Granted":
        draft.decline(pending, code, evidence=evidence)
        return
    made = VmCreated(
        org=draft.org,
        vm=wish.vm,
        pool=wish.pool,
        size=wish.size,
        image=wish.image,
        kind=wish.kind,
        readiness=wish.readiness,
        disk_bytes=wish.disk_bytes,
        seed=wish.seed,
        protected=wish.protected,
        actor=wish.actor,
        created_at=draft.now,
    )
    starts = [order.start(wish.vm, host, pool, wish, pending, draft.now)] if host else []
    draft.do(pending, code, (made,), starts, evidence=evidence)


def change(draft: Draft, pending: Pending, wish: VmChangeRequested) -> None:
    """The VM is told to do so, or why it is not."""
    known = found(draft, wish.vm, wish.pool)
    if known is None:
        draft.decline(pending, "VmUnknown")
        return
    kept, pool = known
    if wish.change == "reboot" and wish.when == "now" and not _may_reboot(draft, wish.publisher):
        draft.decline(pending, "SudoSrvMissing")
        return
    code = held(draft, kept)
    if code is not None and wish.change in {"start", "reboot"}:
        draft.decline(pending, code)
        return
    match wish.change:
        case "start":
            _start(draft, pending, kept, pool)
        case "stop":
            _stop(draft, pending, kept, pool)
        case "reboot":
            _reboot(draft, pending, kept, pool, announced=wish.when == "window")
        case "protect" | "unprotect":
            _guard(draft, pending, kept, wish)


def begin(draft: Draft, pending: Pending, wish: MaintenanceBegun) -> None:
    """The VM is rebooted as was announced, with the size that it shall have; or nothing is done to it.

    An entry begins once: of what two stewards say, and of a copy that comes late, only the event that the calendar includes counts.
    """
    planned = draft.state.calendar.get(wish.entry.id)
    if planned is None or planned.seq != pending.seq or planned.entry.stage != "running":
        draft.decline(pending, "MaintenanceOver")
        return
    known = found(draft, wish.vm, wish.pool)
    if known is None:
        draft.decline(pending, "VmUnknown")
        return
    kept, pool = known
    if draft.now > wish.begin_by:
        draft.decline(pending, "MaintenanceLate")
        return
    if is_to_come(wish.entry.slot.start, draft.now):
        draft.decline(pending, "MaintenanceEarly")  # by a steward whose clock is ahead
        return
    if all(step.impact == "none" for step in planned.steps):
        draft.do(pending, "Done", (), ())  # people do it themselves while the VM runs
        return
    _reboot(draft, pending, kept, pool, announced=False, begin_by=wish.begin_by)


def resize(draft: Draft, pending: Pending, wish: VmResizeRequested) -> None:
    """The VM shall be so from its next boot on, which may be now; a disk grows at once, and never shrinks."""
    known = found(draft, wish.vm, wish.pool)
    if known is None:
        draft.decline(pending, "VmUnknown")
        return
    kept, pool = known
    vm = draft.fleet.vms.get((draft.org, kept.name))
    unfit = _unfit(draft, wish, kept, pool, vm)
    if unfit is not None:
        draft.decline(pending, unfit)
        return
    size, runs = wish.size or kept.size, vm if vm is not None and vm.state in UP else None
    way = None if runs is None else _way(wish, runs, size)
    if way == "reboot" and not _may_reboot(draft, wish.publisher):
        draft.decline(pending, "SudoSrvMissing")
        return
    # Of a disk that is to grow already, the larger size counts.
    counted_bytes = draft.usage.disk_bytes(draft.org, kept.name)
    more = Capacity(block_bytes=max(0, (wish.disk_bytes or 0) - counted_bytes))
    if runs is not None and way in {"plug", "reboot"}:
        code, evidence = _larger(draft, pool, runs, size, more)
    else:
        code, evidence = asked(draft, more) if more != NOTHING else ("Granted", ())
    if code != "Granted":
        draft.decline(pending, code, evidence=evidence)
        return
    _carry_out(draft, pending, wish, kept, pool, runs, evidence)


def _unfit(draft: Draft, wish: VmResizeRequested, kept: Kept, pool: Pool, vm: Vm | None) -> Code | None:
    """Why the VM does not become so, whatever room there is."""
    code = held(draft, kept)
    if code is None and wish.disk_bytes is not None and draft.state.copies.is_busy(draft.org, kept.name):
        code = "CopyUnderWay"  # it counts the disk as it was when it was asked for
    if code is not None:
        return code
    limits = profile(pool.profile, draft.now)
    objection = check_disk(wish.disk_bytes, limits, "operator", kept.disk_bytes) if wish.disk_bytes else None
    if objection is None and wish.size is not None and wish.size != kept.size:
        has = kept.disk_bytes or None
        objection = check(wish.size, has, kept.kind, limits, "operator", present_disk_bytes=has)
    if objection is not None:
        return objection.code
    return "VmBusy" if vm is not None and vm.state not in UP | ASLEEP else None


def _carry_out(  # noqa: PLR0917 - what a resize consists of
    draft: Draft,
    pending: Pending,
    wish: VmResizeRequested,
    kept: Kept,
    pool: Pool,
    runs: Vm | None,
    evidence: tuple[Evidence, ...],
) -> None:
    size = wish.size or kept.size
    orders: list[Order] = []
    facts: list[Fact] = []
    code: Code = "Granted"
    if size != kept.size:
        facts.append(
            VmResized(
                org=draft.org, vm=kept.name, pool=kept.pool, size=size, actor=wish.actor, resized_at=draft.now
            )
        )
    if wish.disk_bytes is not None and wish.disk_bytes > kept.disk_bytes:
        disk = draft.state.volumes.disks.get((draft.org, kept.name))
        if disk is None:
            draft.decline(pending, "NoDisk")
            return
        orders.append(order.grow(disk, kept.pool, wish.disk_bytes, pending))
    if runs is None:
        code = "AtNextBoot" if facts else "Granted"
    else:
        match _way(wish, runs, size):
            case "plug":
                orders.append(order.plug(runs, size, pending))
            case "reboot":
                orders.append(order.reboot(runs, kept, size, pool, pending, draft.now))
            case "window":
                code = "Announced"
            case None:
                pass
    if not (facts or orders):
        draft.leave(pending, "AlreadyDone")
        return
    draft.do(pending, code, facts, orders, evidence=evidence)


def _way(wish: VmResizeRequested, runs: Vm, size: Size) -> Literal["plug", "reboot", "window"] | None:
    """How the VM, which runs, comes to that size; None where it has it. What is no more vCPU cannot be plugged in, and is a reboot."""
    if size == runs.size:
        return None
    if wish.plug and size.memory_mib == runs.size.memory_mib and size.vcpu > runs.size.vcpu:
        return "plug"
    return "reboot" if wish.when == "now" else "window"


def _start(draft: Draft, pending: Pending, kept: Kept, pool: Pool) -> None:
    vm = draft.fleet.vms.get((draft.org, kept.name))
    if vm is not None and vm.state not in ASLEEP:
        if vm.state in {*UP, "booting", "waking"}:
            draft.leave(pending, "AlreadyDone")
        else:
            draft.decline(pending, "VmBusy")
        return
    start, code, evidence = rise(draft, pending, kept, pool)
    if start is None:
        draft.decline(pending, code, evidence=evidence)
    else:
        draft.do(pending, code, (), [start], evidence=evidence)


def rise(
    draft: Draft, pending: Pending, kept: Kept, pool: Pool
) -> tuple[BootOrdered | WakeOrdered | None, Code, tuple[Evidence, ...]]:
    """The order that starts the VM, which is off or asleep; or None, and why there is none."""
    vm = draft.fleet.vms.get((draft.org, kept.name))
    sleeper = vm if vm is not None and vm.state in SLEEPING else None
    size = kept.size if sleeper is None else sleeper.size
    code, evidence = asked(draft, size.compute)
    if code != "Granted":
        return None, code, evidence
    host = home(draft, pool, kept, size)
    if host is None or host == "":
        lacking = draft.places.host_evidence(size.memory_mib)
        return None, "HostsFull" if host is None else "HostGone", (*evidence, lacking)
    if sleeper is not None:
        return order.rouse(sleeper, kept, pool, pending, draft.now), code, evidence
    return order.start(kept.name, host, pool, kept, pending, draft.now), code, evidence


def home(draft: Draft, pool: Pool, kept: Kept, size: Size) -> str | None:
    """Where it starts: where its disk is, if that is a host's. None where no host has room, empty where its own is not there.

    A VM that was adopted, or made from a copy, has a disk before it ever ran.
    """
    key, room = (draft.org, kept.name), draft.places.room(pool.name)
    vm, disk = draft.fleet.vms.get(key), draft.state.volumes.disks.get(key)
    off = vm is None or vm.state == "stopped"
    shared = in_cluster(disk.volume) if disk is not None else pool.storage == "ceph"
    if off and (shared or (vm is None and disk is None)):
        return room.take(pool.placement, size.memory_mib)
    where = disk.host if off and disk is not None else vm.host if vm is not None else ""
    host = draft.fleet.hosts.get(where)
    if host is None or host.state != "ready":
        return ""
    if vm is not None and vm.state in IN_MEMORY:
        return where  # it holds its memory there
    return where if room.take_on(where, size.memory_mib) else None


def _stop(draft: Draft, pending: Pending, kept: Kept, pool: Pool) -> None:
    vm = draft.fleet.vms.get((draft.org, kept.name))
    if vm is None or vm.state in ASLEEP:
        draft.leave(pending, "AlreadyDone")
    elif vm.state not in {*UP, "booting"}:
        draft.decline(pending, "VmBusy")
    else:
        draft.do(pending, "Granted", (), [order.stop(vm, pool.grace_seconds, pending.id)])


def _reboot(
    draft: Draft,
    pending: Pending,
    kept: Kept,
    pool: Pool,
    *,
    announced: bool,
    begin_by: dt.datetime | None = None,
) -> None:
    vm = draft.fleet.vms.get((draft.org, kept.name))
    if vm is None or vm.state in ASLEEP:
        draft.decline(pending, "VmOff")
        return
    if announced:
        draft.do(pending, "Announced", (), ())
        return
    if vm.state not in UP:
        draft.decline(pending, "VmBusy")
        return
    code, evidence = _larger(draft, pool, vm, kept.size)
    if code != "Granted":
        draft.decline(pending, code, evidence=evidence)
        return
    reboot = order.reboot(vm, kept, kept.size, pool, pending, draft.now)
    if begin_by is not None:
        reboot = replace(reboot, begin_by=min(reboot.begin_by, begin_by))
    draft.do(pending, "Granted", (), [reboot], evidence=evidence)


def _guard(draft: Draft, pending: Pending, kept: Kept, wish: VmChangeRequested) -> None:
    if wish.change == "protect" and draft.state.deletions.of(draft.org, kept.name) is not None:
        draft.decline(pending, "DeletionStands")
        return
    if kept.protected == (wish.change == "protect"):
        draft.leave(pending, "AlreadyDone")
        return
    who = {"org": draft.org, "vm": kept.name, "pool": kept.pool, "actor": wish.actor, "reason": wish.reason}
    if wish.change == "protect":
        draft.do(pending, "Done", (VmProtected(**who, protected_at=draft.now),), ())
    else:
        draft.do(pending, "Done", (VmUnprotected(**who, unprotected_at=draft.now),), ())


def _may_reboot(draft: Draft, publisher: str) -> bool:
    return draft.state.permissions.has(draft.org, publisher, "sudo-srv")


def _larger(
    draft: Draft, pool: Pool, vm: Vm, size: Size, more: Capacity = NOTHING
) -> tuple[Code, tuple[Evidence, ...]]:
    """Whether the VM, which runs, may have this size where it is, and so much more beside."""
    more += size.larger(vm.size).compute - vm.size.compute
    code, evidence = asked(draft, more) if more != NOTHING else ("Granted", ())
    grows_mib = size.memory_mib - vm.size.memory_mib
    if code == "Granted" and grows_mib > 0 and not draft.places.room(pool.name).take_on(vm.host, grows_mib):
        return "HostsFull", (*evidence, draft.places.host_evidence(grows_mib))
    return code, evidence
