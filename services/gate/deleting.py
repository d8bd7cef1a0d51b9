"""What the gate answers about deletions: scheduled, begun stage by stage, and taken back while that is possible.

Whoever takes a deletion back and whoever says that its next stage is due meet here, under the org's fence, and one of them is first.
No stage begins before its instant, whatever the clock of the deleter says.
"""

from events.deletion import (
    DeletionBegun,
    DeletionCancelled,
    DeletionCancelRequested,
    DeletionDue,
    DeletionRequested,
    DeletionScheduled,
)
from events.gate import Erased, EraseOrdered, Evidence, Order
from events.ids import derive
from projections.deletions.fold import Deletion
from projections.fleet.life import ASLEEP, UP
from schemas.codes import Code
from schemas.dated import PolicyError
from schemas.deletion import chosen, objection, policy, scheduled
from schemas.volume import in_cluster
from schemas.zones import ZoneError
from services.gate import orders as order
from services.gate.draft import Draft
from services.gate.kept import found
from services.gate.living import rise
from services.gate.state import Pending


def schedule(draft: Draft, pending: Pending, wish: DeletionRequested) -> None:
    """The five instants are fixed; or why there are none."""
    known = found(draft, wish.vm, wish.pool)
    if known is None:
        draft.decline(pending, "VmUnknown")
        return
    kept, pool = known
    vm = draft.fleet.vms.get((draft.org, kept.name))
    if draft.state.deletions.of(draft.org, kept.name) is not None:
        draft.decline(pending, "DeletionStands")
    elif kept.protected:
        draft.decline(pending, "Protected")
    elif kept.awaits is not None or (vm is not None and vm.state not in UP | ASLEEP):
        draft.decline(pending, "VmBusy")
    else:
        try:
            by = policy(draft.now) if wish.policy is None else chosen(wish.policy)
            wrong = objection(wish.day, draft.now, pool.window.zone)
        except (PolicyError, ZoneError) as error:
            draft.decline(pending, "PolicyUnknown" if isinstance(error, PolicyError) else "ZoneUnknown")
            return
        if wrong is not None:
            draft.decline(pending, wrong.code)
            return
        fact = DeletionScheduled(
            org=draft.org,
            vm=kept.name,
            pool=kept.pool,
            deletion=derive(pending.id, pending.seq, "deletion", kept.name),
            schedule=scheduled(wish.day, pool.window.zone, by, draft.now),
            actor=wish.actor,
            reason=wish.reason,
            scheduled_at=draft.now,
        )
        draft.do(pending, "Done", (fact,), ())


def cancel(draft: Draft, pending: Pending, wish: DeletionCancelRequested) -> None:
    """The VM is as it was: one that ran is started, or its deletion stands because the org has no room for it any more."""
    deletion, known = draft.state.deletions.of(draft.org, wish.vm), found(draft, wish.vm, wish.pool)
    if deletion is None:
        draft.decline(pending, "DeletionUnknown")
        return
    if "hard" in deletion.begun or known is None:
        draft.decline(pending, "DeletionFinal")
        return
    kept, pool = known
    vm = draft.fleet.vms.get((draft.org, kept.name))
    orders: list[Order] = []
    evidence: tuple[Evidence, ...] = ()
    if deletion.ran and wish.start and (vm is None or vm.state not in UP):
        if vm is not None and vm.state not in ASLEEP:
            draft.decline(pending, "VmBusy")  # it is being stopped
            return
        start, code, evidence = rise(draft, pending, kept, pool)
        if start is None:
            draft.decline(pending, code, evidence=evidence)
            return
        orders = [start]
    fact = DeletionCancelled(
        org=draft.org,
        vm=kept.name,
        pool=kept.pool,
        deletion=deletion.id,
        actor=wish.actor,
        reason=wish.reason,
        cancelled_at=draft.now,
    )
    draft.do(pending, "Done", (fact,), orders, evidence=evidence)


def begin(draft: Draft, pending: Pending, wish: DeletionDue) -> None:
    """The stage begins, and what belongs to it is ordered; or it does not, since it is too early, too late, or not its turn."""
    deletion = draft.state.deletions.of(draft.org, wish.vm)
    if deletion is None or deletion.id != wish.deletion:
        draft.decline(pending, "DeletionOver")
        return
    if wish.stage in deletion.begun:
        draft.leave(pending, "AlreadyDone")
        return
    early = draft.now < deletion.instant(wish.stage)
    if early or deletion.next != wish.stage or deletion.running is not None:
        draft.decline(pending, "DeletionEarly")
        return
    vm = draft.fleet.vms.get((draft.org, deletion.vm))
    runs = vm is not None and vm.state in {*UP, "booting"}
    orders: list[Order] = []
    code: Code | None = None
    match wish.stage:
        case "soft":
            code = "VmBusy" if vm is not None and not runs and vm.state not in ASLEEP else None
            if vm is not None and runs:
                pool = draft.pool(deletion.pool)
                orders = [order.stop(vm, pool.grace_seconds if pool is not None else 0, pending.id)]
        case "hard":
            code = _unready(draft, deletion)
            orders = [_erase(draft, deletion, "disk", pending)]
        case "purge":
            code = "CopyUnderWay" if draft.state.copies.is_busy(draft.org, deletion.vm) else None
            orders = [_erase(draft, deletion, "backups", pending)]
        case "prepare" | "recycle":
            pass
    if code is not None:
        draft.decline(pending, code)
        return
    fact = DeletionBegun(
        org=draft.org,
        vm=deletion.vm,
        pool=deletion.pool,
        deletion=deletion.id,
        stage=wish.stage,
        ran=runs and wish.stage == "soft",
        begun_at=draft.now,
    )
    draft.do(pending, "Done", (fact,), orders)


def _unready(draft: Draft, deletion: Deletion) -> Code | None:
    """Why the disk cannot be erased now; it is asked again in a while."""
    vm = draft.fleet.vms.get((draft.org, deletion.vm))
    if vm is not None and vm.state not in ASLEEP:
        return "VmBusy"
    return "CopyUnderWay" if draft.state.copies.is_busy(draft.org, deletion.vm) else None


def _erase(draft: Draft, deletion: Deletion, what: Erased, pending: Pending) -> EraseOrdered:
    key = (draft.org, deletion.vm)
    vm, disk = draft.fleet.vms.get(key), draft.state.volumes.disks.get(key)
    # A file stays on its host, wherever its VM was found since; who carries the order out looks there as well.
    known = disk if disk is not None and not in_cluster(disk.volume) else vm or disk
    host = known.host if known is not None else None
    if what == "backups":
        host = deletion.disk.host if deletion.disk is not None else None
    return EraseOrdered(
        id=derive(pending.id, pending.seq, "erase.ordered", deletion.vm, what),
        vm=deletion.vm,
        pool=deletion.pool,
        host=host,
        what=what,
        volume=disk.volume if disk is not None and what == "disk" else None,
        deletion=deletion.id,
        request=pending.id,
    )
