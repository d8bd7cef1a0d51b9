"""What a contract says: quota, allowance, reserve, price, contacts, validity, and its pools' own numbers."""

import datetime as dt
import hashlib
from typing import Annotated, Final, Literal

import msgspec

from schemas.capacity import Capacity, envelope
from schemas.moment import Moment
from schemas.names import Name
from schemas.pool import Pool, PoolName, Seconds
from schemas.struct import Value

Allowance = Literal[500, 1000, 2000]
"""How far above quota an org may grow, in basis points: 5, 10 or 20 %, the three choices of the contract."""

MOST_QUOTA: Final = 2**52
"""With an allowance on top, amounts stay below 2**53, which readers of JSON in any language keep exact."""

MOST_POOLS: Final = 200
"""Pools with numbers of their own in one contract: some 60 bytes each, so that the document stays below its bound."""

NOTICE: Final = dt.timedelta(days=30)
"""An addendum takes effect so long after it was accepted at the earliest: thirty days of 24 hours, since all instants
are UTC."""

Fingerprint = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}(?![\s\S])")]
"""SHA-256 of a document's canonical text, as 64 hexadecimal digits in lower case."""


class Person(Value, frozen=True):
    """Somebody in the vault: an id, and a salted commitment to the address that the vault holds."""

    person: Name
    commitment: Annotated[str, msgspec.Meta(min_length=64, max_length=64)]
    """SHA-256 of a salt and an address in hexadecimal; that it is no other text is held by `document.check`."""


class Amends(Value, frozen=True):
    """Which document an addendum builds on, and when it takes effect."""

    fingerprint: Fingerprint
    """Of the newest accepted document of the contract, in effect or not: an addendum never overlooks another."""
    effective_from: Moment


class Override(Value, frozen=True):
    """The numbers of one pool that this contract sets, in seconds; what is absent is the pool's own."""

    cooldown_seconds: Seconds | None = None
    horizon_seconds: Seconds | None = None
    drain_seconds: Seconds | None = None
    readiness_seconds: Seconds | None = None


class Contract(Value, frozen=True):
    """The terms of one org. An addendum states all terms anew and names the document that it amends."""

    format: Literal[2]
    id: Name
    version: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    org: Name
    quota: Capacity
    allowance_bp: Allowance
    warm_reserve_bp: Annotated[int, msgspec.Meta(ge=500, le=2000)]
    price_eur_cents_month: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    owner: Person
    technical: Annotated[tuple[Person, ...], msgspec.Meta(max_length=20)]
    valid_from: Moment
    valid_until: Moment
    pools: Annotated[dict[PoolName, Override], msgspec.Meta(max_length=MOST_POOLS)] = msgspec.field(
        default_factory=dict[str, Override]
    )
    amends: Amends | None = None

    @property
    def limit(self) -> Capacity:
        """The envelope: quota plus allowance, the hard limit."""
        return envelope(self.quota, self.allowance_bp)

    def pool(self, pool: Pool) -> Pool:
        """The pool with the numbers that this contract sets for it."""
        override = self.pools.get(pool.name)
        if override is None:
            return pool
        numbers = {
            name: value for name, value in msgspec.structs.asdict(override).items() if value is not None
        }
        return msgspec.structs.replace(pool, **numbers)


def canonical(contract: Contract) -> str:
    """The one text of these terms, which is what both sides sign.

    JSON as RFC 8785 has it: members sorted, no spaces, integers, every member present. Names and numbers are all
    there is in a contract, so that no escape and no other form of a letter can stand in it.
    """
    return msgspec.json.encode(contract, order="sorted").decode()


def fingerprint(text: str) -> str:
    """What a document is called by those who must name it exactly: SHA-256 of its canonical text."""
    return hashlib.sha256(text.encode()).hexdigest()
