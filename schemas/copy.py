"""What copies of a disk there are."""

from typing import Final, Literal

CopyKind = Literal["snapshot", "backup"]
"""Kept beside the disk and gone with it; or a file elsewhere, which outlives it."""

DropCause = Literal["asked", "retention", "deletion"]
"""Why a copy goes: somebody wants it gone, there are as many newer ones as its pool keeps, or its VM is deleted."""

MOST_COPIES: Final = 500
"""Of one VM, both kinds together: each is asked for, and none is kept for ever."""
