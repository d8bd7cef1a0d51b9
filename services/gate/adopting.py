"""What the gate answers to who wants a domain that somebody else made to be a kept VM of ours."""

from events.gate import AdoptOrdered
from events.ids import derive
from events.keep import VmAdoptRequested, VmCreated
from schemas.capacity import Capacity
from schemas.limits import check, profile
from services.gate.draft import Draft
from services.gate.kept import asked, is_taken
from services.gate.state import Pending


def adopt(draft: Draft, pending: Pending, wish: VmAdoptRequested) -> None:
    """The name is the VM's, its disk counts, and it is taken over; it does not start before that is done.

    Where the disk will lie is the pool's to say. Whether the house has a cluster the gate does not know: storage says where there is none.
    """
    pool, host = draft.pool(wish.pool), draft.fleet.hosts.get(wish.host)
    if pool is None or pool.kind != "kept":
        draft.decline(pending, "PoolUnknown" if pool is None else "PoolScales")
        return
    if host is None or host.state not in {"ready", "cordoned"}:
        draft.decline(pending, "HostUnknown" if host is None else "HostFenced")
        return
    if is_taken(draft, wish.vm):
        draft.decline(pending, "NameTaken")
        return
    limits = profile(pool.profile, draft.now)
    objection = check(wish.size, wish.disk_bytes or None, wish.kind, limits, "operator")
    if objection is not None:
        draft.decline(pending, objection.code)
        return
    code, evidence = asked(draft, Capacity(block_bytes=wish.disk_bytes))
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
        seed=None,
        protected=False,
        actor=wish.actor,
        created_at=draft.now,
    )
    order = AdoptOrdered(
        id=derive(pending.id, pending.seq, "adopt.ordered", wish.vm),
        vm=wish.vm,
        pool=wish.pool,
        host=wish.host,
        domain=wish.domain,
        uuid=wish.uuid,
        disk=wish.disk,
        size_bytes=wish.disk_bytes,
        template=wish.image,
        request=pending.id,
    )
    draft.do(pending, "Granted", (made,), [order], evidence=evidence)
