"""Requests that change what the gate decides by: documents, keys, freezes, hosts. Each is answered by facts, or refused.

Facts stand in one atomic batch with the decision that answers, under the fence of their org, so that no other decision
slips between the old state and the new.
"""

import datetime as dt

from events.contract import ContractAccepted, ContractSubmitted, ContractTookEffect, ContractVoided
from events.freeze import FreezeRequested, ScalingFrozen, ScalingThawed, ThawRequested
from events.gate import Evidence
from events.host import HostAdmitted, HostChangeRequested, HostCordoned, HostFenced, HostRemoved
from events.key import KeyRegistered, KeyRegisterRequested, KeyRevoked, KeyRevokeRequested
from events.permission import PermissionChangeRequested, PermissionGranted, PermissionRevoked
from events.ruling import Ruling
from schemas.capacity import NOTHING
from schemas.codes import Code
from schemas.contract import acceptance, signing
from schemas.contract.document import ContractError, examine
from schemas.contract.terms import Contract, fingerprint
from schemas.names import PLATFORM
from services.gate.draft import Draft, fits
from services.gate.state import Pending


def rule(draft: Draft, pending: Pending, wish: Ruling) -> None:
    """The request is answered in this round."""
    match wish:
        case ContractSubmitted():
            _judge_document(draft, pending, wish)
        case KeyRegisterRequested():
            _register_key(draft, pending, wish)
        case KeyRevokeRequested():
            _revoke_key(draft, pending, wish)
        case FreezeRequested():
            _freeze(draft, pending, wish)
        case ThawRequested():
            _thaw(draft, pending, wish)
        case HostChangeRequested():
            _change_host(draft, pending, wish)
        case PermissionChangeRequested():
            _permit(draft, pending, wish)


def ripen(draft: Draft) -> None:
    """An addendum whose day has come takes effect; those that a revoked key signed never will."""
    org, contracts = draft.org, draft.contracts
    lost = contracts.lost(org)
    if lost:
        draft.facts.extend(
            ContractVoided(
                org=org,
                fingerprint=one.fingerprint,
                contract=one.contract.id,
                version=one.contract.version,
                code="KeyRevoked",
                voided_at=draft.now,
            )
            for one in lost
        )
        return
    due = contracts.due(org, draft.now)
    if due is not None:
        draft.facts.append(
            ContractTookEffect(
                org=org, document=due.signed, fingerprint=due.fingerprint, took_effect_at=draft.now
            )
        )


# ------------------------------------------------------------------------------------------------------- contracts


def _judge_document(draft: Draft, pending: Pending, wish: ContractSubmitted) -> None:
    """A contract takes effect with its acceptance, an addendum on its day; use above its limit stays as it is."""
    try:
        contract = examine(wish.document)
    except ContractError:  # the door refuses such a thing; what stands in the ledger all the same is answered
        draft.decline(pending, "ContractUnreadable", 0)
        return
    objection = acceptance.objection(wish.document, contract, draft.contracts.standing(draft.org), draft.now)
    if objection is not None and objection.code == "AlreadyInForce":
        draft.leave(pending, "AlreadyInForce", 0)
        return
    if objection is not None:
        draft.decline(pending, objection.code, 0)
        return
    at = draft.now if contract.amends is None else contract.amends.effective_from
    name = fingerprint(wish.document.text)
    accepted = ContractAccepted(
        org=draft.org,
        document=wish.document,
        fingerprint=name,
        contract=contract.id,
        version=contract.version,
        accepted_at=draft.now,
        effective_at=at,
    )
    code, evidence = _fit(draft, contract)
    if contract.amends is None:
        effect = ContractTookEffect(
            org=draft.org, document=wish.document, fingerprint=name, took_effect_at=at
        )
        draft.rule(pending, code, (accepted, effect), evidence=evidence)
    else:
        draft.rule(pending, code, (accepted,), evidence=evidence)


def _fit(draft: Draft, contract: Contract) -> tuple[Code, tuple[Evidence, ...]]:
    """Whether what is awake now fits the new limit. Nothing is stopped where it does not; nothing grows either."""
    evidence = draft.evidence(contract, NOTHING)
    return ("ContractAccepted" if fits(evidence) else "AcceptedBelowUse"), evidence


# ------------------------------------------------------------------------------------------------------------ keys


def _register_key(draft: Draft, pending: Pending, wish: KeyRegisterRequested) -> None:
    """The first key needs nobody's word but the operator's; one that replaces another is endorsed by that one."""
    keys = draft.contracts.keys(draft.org)
    if wish.public_key == keys.current:
        draft.leave(pending, "AlreadyDone", 0)
    elif wish.public_key in keys.revoked or wish.public_key in keys.replaced:
        draft.decline(pending, "KeyRevoked" if wish.public_key in keys.revoked else "KeyReplaced", 0)
    elif wish.former != keys.current:
        draft.decline(pending, "KeyNotCurrent", 0)
    elif wish.former is not None and not _endorsed(draft.org, wish, wish.former):
        draft.decline(pending, "SignatureInvalid", 0)
    else:
        fact = KeyRegistered(
            org=draft.org, public_key=wish.public_key, former=wish.former, registered_at=draft.now
        )
        draft.rule(pending, "Done", (fact,))


def _endorsed(org: str, wish: KeyRegisterRequested, former: str) -> bool:
    said = signing.succession(org, former, wish.public_key)
    return wish.endorsement is not None and signing.verifies(former, said, wish.endorsement)


def _revoke_key(draft: Draft, pending: Pending, wish: KeyRevokeRequested) -> None:
    keys = draft.contracts.keys(draft.org)
    if wish.public_key in keys.revoked:
        draft.leave(pending, "AlreadyDone", 0)
    elif wish.public_key != keys.current and wish.public_key not in keys.replaced:
        draft.decline(pending, "KeyUnknown", 0)
    else:
        fact = KeyRevoked(
            org=draft.org,
            public_key=wish.public_key,
            actor=wish.actor,
            reason=wish.reason,
            revoked_at=draft.now,
        )
        draft.rule(pending, "Done", (fact,))


# --------------------------------------------------------------------------------------------------------- freezes


def _freeze(draft: Draft, pending: Pending, wish: FreezeRequested) -> None:
    """A new freeze takes the place of one of the same pool or org, also when it ends sooner."""
    if wish.pool is not None and draft.pool(wish.pool) is None:
        draft.decline(pending, "PoolUnknown", 0)
        return
    fact = ScalingFrozen(
        org=draft.org,
        pool=wish.pool,
        actor=wish.actor,
        reason=wish.reason,
        frozen_at=draft.now,
        until=draft.now + dt.timedelta(seconds=wish.seconds),
    )
    draft.rule(pending, "Done", (fact,))


def _thaw(draft: Draft, pending: Pending, wish: ThawRequested) -> None:
    if draft.state.freezes.of(draft.org, wish.pool, draft.now) is None:
        draft.leave(pending, "NotFrozen", 0)
        return
    fact = ScalingThawed(
        org=draft.org, pool=wish.pool, actor=wish.actor, reason=wish.reason, thawed_at=draft.now
    )
    draft.rule(pending, "Done", (fact,))


# ----------------------------------------------------------------------------------------------------------- hosts


def _change_host(draft: Draft, pending: Pending, wish: HostChangeRequested) -> None:
    """Declaring a host dead releases what its VMs count; forgetting one is only for a host where none is awake.

    Either may be said again of a host that a recovered ledger waits for, since it was said before that.
    """
    host, now = draft.fleet.hosts.get(wish.host), draft.now
    busy = draft.fleet.awake(wish.host) > 0
    adopts = any(order.host == wish.host for order in draft.state.directory.adopting.values())
    # An order can cross the word that its host was removed: what it started there still counts until it is fenced.
    gone = host is None or (
        host.state == "removed" and not (wish.change == "remove" or (wish.change == "fence" and busy))
    )
    if host is None or gone or draft.org != PLATFORM:
        draft.decline(pending, "HostUnknown", 0)
        return
    who = {"org": draft.org, "host": wish.host, "actor": wish.actor, "reason": wish.reason}
    match wish.change, host.state:
        case "fence", _ if busy:
            draft.rule(pending, "Done", (HostFenced(**who, fenced_at=now),))
        case ("fence", "fenced") | ("remove", "removed") if not draft.awaits(host):
            draft.leave(pending, "AlreadyDone", 0)
        case ("drain", "cordoned") | ("admit", "ready"):
            draft.leave(pending, "AlreadyDone", 0)
        case ("drain", "fenced"):
            draft.decline(pending, "HostFenced", 0)
        case "drain", _:
            draft.rule(pending, "Done", (HostCordoned(**who, cordoned_at=now),))
        case "admit", _:
            draft.rule(pending, "Done", (HostAdmitted(**who, admitted_at=now),))
        case "fence", _:
            draft.rule(pending, "Done", (HostFenced(**who, fenced_at=now),))
        case "remove", _ if busy or adopts:
            draft.decline(pending, "HostInUse", 0)
        case "remove", _:
            draft.rule(pending, "Done", (HostRemoved(**who, removed_at=now),))


# ----------------------------------------------------------------------------------------------------- permissions


def _permit(draft: Draft, pending: Pending, wish: PermissionChangeRequested) -> None:
    """The publisher has the permission, or has it no more; what was asked by it before stays as it is."""
    has = draft.state.permissions.has(draft.org, wish.holder, wish.permission)
    if has == (wish.change == "grant"):
        draft.leave(pending, "AlreadyDone", 0)
        return
    org, holder, permission = draft.org, wish.holder, wish.permission
    fact = (
        PermissionGranted(org, holder, permission, wish.actor, wish.reason, draft.now)
        if wish.change == "grant"
        else PermissionRevoked(org, holder, permission, wish.actor, wish.reason, draft.now)
    )
    draft.rule(pending, "Done", (fact,))
