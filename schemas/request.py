"""What requests have in common: the key that makes each idempotent, and why somebody asks."""

from typing import Annotated

import msgspec

from schemas.names import Name
from schemas.struct import Value

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
"""Of one publisher: the same key asks once."""

Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
"""Why, in a few words that name nobody: they stay in the ledger for ever."""

Commitment = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}(?![\s\S])")]
"""SHA-256 of a salt and what the vault keeps, as 64 hexadecimal digits."""


class SeedRef(Value, frozen=True):
    """What a VM is told at its first boot: it may hold secrets, so it lies in the vault, and this commits to it."""

    name: Name
    commitment: Commitment
