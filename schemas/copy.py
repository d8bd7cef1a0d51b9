"""What copies of a disk there are."""

import datetime as dt
from typing import Final, Literal

CopyKind = Literal["snapshot", "backup"]
"""Kept beside the disk and gone with it; or a file elsewhere, which outlives it."""

DropCause = Literal["asked", "retention", "deletion"]
"""Why a copy goes: somebody wants it gone, there are as many newer ones as its pool keeps, or its VM is deleted."""

MOST_COPIES: Final = 500
"""Of one VM, both kinds together: each is asked for, and none is kept for ever."""

_NIGHT: Final = "night-"


def of_night(night: dt.date) -> str:
    """What a night's backup is called, whichever try makes it: two tries are never two backups."""
    return f"{_NIGHT}{night.isoformat()}"


def is_of_night(name: str) -> bool:
    """Whether only a night's backup may have this name."""
    return name.startswith(_NIGHT)
