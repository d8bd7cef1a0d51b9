"""The ledger itself: that it was sealed, that it goes on in a new stream, that a part of it was lost."""

from typing import Annotated

import msgspec

from events.fact import Fact, Moment
from schemas.names import Count, Name
from schemas.request import Reason

Root = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
"""The root of the audit tree, SHA-256 in hexadecimal."""

NoteText = Annotated[str, msgspec.Meta(min_length=1, max_length=8192)]
"""A checkpoint as it was signed: a C2SP signed note, with every signature it had by then."""

Origin = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
"""Whose log it is: `ledger.<operator>/<cluster>`."""


class LedgerSealed(Fact, frozen=True):
    """The sealer had signed this checkpoint when it wrote; at most hourly. The files are the truth. Its org is `platform`."""

    origin: Origin
    size: Count
    """How many events the checkpoint covers: sequences 1 to `size`."""
    root: Root
    checkpoint: NoteText
    sealed_at: Moment


class LedgerRolled(Fact, frozen=True):
    """The ledger goes on in a new stream of the bus, of which this is the first event. Sequence and tree go on.

    What came before lies in the sealer's files, whole, under the checkpoint that is named here. Its org is `platform`.
    """

    origin: Origin
    size: Count
    root: Root
    checkpoint: NoteText
    actor: Name
    reason: Reason
    rolled_at: Moment


class LedgerRecovered(Fact, frozen=True):
    """Somebody answers for it that the ledger goes on here although a part of it is lost: a new epoch begins.

    Events `lost_first` to `lost_last` had been stored once, as far as anybody knows, and are gone: what took their
    sequences since is other. Both are 0 when nothing is known to be lost. What the lost events admitted may run: until
    every host was reconciled nothing is admitted. Its org is `platform`.
    """

    epoch: Annotated[int, msgspec.Meta(ge=1)]
    """How often the ledger was recovered, this time included."""
    origin: Origin
    size: Count
    """Of the last checkpoint that holds: everything up to here is as it was."""
    root: Root
    checkpoint: NoteText
    lost_first: Count
    lost_last: Count
    actor: Name
    reason: Reason
    recovered_at: Moment
