"""A message of the ledger as it is kept, whoever keeps it: the bus in its stream, or the audit log in its bundles."""

import msgspec


class Stored(msgspec.Struct, frozen=True, gc=False):
    """A message of the ledger; `seq` counts from 1 without a gap, `stored_ns` is Unix time in nanoseconds."""

    seq: int
    stored_ns: int
    subject: str
    id: str
    payload: bytes
