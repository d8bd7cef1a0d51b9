"""The door for requests that change what the gate decides by. What is wrong in itself is refused here and never stored.

The gate judges once more under the org's fence, for only its word counts; what is refused here it would refuse as well.
"""

import datetime as dt

from events.contract import ContractSubmitted
from events.freeze import FreezeRequested, ThawRequested
from events.host import HostChangeRequested
from events.key import KeyRegisterRequested, KeyRevokeRequested
from events.permission import PermissionChangeRequested
from events.ruling import Ruling
from schemas.contract import acceptance
from schemas.contract.document import ContractError, examine
from schemas.contract.terms import fingerprint
from schemas.intake import ChangeHost, Freeze, RegisterKey, Rejection, RevokeKey, Submit, Thaw
from schemas.names import PLATFORM
from schemas.vm_intake import Permit
from services.signal.known import Known


def judge(
    org: str,
    publisher: str,
    request: Submit | RegisterKey | RevokeKey | Freeze | Thaw | ChangeHost | Permit,
    known: Known,
    received_at: dt.datetime,
) -> Ruling | Rejection:
    """The event that an operator's request becomes, or why it is refused at the door."""
    if (
        isinstance(request, RevokeKey | Freeze | Thaw | ChangeHost | Permit)
        and not request.reason.isprintable()
    ):
        return Rejection(
            "ReasonUnprintable",
            "A reason is one line of letters that can be printed: it is shown on terminals for ever. Nothing was stored.",
        )
    match request:
        case Submit():
            return _submit(org, publisher, request, known, received_at)
        case RegisterKey():
            return KeyRegisterRequested(
                org=org,
                publisher=publisher,
                key=request.key,
                public_key=request.public_key,
                former=request.former,
                endorsement=request.endorsement,
                received_at=received_at,
            )
        case RevokeKey():
            return KeyRevokeRequested(
                org=org,
                publisher=publisher,
                key=request.key,
                public_key=request.public_key,
                actor=request.actor,
                reason=request.reason,
                received_at=received_at,
            )
        case Freeze() | Thaw():
            return _freeze_or_thaw(org, publisher, request, known, received_at)
        case ChangeHost():
            return _change_host(org, publisher, request, known, received_at)
        case Permit():
            if not known.has(org):
                return _org_unknown(org)
            return PermissionChangeRequested(
                org=org,
                publisher=publisher,
                key=request.key,
                actor=request.actor,
                holder=request.holder,
                permission=request.permission,
                change=request.change,
                reason=request.reason,
                received_at=received_at,
            )


def _submit(
    org: str, publisher: str, request: Submit, known: Known, received_at: dt.datetime
) -> Ruling | Rejection:
    if org == PLATFORM:
        return Rejection(
            "OrgReserved", f"{PLATFORM} is nobody's org and has no contract. Nothing was stored."
        )
    try:
        contract = examine(request.document)
    except ContractError as error:
        return Rejection(error.code, str(error))
    objection = acceptance.objection(request.document, contract, known.contracts.standing(org), received_at)
    if objection is not None and objection.code != "AlreadyInForce":
        return Rejection(objection.code, f"{objection.text} Nothing was stored.")
    return ContractSubmitted(
        org=org,
        publisher=publisher,
        key=request.key,
        document=request.document,
        fingerprint=fingerprint(request.document.text),
        received_at=received_at,
    )


def _freeze_or_thaw(
    org: str, publisher: str, request: Freeze | Thaw, known: Known, received_at: dt.datetime
) -> Ruling | Rejection:
    if not known.has(org):
        return _org_unknown(org)
    if request.pool is not None and (org, request.pool) not in known.fleet.pools:
        return Rejection("PoolUnknown", f"The org {org} has no pool {request.pool}. Nothing was stored.")
    if isinstance(request, Freeze):
        return FreezeRequested(
            org=org,
            pool=request.pool,
            publisher=publisher,
            key=request.key,
            actor=request.actor,
            reason=request.reason,
            seconds=request.seconds,
            received_at=received_at,
        )
    return ThawRequested(
        org=org,
        pool=request.pool,
        publisher=publisher,
        key=request.key,
        actor=request.actor,
        reason=request.reason,
        received_at=received_at,
    )


def _change_host(
    org: str, publisher: str, request: ChangeHost, known: Known, received_at: dt.datetime
) -> Ruling | Rejection:
    if org != PLATFORM:
        return Rejection(
            "PlatformOnly",
            f"Hosts are the platform's: ask on in.{PLATFORM}.{publisher}.host. Nothing was stored.",
        )
    if request.host not in known.fleet.hosts:
        names = ", ".join(sorted(known.fleet.hosts)) or "none"
        return Rejection(
            "HostUnknown", f"There is no host {request.host}; there are {names}. Nothing was stored."
        )
    return HostChangeRequested(
        org=org,
        host=request.host,
        change=request.change,
        publisher=publisher,
        key=request.key,
        actor=request.actor,
        reason=request.reason,
        received_at=received_at,
    )


def _org_unknown(org: str) -> Rejection:
    return Rejection("OrgUnknown", f"The org {org} has no contract and no pool here. Nothing was stored.")
