"""The one shape that all values share: frozen, and closed to fields nobody defined."""

import msgspec


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value is equal to every other with the same fields and never changes.

    Unknown fields are refused on decoding, because a field that is silently dropped is a promise that is
    silently broken: a ledger line must mean the same to every reader.
    """
