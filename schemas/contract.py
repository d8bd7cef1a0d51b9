"""A contract: what an org has signed for, and whom to tell when it asks for more."""

import datetime as dt
import hashlib
import tomllib
from typing import Annotated, Final, Literal

import msgspec

from schemas.capacity import UNITS, Capacity, envelope
from schemas.names import Name
from schemas.struct import Value

Moment = Annotated[dt.datetime, msgspec.Meta(tz=True)]
"""An instant in UTC; a naive datetime is refused."""

Allowance = Literal[500, 1000, 2000]
"""How far above quota an org may grow, in basis points: 5, 10 or 20 %, the three choices of the contract."""


MOST_QUOTA: Final = 2**52
"""With an allowance on top, amounts stay below 2**53, which readers of JSON in any language keep exact."""


class Person(Value, frozen=True):
    """Somebody in the vault: an id, and a salted commitment to the address that the vault holds."""

    person: Name
    commitment: Annotated[str, msgspec.Meta(min_length=64, max_length=64)]


class Contract(Value, frozen=True):
    """The terms in force for one org: quota, allowance, warm reserve, contacts, validity."""

    format: Literal[1]
    id: Name
    version: Annotated[int, msgspec.Meta(ge=1)]
    org: Name
    quota: Capacity
    allowance_bp: Allowance
    warm_reserve_bp: Annotated[int, msgspec.Meta(ge=500, le=2000)]
    price_eur_cents_month: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    owner: Person
    technical: Annotated[tuple[Person, ...], msgspec.Meta(max_length=20)]
    valid_from: Moment
    valid_until: Moment

    @property
    def limit(self) -> Capacity:
        """The envelope: quota plus allowance, the hard limit."""
        return envelope(self.quota, self.allowance_bp)


class ContractError(ValueError):
    """A contract file was refused; the sentence says which field and why."""

    code = "ContractUnreadable"


def read(text: str) -> Contract:
    """The contract that a TOML file says, or `ContractError` naming the first field that is wrong."""
    try:
        contract = msgspec.convert(tomllib.loads(text), Contract, strict=True)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ContractError(f"The contract file is not valid: {error}. Nothing was stored.") from error
    for name, amount in contract.quota.items():
        if amount <= MOST_QUOTA:
            continue
        raise ContractError(
            f"Contract {contract.id} has a quota of {amount} {UNITS[name]}; at most {MOST_QUOTA} can be counted exactly "
            "by every reader. Nothing was stored."
        )
    if contract.valid_until <= contract.valid_from:
        raise ContractError(
            f"Contract {contract.id} would end at {contract.valid_until.isoformat()}, not after it begins "
            f"({contract.valid_from.isoformat()}). Nothing was stored."
        )
    return contract


def fingerprint(contract: Contract) -> str:
    """The SHA-256 of the contract in canonical form, as hexadecimal digits."""
    return hashlib.sha256(msgspec.json.encode(contract, order="sorted")).hexdigest()
