"""The orgs of a bench: how each came to its contract and its pools, written down as if a gate had done it."""

import datetime as dt
import hashlib
from typing import Final

from nacl.signing import SigningKey

from events.contract import ContractTookEffect
from events.fact import Fact
from events.host import HostRegistered
from events.pool import PoolDefined
from schemas.capacity import Capacity, Size
from schemas.contract.document import Role, Signed
from schemas.contract.signing import sign
from schemas.contract.terms import Contract, Person, canonical, fingerprint
from schemas.pool import Pool

_ROLES: Final[tuple[Role, ...]] = ("provider", "org")
_KEYS: Final = {role: SigningKey(hashlib.sha256(role.encode()).digest()) for role in _ROLES}
"""One key for each side of all contracts here; signing a thousand takes 30 ms."""

ROOMY: Final = "web"
"""A pool that each request may make grow by one VM."""

HUGE: Final = "big"
"""A pool that no request may make grow: 10,000 of its VMs are past every envelope here."""

SMALL: Final = Size(name="small", vcpu=1, memory_mib=32)
LARGE: Final = Size(name="large", vcpu=1024, memory_mib=32)
HOST: Final = "h1"
LONG_SECONDS: Final = 86_400
"""Nobody carries the orders out, and none may be overdue while the bench runs."""


def contract(org: str, now: dt.datetime) -> Contract:
    """A contract with room for a million vCPU, in force now."""
    return Contract(
        format=2,
        id=f"{org}-2026",
        version=1,
        org=org,
        quota=Capacity(vcpu=1_000_000, memory_mib=2**40),
        allowance_bp=1000,
        warm_reserve_bp=500,
        price_eur_cents_month=0,
        owner=Person(person=f"{org}-owner", commitment="0" * 64),
        technical=(),
        valid_from=now - dt.timedelta(days=1),
        valid_until=now + dt.timedelta(days=1),
    )


def pools(org: str) -> tuple[Pool, ...]:
    """One pool that grows, and one that cannot."""
    return tuple(
        Pool(
            org=org,
            name=name,
            size=size,
            template="tiny",
            boot_seconds=LONG_SECONDS,
            order_seconds=LONG_SECONDS,
        )
        for name, size in ((ROOMY, SMALL), (HUGE, LARGE))
    )


def founding(org: str, now: dt.datetime) -> list[Fact]:
    """What the ledger says when the org's contract and pools have taken effect."""
    signed = Signed(canonical(contract(org, now)), ())
    for role in _ROLES:
        signed = sign(signed, role, _KEYS[role], now)
    took = ContractTookEffect(
        org=org, document=signed, fingerprint=fingerprint(signed.text), took_effect_at=now
    )
    return [took, *(PoolDefined(org=org, pool=pool.name, definition=pool) for pool in pools(org))]


def host(now: dt.datetime) -> Fact:
    """A host with room for whatever is ordered."""
    return HostRegistered(
        org="platform",
        host=HOST,
        uri="test:///default",
        libvirt_version=1,
        substrate="test",
        vcpu=100_000,
        memory_mib=2**45,
        observed_at=now,
    )


def names(count: int) -> list[str]:
    """So many orgs."""
    return [f"org-{number}" for number in range(count)]
