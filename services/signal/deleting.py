"""The door for requests about deletions of kept VMs. The gate judges once more, for only its clock and its order of requests count."""

import datetime as dt

from events.deletion import DeletionCancelRequested, DeletionRequested
from schemas.dated import PolicyError
from schemas.deletion import chosen, earliest, objection
from schemas.intake import Rejection
from schemas.vm_intake import DeleteVm, UndeleteVm
from services.signal.known import Known
from services.signal.living import kept_of, unprintable

Deleting = DeleteVm | UndeleteVm


def judge(
    org: str, publisher: str, request: Deleting, known: Known, received_at: dt.datetime
) -> DeletionRequested | DeletionCancelRequested | Rejection:
    """The event that the request becomes, or why it is refused at the door."""
    if not request.reason.isprintable():
        return unprintable()
    if isinstance(request, UndeleteVm):
        kept = kept_of(org, request.vm, known, departed=True)
        if isinstance(kept, Rejection):
            return kept
        return DeletionCancelRequested(
            org=org,
            vm=kept.name,
            pool=kept.pool,
            publisher=publisher,
            key=request.key,
            actor=request.actor,
            start=request.start,
            reason=request.reason,
            received_at=received_at,
        )
    kept = kept_of(org, request.vm, known)
    if isinstance(kept, Rejection):
        return kept
    where = known.fleet.pools[org, kept.pool].window.zone
    day = request.day or earliest(received_at, where)
    try:
        if request.policy is not None:
            chosen(request.policy)
    except PolicyError as error:
        return Rejection("PolicyUnknown", f"{error} Nothing was stored.")
    wrong = objection(day, received_at, where)
    if wrong is not None:
        return Rejection(wrong.code, f"{wrong.text} Nothing was stored.")
    return DeletionRequested(
        org=org,
        vm=kept.name,
        pool=kept.pool,
        publisher=publisher,
        key=request.key,
        actor=request.actor,
        day=day,
        policy=request.policy,
        reason=request.reason,
        received_at=received_at,
    )
