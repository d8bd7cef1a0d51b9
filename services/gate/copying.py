"""What the gate answers about copies of kept VMs' disks: snapshots, backups, and disks that are restored from them.

A snapshot counts as much as its disk, which it comes to need when all of that is written anew; a backup as much as its file, and
until that is known as its disk.
"""

from typing import Final

from events.copy import CopyDropRequested, CopyDue, CopyRequested, RestoreRequested
from events.gate import CopyOrdered, DropOrdered, RestoreOrdered
from events.ids import derive
from events.keep import VmCreated
from projections.copies.fold import Copy
from projections.directory.fold import Kept
from projections.fleet.life import SLEEPING
from projections.volumes.fold import Disk
from schemas.capacity import Capacity
from schemas.codes import Code
from schemas.copy import MOST_COPIES, CopyKind, DropCause, is_of_night
from schemas.limits import check_disk, profile
from schemas.pool import Pool
from schemas.volume import in_cluster
from services.gate.draft import Draft
from services.gate.kept import asked, found, held, is_taken
from services.gate.state import Pending

_MOST_DROPS: Final = 16
"""Copies that one decision drops: where a pool keeps fewer than before, the next copy drops more."""


def copy(draft: Draft, pending: Pending, wish: CopyRequested | CopyDue) -> None:
    """The disk is copied, and copies beyond those that the pool keeps are dropped; or nothing of it."""
    kind: CopyKind = wish.kind if isinstance(wish, CopyRequested) else "backup"
    known, copies = found(draft, wish.vm, wish.pool), draft.state.copies
    if known is None:
        draft.decline(pending, "VmUnknown")
        return
    kept, pool = known
    disk = draft.state.volumes.disks.get((draft.org, wish.vm))
    code = held(draft, kept) or _unfit(draft, kept, pool, kind, disk)
    if isinstance(wish, CopyDue) and copies.get(draft.org, wish.vm, wish.copy) is not None:
        draft.leave(pending, "AlreadyDone")
        return
    if copies.get(draft.org, wish.vm, wish.copy) is not None:
        code = "CopyExists"
    if isinstance(wish, CopyRequested) and is_of_night(wish.copy):
        code = "NameReserved"
    if code is not None or disk is None:
        draft.decline(pending, code or "NoDisk")
        return
    size_bytes = max(disk.size_bytes, draft.usage.disk_bytes(draft.org, wish.vm))
    code, evidence = asked(draft, Capacity(block_bytes=size_bytes))
    if code != "Granted":
        draft.decline(pending, code, evidence=evidence)
        return
    order = CopyOrdered(
        id=derive(pending.id, pending.seq, "copy.ordered", wish.vm),
        vm=wish.vm,
        pool=kept.pool,
        host=disk.host,
        volume=disk.volume,
        copy=wish.copy,
        kind=kind,
        size_bytes=size_bytes,
        request=pending.id,
    )
    drops = [_drop(one, kept.pool, pending, "retention") for one in _beyond(draft, kept, pool, wish)]
    draft.do(pending, "Granted", (), [order, *drops], evidence=evidence)


def drop(draft: Draft, pending: Pending, wish: CopyDropRequested) -> None:
    """The copy is removed."""
    copy = draft.state.copies.get(draft.org, wish.vm, wish.copy)
    if copy is None:
        draft.decline(pending, "CopyUnknown")
    elif copy.state != "made" or _is_read(draft, copy):
        draft.decline(pending, "CopyUnderWay")
    elif (draft.org, wish.vm) in draft.state.directory.departed:
        draft.decline(pending, "BeingDeleted")
    else:
        draft.do(pending, "Granted", (), [_drop(copy, wish.pool, pending, "asked")])


def restore(draft: Draft, pending: Pending, wish: RestoreRequested) -> None:
    """The VM's disk is as its snapshot was, or a new VM has such a disk."""
    directory = draft.state.directory
    source = directory.get(draft.org, wish.vm) or directory.departed.get((draft.org, wish.vm))
    copy, pool = draft.state.copies.get(draft.org, wish.vm, wish.copy), draft.pool(wish.pool)
    if source is None or pool is None or source.pool != wish.pool:
        draft.decline(pending, "VmUnknown")
    elif copy is None:
        draft.decline(pending, "CopyUnknown")
    elif copy.state != "made":
        draft.decline(pending, "CopyUnderWay")
    elif _is_going(draft, copy):
        draft.decline(pending, "BeingDeleted")
    elif wish.into is None:
        _over_itself(draft, pending, source, copy)
    else:
        _into(draft, pending, source, copy, pool, wish.into, wish.actor)


def _over_itself(draft: Draft, pending: Pending, kept: Kept, copy: Copy) -> None:
    key = (draft.org, kept.name)
    vm, disk = draft.fleet.vms.get(key), draft.state.volumes.disks.get(key)
    code: Code | None = held(draft, kept)
    if code is None and copy.kind == "backup":
        code = "BackupNeedsName"
    if code is None and vm is not None and vm.state != "stopped":
        code = "VmSleeps" if vm.state in SLEEPING else "VmRuns"
    if code is None and draft.state.copies.is_busy(*key):
        code = "CopyUnderWay"
    if code is not None or disk is None:
        draft.decline(pending, code or "NoDisk")
        return
    size_bytes = max(disk.size_bytes, copy.disk_bytes, draft.usage.disk_bytes(*key))
    draft.do(pending, "Granted", (), [_restore(kept.name, disk.host, copy, kept, size_bytes, pending)])


def _into(  # noqa: PLR0917 - what a new VM from a copy consists of
    draft: Draft, pending: Pending, source: Kept, copy: Copy, pool: Pool, into: str, actor: str
) -> None:
    if is_taken(draft, into):
        draft.decline(pending, "NameTaken")
        return
    objection = check_disk(copy.disk_bytes, profile(pool.profile, draft.now), "operator")
    if objection is not None:
        draft.decline(pending, objection.code)
        return
    if copy.kind == "snapshot" and draft.state.copies.is_busy(draft.org, source.name):
        draft.decline(pending, "CopyUnderWay")
        return
    host = _home(draft, copy)
    if host is None:
        draft.decline(pending, "HostGone")
        return
    code, evidence = asked(draft, Capacity(block_bytes=copy.disk_bytes))
    if code != "Granted":
        draft.decline(pending, code, evidence=evidence)
        return
    made = VmCreated(
        org=draft.org,
        vm=into,
        pool=source.pool,
        size=source.size,
        image=source.image,
        kind=source.kind,
        readiness=source.readiness,
        disk_bytes=copy.disk_bytes,
        seed=None,  # it is another machine, with a name of its own, and what the former was told may be forgotten
        protected=False,
        actor=actor,
        created_at=draft.now,
    )
    order = _restore(into, host, copy, source, copy.disk_bytes, pending)
    draft.do(pending, "Granted", (made,), [order], evidence=evidence)


def _home(draft: Draft, copy: Copy) -> str | None:
    """Where the new disk lies: where the copy was made; a backup can be read on any host, and so can what is in a cluster."""
    host = draft.fleet.hosts.get(copy.host)
    if host is not None and host.state == "ready":
        return copy.host
    if copy.kind == "snapshot" and not in_cluster(copy.place):
        return None
    return next((name for name, one in draft.fleet.hosts.items() if one.state == "ready"), None)


def _unfit(draft: Draft, kept: Kept, pool: Pool, kind: CopyKind, disk: Disk | None) -> Code | None:
    """Why the VM's disk is not copied."""
    if disk is None:
        return "NoDisk"
    if kind == "snapshot" and pool.snapshots_kept == 0:
        return "CopiesNotKept"
    if draft.state.copies.is_busy(draft.org, kept.name):
        return "CopyUnderWay"
    return "CopiesFull" if len(draft.state.copies.of(draft.org, kept.name)) >= MOST_COPIES else None


def _beyond(draft: Draft, kept: Kept, pool: Pool, wish: CopyRequested | CopyDue) -> list[Copy]:
    """The oldest of the VM's copies, as many as there are too many once there is one more. One on its way out is none any more.

    Snapshots go so whoever asked for them, since they lie on the active storage. Of backups only those of nights do: what somebody
    wanted to have elsewhere stays until somebody wants it gone.
    """
    there = [one for one in draft.state.copies.of(draft.org, kept.name) if one.state != "dropping"]
    if isinstance(wish, CopyDue):
        like, most = [one for one in there if one.night is not None], pool.backups_kept
    elif wish.kind == "snapshot":
        like, most = [one for one in there if one.kind == "snapshot"], pool.snapshots_kept
    else:
        return []
    free = [one for one in like if not _is_read(draft, one)]
    return free[: min(_MOST_DROPS, max(0, len(like) + 1 - most))]


def _is_going(draft: Draft, copy: Copy) -> bool:
    """Whether the copy is being erased with its VM."""
    deletion = draft.state.deletions.of(draft.org, copy.vm)
    return deletion is not None and ("hard" if copy.kind == "snapshot" else "purge") in deletion.begun


def _is_read(draft: Draft, copy: Copy) -> bool:
    """Whether a disk is being restored from the copy."""
    return any(
        key[0] == draft.org and (order.of, order.copy) == (copy.vm, copy.name)
        for key, order in draft.state.copies.restoring.items()
    )


def _drop(copy: Copy, pool: str, pending: Pending, cause: DropCause) -> DropOrdered:
    return DropOrdered(
        id=derive(pending.id, pending.seq, "drop.ordered", copy.vm, copy.name),
        vm=copy.vm,
        pool=pool,
        host=copy.host,
        copy=copy.name,
        kind=copy.kind,
        place=copy.place,
        cause=cause,
        request=pending.id,
    )


def _restore(  # noqa: PLR0917 - what an order to restore consists of
    vm: str, host: str, copy: Copy, source: Kept, size_bytes: int, pending: Pending
) -> RestoreOrdered:
    return RestoreOrdered(
        id=derive(pending.id, pending.seq, "restore.ordered", vm),
        vm=vm,
        pool=source.pool,
        host=host,
        of=copy.vm,
        copy=copy.name,
        kind=copy.kind,
        place=copy.place,
        template=source.image,
        size_bytes=size_bytes,
        request=pending.id,
    )
