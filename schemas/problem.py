"""A refusal as HTTP says it: a problem document (RFC 9457), the same wherever it is given."""

from typing import Annotated, Final

import msgspec

from schemas.capacity import BasisPoints
from schemas.moment import Moment
from schemas.names import Count, Id, Name, Text, Word
from schemas.struct import Value

TYPE: Final = "urn:virtscale:problem:{}"
"""By code: `urn:virtscale:problem:CapExceeded`."""

TOO_MANY: Final = 429
"""The platform's word for no: past the cap, no room, not now. Asking for less, or later, may help."""

FORBIDDEN: Final = 403
NOT_FOUND: Final = 404
CONFLICT: Final = 409
UNPROCESSABLE: Final = 422

STATUS: Final[dict[str, int]] = {
    "ContractUnsigned": FORBIDDEN,
    "SignatureInvalid": FORBIDDEN,
    "KeyUnknown": FORBIDDEN,
    "KeyReplaced": FORBIDDEN,
    "KeyRevoked": FORBIDDEN,
    "PoolUnknown": NOT_FOUND,
    "VmUnknown": NOT_FOUND,
    "SudoSrvMissing": FORBIDDEN,
    "NameTaken": CONFLICT,
    "PoolScales": CONFLICT,
    "PoolKeeps": CONFLICT,
    "VmOff": CONFLICT,
    "VmBusy": CONFLICT,
    "HostGone": CONFLICT,
    "AdoptsLocal": CONFLICT,
    "NoDisk": CONFLICT,
    "CopyUnknown": NOT_FOUND,
    "CopyExists": CONFLICT,
    "CopyUnderWay": CONFLICT,
    "CopiesFull": CONFLICT,
    "CopiesNotKept": CONFLICT,
    "NameReserved": CONFLICT,
    "BackupNeedsName": UNPROCESSABLE,
    "VmRuns": CONFLICT,
    "VmSleeps": CONFLICT,
    "Protected": CONFLICT,
    "BeingDeleted": CONFLICT,
    "DeletionStands": CONFLICT,
    "DeletionUnknown": NOT_FOUND,
    "DeletionFinal": CONFLICT,
    "DeletionOver": CONFLICT,
    "DeletionEarly": CONFLICT,
    "HostUnknown": NOT_FOUND,
    "AddendumOutdated": CONFLICT,
    "ContractInForce": CONFLICT,
    "ContractOutdated": CONFLICT,
    "HostFenced": CONFLICT,
    "HostInUse": CONFLICT,
    "KeyNotCurrent": CONFLICT,
    "MaintenanceBegun": CONFLICT,
    "MaintenanceOver": CONFLICT,
    "NoticeOfDeletion": CONFLICT,
    "ContractOfAnother": UNPROCESSABLE,
    "ContractUnreadable": UNPROCESSABLE,
    "NoticeTooShort": UNPROCESSABLE,
    "SizeUnknown": UNPROCESSABLE,
    "VcpuTooFew": UNPROCESSABLE,
    "VcpuTooMany": UNPROCESSABLE,
    "MemoryTooSmall": UNPROCESSABLE,
    "MemoryTooLarge": UNPROCESSABLE,
    "MemoryNeedsOperator": UNPROCESSABLE,
    "MemoryBelowFloor": UNPROCESSABLE,
    "DiskTooSmall": UNPROCESSABLE,
    "DiskTooLarge": UNPROCESSABLE,
    "DiskNeedsOperator": UNPROCESSABLE,
    "DiskShrinks": UNPROCESSABLE,
    "ImageUnknown": UNPROCESSABLE,
    "ZoneUnknown": UNPROCESSABLE,
    "PolicyUnknown": UNPROCESSABLE,
    "DeletionTooSoon": UNPROCESSABLE,
    "DeletionTooFar": UNPROCESSABLE,
    "WindowUnreadable": UNPROCESSABLE,
    "WindowEmpty": UNPROCESSABLE,
    "WindowTooShort": UNPROCESSABLE,
    "DateInPast": UNPROCESSABLE,
    "DateTooFar": UNPROCESSABLE,
}
"""Refusals that no waiting and no smaller request can change; every other one is 429, as the platform promises."""


class Line(Value, frozen=True):
    """One dimension of the arithmetic: used + reserved + requested = projected, against a limit."""

    dimension: Word
    used: Count
    reserved: Count
    requested: Count
    projected: Count
    quota: Count | None
    limit: Count


class Problem(Value, frozen=True):
    """A problem document: the five members of RFC 9457 and, as extensions, the numbers that decided.

    `retry_after_seconds` is what a `Retry-After` header says, where time alone can change the answer.
    """

    type: Annotated[str, msgspec.Meta(max_length=200)]
    title: Text
    status: Annotated[int, msgspec.Meta(ge=400, le=599)]
    detail: Text
    instance: Annotated[str, msgspec.Meta(max_length=200)]
    code: Word
    request: Id
    org: Name
    pool: Name | None
    asked: Count
    granted: Count
    contract: Name | None
    contract_version: Count | None
    allowance_bp: BasisPoints | None
    lines: tuple[Line, ...]
    decided_at: Moment
    retry_after_seconds: Count | None
