"""The door for requests about VMs that are kept for their own sake. What is wrong in itself is refused here and never stored.

The gate asks the limits once more under the org's fence, and whether there is room; here the sentence says number and limit.
"""

import datetime as dt

from events.keep import VmAdoptRequested, VmChangeRequested, VmCreateRequested, VmResizeRequested
from events.maintenance import MaintenanceChangeRequested, MaintenanceRequested
from projections.directory.fold import Kept
from schemas.image import Image, ImageError
from schemas.intake import Rejection
from schemas.limits import Door, check, check_disk, profile
from schemas.names import OPERATOR
from schemas.vm_intake import AdoptVm, AskMaintenance, ChangeMaintenance, ChangeVm, CreateVm, ResizeVm
from services.signal.known import Known

Living = CreateVm | ChangeVm | ResizeVm


def judge(
    org: str, publisher: str, request: Living, known: Known, received_at: dt.datetime
) -> VmCreateRequested | VmChangeRequested | VmResizeRequested | Rejection:
    """The event that the request becomes, or why it is refused at the door."""
    if isinstance(request, CreateVm):
        return _create(org, publisher, request, known, received_at)
    kept = kept_of(org, request.vm, known)
    if isinstance(kept, Rejection):
        return kept
    if isinstance(request, ChangeVm):
        if not request.reason.isprintable():
            return unprintable()
        return VmChangeRequested(
            org=org,
            vm=request.vm,
            pool=kept.pool,
            publisher=publisher,
            key=request.key,
            actor=request.actor,
            change=request.change,
            when=request.when,
            reason=request.reason,
            received_at=received_at,
        )
    return _resize(org, publisher, request, kept, known, received_at)


def judge_maintenance(
    org: str,
    publisher: str,
    request: ChangeMaintenance | AskMaintenance,
    known: Known,
    received_at: dt.datetime,
) -> MaintenanceChangeRequested | MaintenanceRequested | Rejection:
    """The event that the request becomes; whether there is such a maintenance, and where it may go, the steward says."""
    kept = kept_of(org, request.vm, known)
    if isinstance(kept, Rejection):
        return kept
    if not request.reason.isprintable():
        return unprintable()
    if isinstance(request, AskMaintenance):
        return MaintenanceRequested(
            org=org,
            vm=kept.name,
            pool=kept.pool,
            publisher=publisher,
            key=request.key,
            actor=request.actor,
            work=request.work,
            estimate_seconds=request.estimate_seconds,
            reason=request.reason,
            received_at=received_at,
        )
    if request.change == "cancel" and request.until is not None:
        return Rejection(
            "UntilUnused",
            "What is cancelled is not done at any later time: leave the date out. Nothing was stored.",
        )
    return MaintenanceChangeRequested(
        org=org,
        vm=kept.name,
        pool=kept.pool,
        publisher=publisher,
        key=request.key,
        actor=request.actor,
        maintenance=request.maintenance,
        change=request.change,
        until=request.until,
        reason=request.reason,
        received_at=received_at,
    )


def kept_of(org: str, vm: str, known: Known, *, departed: bool = False) -> Kept | Rejection:
    """The VM of this name, also one whose disk is erased where `departed` says so; or that there is none."""
    kept = known.directory.get(org, vm)
    if kept is None and departed:
        kept = known.directory.departed.get((org, vm))
    if kept is None:
        scaled = known.fleet.vms.get((org, vm))
        if scaled is not None:
            return Rejection(
                "PoolScales",
                f"{org}/{vm} belongs to pool {scaled.pool}, whose VMs are alike and come and go with demand: scale the pool, or "
                "change its definition. Nothing was stored.",
            )
        return Rejection(
            "VmUnknown",
            f"The org {org} has no VM {vm} that is kept for its own sake. Nothing was stored.",
        )
    return kept


def unprintable() -> Rejection:
    """A reason is no line."""
    return Rejection(
        "ReasonUnprintable",
        "A reason is one line of letters that can be printed: it is shown on terminals for ever. Nothing was stored.",
    )


def adopt(
    org: str, publisher: str, request: AdoptVm, known: Known, received_at: dt.datetime
) -> VmAdoptRequested | Rejection:
    """The event that an operator's wish to have somebody else's domain becomes."""
    pool = known.fleet.pools.get((org, request.pool))
    if pool is None or pool.kind != "kept":
        return _no_pool_of_kept(org, request.pool, known)
    if request.host not in known.fleet.hosts:
        return Rejection("HostUnknown", f"There is no host {request.host}. Nothing was stored.")
    if not request.reason.isprintable():
        return unprintable()
    name = request.image or pool.template
    image = _image(name, known)
    if isinstance(image, Rejection):
        return image
    limits = profile(pool.profile, received_at)
    objection = check(request.size, request.disk_bytes or None, image.kind, limits, _door(publisher))
    if objection is not None:
        return Rejection(objection.code, f"{objection.text} Nothing was stored.")
    return VmAdoptRequested(
        org=org,
        vm=request.vm,
        pool=request.pool,
        publisher=publisher,
        key=request.key,
        actor=request.actor,
        host=request.host,
        domain=request.domain,
        uuid=request.uuid,
        size=request.size,
        image=name,
        kind=image.kind,
        readiness=image.readiness,
        disk=request.disk,
        disk_bytes=request.disk_bytes,
        reason=request.reason,
        received_at=received_at,
    )


def _no_pool_of_kept(org: str, name: str, known: Known) -> Rejection:
    if (org, name) not in known.fleet.pools:
        return Rejection("PoolUnknown", f"The org {org} has no pool {name}. Nothing was stored.")
    return Rejection(
        "PoolScales",
        f"The VMs of pool {org}/{name} are alike and come and go with demand: make a single VM in a pool that says "
        'kind = "kept". Nothing was stored.',
    )


def _image(name: str, known: Known) -> Image | Rejection:
    try:
        image = known.image_of(name)
    except ImageError as error:
        return Rejection("ImageUnknown", f"{error} Nothing was stored.")
    if image is None:
        return Rejection("ImageUnknown", f"There is no image {name} here. Nothing was stored.")
    return image


def _create(
    org: str, publisher: str, request: CreateVm, known: Known, received_at: dt.datetime
) -> VmCreateRequested | Rejection:
    pool = known.fleet.pools.get((org, request.pool))
    if pool is None or pool.kind != "kept":
        return _no_pool_of_kept(org, request.pool, known)
    name = request.image or pool.template
    image = _image(name, known)
    if isinstance(image, Rejection):
        return image
    size = request.size or pool.size
    disk_bytes = pool.disk_bytes if request.disk_bytes is None else request.disk_bytes
    limits = profile(pool.profile, received_at)
    objection = check(size, disk_bytes or None, image.kind, limits, _door(publisher))
    if objection is not None:
        return Rejection(objection.code, f"{objection.text} Nothing was stored.")
    if request.seed is not None and not image.takes_seed:
        return Rejection(
            "SeedUnused",
            f"Image {name} is of the kind {image.kind}, which reads no user data: only images by cloud-init do. Nothing was stored.",
        )
    return VmCreateRequested(
        org=org,
        vm=request.vm,
        pool=request.pool,
        publisher=publisher,
        key=request.key,
        actor=request.actor,
        size=size,
        image=name,
        kind=image.kind,
        readiness=image.readiness,
        disk_bytes=disk_bytes,
        seed=request.seed,
        start=request.start,
        protected=request.protected,
        received_at=received_at,
    )


def _resize(  # noqa: PLR0917 - what a judgement is made from
    org: str, publisher: str, request: ResizeVm, kept: Kept, known: Known, received_at: dt.datetime
) -> VmResizeRequested | Rejection:
    if request.size is None and request.disk_bytes is None:
        return Rejection(
            "NothingAsked", "A resize says a size, a disk, or both; this says neither. Nothing was stored."
        )
    pool = known.fleet.pools[org, kept.pool]
    limits, door = profile(pool.profile, received_at), _door(publisher)
    objection = None
    if request.disk_bytes is not None:
        objection = check_disk(request.disk_bytes, limits, door, kept.disk_bytes)
    if request.size is not None and request.size != kept.size:
        present = kept.disk_bytes or None
        objection = objection or check(
            request.size, present, kept.kind, limits, door, present_disk_bytes=present
        )
    if objection is not None:
        return Rejection(objection.code, f"{objection.text} Nothing was stored.")
    return VmResizeRequested(
        org=org,
        vm=kept.name,
        pool=kept.pool,
        publisher=publisher,
        key=request.key,
        actor=request.actor,
        size=request.size,
        disk_bytes=request.disk_bytes,
        plug=request.plug,
        when=request.when,
        received_at=received_at,
    )


def _door(publisher: str) -> Door:
    return "operator" if publisher == OPERATOR else "api"
