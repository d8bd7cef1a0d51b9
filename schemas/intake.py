"""What an outsider may publish: the requests of the intake, and what it is answered.

Subject `in.<org>.<publisher>.<verb>`; the key of a request makes it idempotent: the same key asks once.
"""

import datetime as dt
from typing import Annotated, Final, Literal

import msgspec

from schemas.contract.document import PublicKey, SignatureValue, Signed
from schemas.names import Count, Id, Name
from schemas.pool import PoolName
from schemas.problem import Problem
from schemas.request import Key, Reason
from schemas.struct import Value
from schemas.vm_intake import (
    AdoptVm,
    AskMaintenance,
    ChangeMaintenance,
    ChangeVm,
    CopyVm,
    CreateVm,
    DeleteVm,
    DropCopy,
    Permit,
    ResizeVm,
    RestoreVm,
    UndeleteVm,
)

MOST_VMS: Final = 10_000
"""More than this in one request is a slip of the finger, not a wish."""

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


class Save(Value, frozen=True):
    """`in.<org>.<publisher>.save`: at most `paused` sleeping VMs of the pool stay in RAM, the others sleep on disk."""

    pool: Name
    key: Key
    paused: Annotated[int, msgspec.Meta(ge=0, le=MOST_VMS)]
    wait: bool = False


class Erase(Value, frozen=True):
    """`in.<org>.<publisher>.erase`: destroy the key of a person in the vault."""

    person: Name
    key: Key


FreezeSeconds = Annotated[int, msgspec.Meta(ge=1, le=30 * 86_400)]
"""How long a freeze lasts: up to 30 days, and never without an end."""


Change = Literal["drain", "admit", "fence", "remove"]
"""What may be done to a host: no new VMs, new VMs again, declare it dead, forget it."""


class Submit(Value, frozen=True):
    """`in.<org>.operator.contract`: a document that both sides signed shall be the authority over the org's capacity."""

    key: Key
    document: Signed
    wait: bool = False


class RegisterKey(Value, frozen=True):
    """`in.<org>.operator.register-key`: the org signs by this key from now on; `platform` is the provider's org.

    A key that takes another's place names it and carries its signature over the succession.
    """

    key: Key
    public_key: PublicKey
    former: PublicKey | None = None
    endorsement: SignatureValue | None = None
    wait: bool = False


class RevokeKey(Value, frozen=True):
    """`in.<org>.operator.revoke-key`: the key is trusted no more."""

    key: Key
    public_key: PublicKey
    actor: Name
    reason: Reason
    wait: bool = False


class Freeze(Value, frozen=True):
    """`in.<org>.operator.freeze`: the pool, or without one every pool of the org, stands still for so long."""

    key: Key
    actor: Name
    reason: Reason
    seconds: FreezeSeconds
    pool: PoolName | None = None
    wait: bool = False


class Thaw(Value, frozen=True):
    """`in.<org>.operator.thaw`: a freeze ends before its time."""

    key: Key
    actor: Name
    reason: Reason
    pool: PoolName | None = None
    wait: bool = False


class ChangeHost(Value, frozen=True):
    """`in.platform.operator.host`: a host carries no new VMs, or again, or is declared dead, or forgotten."""

    key: Key
    host: Name
    change: Change
    actor: Name
    reason: Reason
    wait: bool = False


Request = (
    Scale
    | Quiesce
    | Stock
    | Save
    | Erase
    | Submit
    | RegisterKey
    | RevokeKey
    | Freeze
    | Thaw
    | ChangeHost
    | CreateVm
    | ChangeVm
    | ResizeVm
    | ChangeMaintenance
    | AskMaintenance
    | CopyVm
    | DropCopy
    | RestoreVm
    | DeleteVm
    | UndeleteVm
    | AdoptVm
    | Permit
)

VERBS: Final[dict[str, type[Request]]] = {
    "scale": Scale,
    "quiesce": Quiesce,
    "stock": Stock,
    "save": Save,
    "erase": Erase,
    "contract": Submit,
    "register-key": RegisterKey,
    "revoke-key": RevokeKey,
    "freeze": Freeze,
    "thaw": Thaw,
    "host": ChangeHost,
    "create": CreateVm,
    "change": ChangeVm,
    "resize": ResizeVm,
    "maintenance": ChangeMaintenance,
    "maintain": AskMaintenance,
    "copy": CopyVm,
    "drop": DropCopy,
    "restore": RestoreVm,
    "delete": DeleteVm,
    "undelete": UndeleteVm,
    "adopt": AdoptVm,
    "permit": Permit,
}


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
    problem: Problem | None = None
    """What HTTP says of a refusal: status 429 where the cap, the hosts or the time are the reason."""


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
