"""What the ledger's stream no longer holds: the events before its first one, out of the audit log's files.

A ledger that was rolled, recovered, imported or restored goes on in a stream that begins behind what was archived.
Sequence and stored time are the same there and here, so whoever reads does not notice where the one ends.
"""

import asyncio
from pathlib import Path
from typing import Final

from events.bus.limits import GROUP_MESSAGES
from events.bus.permissions import covers
from events.bus.port import BusError
from events.stored import Stored
from events.tlog.compare import compare
from events.tlog.files import DirectoryFiles
from events.tlog.leaf import EntryError
from events.tlog.note import NoteError
from events.tlog.reader import Archive
from events.tlog.tiles import TileError

_UNREADABLE: Final = (TileError, EntryError, NoteError)


class PastUnreadableError(BusError):
    """The events before the stream's first are not in the archive, or are not those that were sealed."""

    code = "PastUnreadable"


class Past:
    """The archive of a house, read in a thread so that nobody waits for its disk.

    Each entry is compared with its hash in the tiles, so a bit that flipped is not folded. That the tiles lead up to the
    signed root is the sealer's to look at, which permits nothing before it has.
    """

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory)
        self._archive = Archive(DirectoryFiles(self._directory))
        self._alone = asyncio.Lock()

    async def read(self, first: int, last: int) -> list[Stored]:
        """The events `first` to `last`, whole; raises `PastUnreadable` when one of them is not there as it was sealed."""
        async with self._alone:
            return await asyncio.to_thread(self._read, first, last)

    async def last_on(self, subject: str, last: int) -> Stored | None:
        """The newest event up to `last` on a subject, which may hold wildcards; the archive is read backwards for it."""
        async with self._alone:
            return await asyncio.to_thread(self._last_on, subject, last)

    def _last_on(self, subject: str, last: int) -> Stored | None:
        while last > 0:
            first = (last - 1) // GROUP_MESSAGES * GROUP_MESSAGES + 1
            for stored in reversed(self._read(first, last)):
                if covers(subject, stored.subject):
                    return stored
            last = first - 1
        return None

    def _read(self, first: int, last: int) -> list[Stored]:
        try:
            if self._archive.size < last:
                self._archive.checkpoint_note()  # it grows while we read
            group = list(self._archive.stored(first, last))
            difference = compare(group, self._archive)
        except _UNREADABLE as error:
            raise PastUnreadableError(
                f"Events {first} to {last} lie before the bus's stream begins, and the archive {self._directory} does not "
                f"give them: {error} Restore the archive from a backup with `virtscale ledger restore`."
            ) from error
        if difference is not None:
            raise PastUnreadableError(
                f"Event {difference.seq} lies before the bus's stream begins, and in the archive {self._directory} it is "
                "not the one that was sealed. Verify it with `virtscale ledger verify`, and restore it from a backup."
            )
        return group
