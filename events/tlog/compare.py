"""What the bus holds beside what was sealed: whoever compares the two asks here, so that all mean the same by a difference."""

from collections.abc import Sequence
from dataclasses import dataclass

from events.stored import Stored
from events.tlog.leaf import EntryError, entry, leaf_hash, parse
from events.tlog.reader import Archive
from events.tlog.tiles import WIDTH


@dataclass(frozen=True, slots=True)
class Difference:
    """The first message that is not the one that was sealed at its sequence."""

    seq: int
    sentence: str


def compare(group: Sequence[Stored], archive: Archive) -> Difference | None:
    """The first message of the group that the archive's checkpoint covers and that is another than was sealed.

    None when there is none, also where the group lies behind the checkpoint. The hash of each message is compared with the
    archive's tiles: that these lead up to the signed root is not looked at here. Neither is that the group has no hole,
    which its reader sees. Raises `TileError` where the archive lacks a tile.
    """
    size, at, hashes = archive.size, -1, list[bytes]()
    for stored in group:
        if stored.seq > size:
            return None
        tile, place = divmod(stored.seq - 1, WIDTH)
        if tile != at:
            at, hashes = tile, archive.tile(0, tile)
        try:
            if leaf_hash(entry(stored)) == hashes[place]:
                continue
        except EntryError as error:
            return Difference(
                stored.seq, f"At sequence {stored.seq} the bus holds what was never sealed: {error}"
            )
        return Difference(stored.seq, _sentence(stored, hashes[place], archive))
    return None


def _sentence(found: Stored, sealed_hash: bytes, archive: Archive) -> str:
    """What differs, where the archive still has the entry that was sealed."""
    here = f"At sequence {found.seq} the bus holds another message than was sealed"
    try:
        [raw] = archive.entries(found.seq, found.seq)
        sealed = parse(raw)
    except ValueError as error:
        return f"{here}; the one that was cannot be shown: {error}"
    if leaf_hash(raw) != sealed_hash:
        return f"{here}, or its tile was altered: the archive's own entry does not fit it either. Verify the archive."
    names = ("seq", "stored_ns", "subject", "id", "payload")
    words = ("sequence", "stored time", "subject", "message id", "payload")
    differ = [
        word for name, word in zip(names, words, strict=True) if getattr(found, name) != getattr(sealed, name)
    ]
    return f"{here}: its {' and '.join(differ)} {'differs' if len(differ) == 1 else 'differ'}."
