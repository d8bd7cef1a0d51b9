"""Contracts as tests need them: signed by both sides, with keys that are the same in every run."""

import datetime as dt
import hashlib
from typing import Any

from msgspec.structs import replace
from nacl.signing import SigningKey

from events.contract import ContractAccepted, ContractTookEffect
from events.fact import Fact
from events.key import KeyRegistered
from schemas.capacity import Capacity
from schemas.contract.document import Signed
from schemas.contract.signing import sign
from schemas.contract.terms import Amends, Contract, Person, canonical, fingerprint
from schemas.names import PLATFORM

NOW = dt.datetime(2026, 11, 22, 9, 0, tzinfo=dt.UTC)


def signing_key(name: str) -> SigningKey:
    """The key of an org, or of the provider under `platform`."""
    return SigningKey(hashlib.sha256(f"a key for tests: {name}".encode()).digest())


def public_key(name: str) -> str:
    """Its public part."""
    return bytes(signing_key(name).verify_key).hex()


def terms(org: str = "acme", vcpu: int = 10, memory_mib: int = 1 << 20, **changes: Any) -> Contract:
    """Terms with this quota and 10 % allowance, valid for the day."""
    return replace(
        Contract(
            format=2,
            id=f"{org[:35]}-2026",
            version=1,
            org=org,
            quota=Capacity(vcpu=vcpu, memory_mib=memory_mib),
            allowance_bp=1000,
            warm_reserve_bp=500,
            price_eur_cents_month=0,
            owner=Person(person=f"{org[:30]}-owner", commitment="0" * 64),
            technical=(),
            valid_from=NOW - dt.timedelta(hours=12),
            valid_until=NOW + dt.timedelta(hours=12),
        ),
        **changes,
    )


def addendum(before: Contract, effective_from: dt.datetime, **changes: Any) -> Contract:
    """The same terms but for the changes, building on a document."""
    amends = Amends(fingerprint=fingerprint(canonical(before)), effective_from=effective_from)
    return replace(before, version=before.version + 1, amends=amends, **changes)


def signed(contract: Contract, at: dt.datetime = NOW, *, provider: str = "platform", org: str = "") -> Signed:
    """The document with both signatures."""
    document = sign(Signed(canonical(contract), ()), "provider", signing_key(provider), at)
    return sign(document, "org", signing_key(org or contract.org), at)


def accepted(contract: Contract, at: dt.datetime) -> ContractAccepted:
    """The gate accepted the document; an addendum waits for its day."""
    document = signed(contract, at)
    return ContractAccepted(
        org=contract.org,
        document=document,
        fingerprint=fingerprint(document.text),
        contract=contract.id,
        version=contract.version,
        accepted_at=at,
        effective_at=at if contract.amends is None else contract.amends.effective_from,
    )


def took_effect(contract: Contract, at: dt.datetime = NOW) -> ContractTookEffect:
    """The document is in force."""
    document = signed(contract, at)
    return ContractTookEffect(
        org=contract.org, document=document, fingerprint=fingerprint(document.text), took_effect_at=at
    )


def past(contract: Contract, amended: Contract | None, at: dt.datetime) -> list[Fact]:
    """What a ledger holds where the contract is in force, and perhaps an addendum waits for its day."""
    keys = [
        KeyRegistered(org=org, public_key=public_key(org), former=None, registered_at=at)
        for org in (PLATFORM, contract.org)
    ]
    coming = [] if amended is None else [accepted(amended, at)]
    return [*keys, accepted(contract, at), took_effect(contract, at), *coming]
