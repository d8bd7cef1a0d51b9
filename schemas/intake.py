"""What an outsider may publish: the requests of the intake, and what it is answered.

Subject `in.<org>.<publisher>.<verb>`; the key of a request makes it idempotent: the same key asks once.
"""

import datetime as dt
from typing import Annotated, Final

import msgspec

from schemas.names import Count, Id, Name
from schemas.struct import Value

MOST_VMS: Final = 10_000
"""More than this in one request is a slip of the finger, not a wish."""

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Vms = Annotated[int, msgspec.Meta(ge=1, le=MOST_VMS)]


class Scale(Value, frozen=True):
    """`in.<org>.<publisher>.scale`: `add` more VMs, or have `want` awake; exactly one of the two."""

    pool: Name
    key: Key
    add: Vms | None = None
    want: Annotated[int, msgspec.Meta(ge=0, le=MOST_VMS)] | None = None
    up_to: bool = False
    """Grant what fits and refuse the rest, instead of all or nothing."""
    wait: bool = False
    """Answer with the gate's decision instead of with the receipt."""


class Quiesce(Value, frozen=True):
    """`in.<org>.<publisher>.quiesce`: drain and suspend `count` serving VMs."""

    pool: Name
    key: Key
    count: Vms
    wait: bool = False


class Stock(Value, frozen=True):
    """`in.<org>.<publisher>.stock`: the pool shall hold at least `vms` VMs, asleep unless they are needed."""

    pool: Name
    key: Key
    vms: Vms
    wait: bool = False


class Erase(Value, frozen=True):
    """`in.<org>.<publisher>.erase`: destroy the key of a person in the vault."""

    person: Name
    key: Key


Request = Scale | Quiesce | Stock | Erase

VERBS: Final[dict[str, type[Request]]] = {"scale": Scale, "quiesce": Quiesce, "stock": Stock, "erase": Erase}


class Receipt(Value, frozen=True):
    """The request is in the ledger at `seq`; with `wait`, also what the gate decided."""

    id: Id
    seq: Count
    repeated: bool = False
    """The same key was received before: this is the first one's place, nothing new was stored."""
    outcome: str | None = None
    code: str | None = None
    granted: int | None = None
    text: str | None = None


class Rejection(Value, frozen=True):
    """The request was not taken; it is kept in the dead-letter stream with this reason."""

    code: str
    text: str


class DeadLetter(Value, frozen=True):
    """An intake message that was rejected, whole, with the reason."""

    subject: str
    code: str
    text: str
    received_at: Annotated[dt.datetime, msgspec.Meta(tz=True)]
    payload: bytes
    """Base64 in JSON; cut to the first 16 KiB."""
