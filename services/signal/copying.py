"""The door for requests about copies of kept VMs' disks, and about disks that are restored from them."""

import datetime as dt

from events.copy import CopyDropRequested, CopyRequested, RestoreRequested
from events.ids import derive
from schemas.copy import MOST_COPIES
from schemas.intake import Rejection
from schemas.vm_intake import CopyVm, DropCopy, RestoreVm
from services.signal.known import Known
from services.signal.living import kept_of, unprintable

Copying = CopyVm | DropCopy | RestoreVm


def judge(
    org: str, publisher: str, request: Copying, known: Known, received_at: dt.datetime
) -> CopyRequested | CopyDropRequested | RestoreRequested | Rejection:
    """The event that the request becomes, or why it is refused at the door."""
    if not request.reason.isprintable():
        return unprintable()
    kept = kept_of(org, request.vm, known, departed=isinstance(request, RestoreVm))
    if isinstance(kept, Rejection):
        return kept
    match request:
        case CopyVm():
            name = request.copy or f"copy-{derive(org, publisher, request.key)[:8]}"
            objection = _unfit(org, request, name, known)
            if objection is not None:
                return objection
            return CopyRequested(
                org=org,
                vm=kept.name,
                pool=kept.pool,
                publisher=publisher,
                key=request.key,
                actor=request.actor,
                kind=request.kind,
                copy=name,
                reason=request.reason,
                received_at=received_at,
            )
        case DropCopy():
            return CopyDropRequested(
                org=org,
                vm=kept.name,
                pool=kept.pool,
                publisher=publisher,
                key=request.key,
                actor=request.actor,
                copy=request.copy,
                reason=request.reason,
                received_at=received_at,
            )
        case RestoreVm():
            return RestoreRequested(
                org=org,
                vm=kept.name,
                pool=kept.pool,
                publisher=publisher,
                key=request.key,
                actor=request.actor,
                copy=request.copy,
                into=request.into,
                reason=request.reason,
                received_at=received_at,
            )


def _unfit(org: str, request: CopyVm, name: str, known: Known) -> Rejection | None:
    there = known.copies.of(org, request.vm)
    if len(there) >= MOST_COPIES:
        return Rejection(
            "CopiesFull",
            f"VM {org}/{request.vm} has {len(there)} copies, and one may have {MOST_COPIES}: drop some first. Nothing was stored.",
        )
    if known.copies.get(org, request.vm, name) is not None and request.copy is not None:
        return Rejection(
            "CopyExists",
            f"VM {org}/{request.vm} has a copy {name} already: choose another name, or drop that one. Nothing was stored.",
        )
    return None
