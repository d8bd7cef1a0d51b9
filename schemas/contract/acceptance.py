"""When a document becomes the authority over an org's capacity, and when it does not: the rules, in their order.

Pure: the door of the intake asks them, so that nothing wrong is stored, and the gate asks them again under the org's
fence, because only its word counts. Each no has a code and one sentence with its numbers.
"""

import datetime as dt
from dataclasses import dataclass, field
from typing import Final

from schemas.codes import Code
from schemas.contract.document import ROLES, PublicKey, Role, Signature, Signed
from schemas.contract.signing import genuine
from schemas.contract.terms import NOTICE, Contract, canonical, fingerprint

CLOCKS_APART: Final = dt.timedelta(minutes=5)
"""How far the clocks of those who sign may be ahead of ours."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one side, as the ledger tells them: one current, some replaced, some revoked."""

    current: PublicKey | None = None
    replaced: frozenset[PublicKey] = frozenset()
    revoked: frozenset[PublicKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Accepted:
    """A document that the gate accepted, with the instant at which it takes effect or took effect."""

    signed: Signed
    contract: Contract
    fingerprint: str
    effective_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """What a document of an org is judged by: both sides' keys, and the newest document accepted so far."""

    name: str
    provider: Keys = field(default_factory=Keys)
    org: Keys = field(default_factory=Keys)
    newest: Accepted | None = None
    ids: frozenset[str] = frozenset()
    """Ids of all contracts that both sides ever signed here: one that has ended never comes back."""

    def of(self, role: Role) -> Keys:
        """The keys of one side."""
        return self.provider if role == "provider" else self.org


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a document is not accepted: a stable code, and a sentence."""

    code: Code
    text: str


def objection(signed: Signed, contract: Contract, standing: Standing, now: dt.datetime) -> Objection | None:
    """The first reason why the document may not take effect; None when it may."""
    return (
        _of_another(contract, standing.name)
        or unsigned(signed, contract)
        or _untrusted(signed, contract, standing, now)
        or (_unfit_contract(contract, standing, now) if contract.amends is None else None)
        or (_unfit_addendum(contract, standing.newest, now) if contract.amends is not None else None)
    )


def unsigned(signed: Signed, contract: Contract) -> Objection | None:
    """Whether a signature is missing, or is not of this text, this side and this instant."""
    here = f"Contract {contract.id} version {contract.version}"
    present = {signature.role for signature in signed.signatures}
    missing = [role for role in ROLES if role not in present]
    if missing:
        return Objection(
            "ContractUnsigned",
            f"{here} lacks the signature of the {' and of the '.join(missing)}: both sides sign before it is submitted.",
        )
    for signature in signed.signatures:
        if not genuine(signed, signature):
            return Objection(
                "SignatureInvalid",
                f"The {signature.role}'s signature of {here} does not fit: the document was altered after it was signed, or "
                f"another key than {signature.key[:16]}… signed it. Have it signed anew.",
            )
    provider, org = signed.signatures
    if provider.key == org.key:
        return Objection(
            "SignatureInvalid",
            f"One key, {org.key[:16]}…, signed {here} for both sides: each side has its own.",
        )
    return None


def _of_another(contract: Contract, org: str) -> Objection | None:
    if contract.org == org:
        return None
    return Objection(
        "ContractOfAnother",
        f"Contract {contract.id} version {contract.version} is of {contract.org} and was handed in for {org}.",
    )


def void(signed: Signed, standing: Standing) -> Signature | None:
    """The signature by a key that was revoked since; an accepted addendum with one does not take effect."""
    return next(
        (one for one in signed.signatures if one.key in standing.of(one.role).revoked),
        None,
    )


def _untrusted(signed: Signed, contract: Contract, standing: Standing, now: dt.datetime) -> Objection | None:
    here = f"Contract {contract.id} version {contract.version}"
    for signature in signed.signatures:
        keys, whose = standing.of(signature.role), f"{signature.key[:16]}…"
        if signature.key in keys.revoked:
            return Objection(
                "KeyRevoked",
                f"{here} is signed with the {signature.role}'s key {whose}, which was revoked: sign anew.",
            )
        if signature.key in keys.replaced:
            return Objection(
                "KeyReplaced",
                f"{here} is signed with the {signature.role}'s key {whose}, which another has replaced: sign anew.",
            )
        if signature.key != keys.current:
            known = f"the registered one is {keys.current[:16]}…" if keys.current else "none is registered"
            return Objection(
                "KeyUnknown", f"{here} is signed for the {signature.role} with the key {whose}; {known}."
            )
        if signature.signed_at > now + CLOCKS_APART:
            return Objection(
                "SignatureInvalid",
                f"The {signature.role} signed {here} at {_said(signature.signed_at)}, and now it is {_said(now)}.",
            )
    return None


def _unfit_contract(contract: Contract, standing: Standing, now: dt.datetime) -> Objection | None:
    here, newest = f"Contract {contract.id} version {contract.version}", standing.newest
    if now >= contract.valid_until:
        return Objection(
            "ContractExpired", f"{here} ended at {_said(contract.valid_until)}; now it is {_said(now)}."
        )
    if now < contract.valid_from:
        return Objection(
            "ContractNotYetValid",
            f"{here} begins at {_said(contract.valid_from)}; now it is {_said(now)}. Submit it then; a contract in force is "
            "prolonged by an addendum.",
        )
    if newest is None or not newest.signed.signatures:
        return None  # what nobody signed, from before there were signatures, binds nobody
    if newest.fingerprint == fingerprint_of(contract):
        return Objection("AlreadyInForce", f"{here} was accepted before.")
    if now < newest.contract.valid_until:
        return Objection(
            "ContractInForce",
            f"Contract {newest.contract.id} version {newest.contract.version} of {contract.org} holds until "
            f"{_said(newest.contract.valid_until)}: it is changed by an addendum that both sides sign, on 30 days' notice.",
        )
    if contract.id in standing.ids:
        # Not the last one's alone: an old document that addenda cut short is still valid by its own words.
        return Objection(
            "ContractOutdated", f"{here} has the id of one that has ended: a new contract has a new id."
        )
    return None


def _unfit_addendum(contract: Contract, newest: Accepted | None, now: dt.datetime) -> Objection | None:
    here, amends = f"Addendum {contract.id} version {contract.version}", contract.amends
    assert amends is not None, contract
    if newest is None:
        return Objection("ContractMissing", f"{here} amends a contract, and {contract.org} has none.")
    before = f"{newest.contract.id} version {newest.contract.version}"
    if newest.fingerprint == fingerprint_of(contract):
        return Objection("AlreadyInForce", f"{here} was accepted before.")
    if amends.fingerprint != newest.fingerprint:
        return Objection(
            "AddendumOutdated",
            f"{here} amends {amends.fingerprint[:16]}…; the newest accepted document of {contract.org} is {before} "
            f"({newest.fingerprint[:16]}…), to take effect at {_said(newest.effective_at)}. Write it anew on top of that.",
        )
    if (contract.id, contract.version) != (newest.contract.id, newest.contract.version + 1):
        return Objection(
            "AddendumOutdated",
            f"{here} amends {before}: it must have the same id and version {newest.contract.version + 1}.",
        )
    earliest = now + NOTICE
    if amends.effective_from < earliest:
        return Objection(
            "NoticeTooShort",
            f"{here} would take effect at {_said(amends.effective_from)}; with 30 days' notice from now it is "
            f"{_said(earliest)} at the earliest.",
        )
    if amends.effective_from < newest.effective_at:
        return Objection(
            "AddendumOutdated",
            f"{here} would take effect at {_said(amends.effective_from)}, before what it amends "
            f"({_said(newest.effective_at)}).",
        )
    if amends.effective_from > newest.contract.valid_until:
        return Objection(
            "ContractExpired",
            f"{here} would take effect at {_said(amends.effective_from)}, after {before} has ended "
            f"({_said(newest.contract.valid_until)}): make it earlier, or sign a new contract then.",
        )
    return None


def fingerprint_of(contract: Contract) -> str:
    """The fingerprint of the document that says these terms."""
    return fingerprint(canonical(contract))


def _said(instant: dt.datetime) -> str:
    return instant.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
