"""Where a replay reads from: the bus, or an archive of files that needs no bus; both give the same messages."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from itertools import islice
from typing import Protocol

from events.bus.limits import GROUP_MESSAGES
from events.bus.port import Bus, BusError, Stored
from events.bus.reader.ahead import hole


class LedgersDifferError(BusError):
    """The archive of a house and its bus are not of one ledger, or one of them was altered."""

    code = "LedgersDiffer"


class Source(Protocol):
    """A ledger to read, from its first message to its last."""

    async def last(self) -> int:
        """The last sequence that can be read; 0 when there is none."""
        ...

    def read(self, first: int, last: int) -> AsyncGenerator[list[Stored]]:
        """The messages from `first` to `last` in non-empty groups, in order; `BusError` for a hole."""
        ...


class BusSource:
    """The ledger as a bus holds it, read by sequence with what follows on its way.

    A bus that does not answer within its own time ends the reading with `UnansweredError`: what was folded by then
    is the caller's to keep.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def last(self) -> int:
        """The last sequence, as the ledger's leader says it."""
        return await self._bus.last()

    async def read(self, first: int, last: int) -> AsyncGenerator[list[Stored]]:
        """The messages in groups as they come."""
        seq = first - 1
        while seq < last:
            group = await self._bus.read_ahead(seq + 1, last)
            if group[0].seq != seq + 1:
                raise hole(seq + 1, group[0].seq)
            yield group
            seq = group[-1].seq


class Archived(Protocol):
    """What this reads of `events.tlog.reader.Archive`."""

    @property
    def size(self) -> int:
        """The entries that the archive's checkpoint covers; the last one's sequence."""
        ...

    def stored(self, first_seq: int, last_seq: int) -> Iterator[Stored]:
        """The messages in these entries."""
        ...


class ArchiveSource:
    """An export, or the directory that a sealer writes: the ledger up to its checkpoint.

    That the entries are those under the checkpoint's root is not looked at here: `virtscale ledger verify` does.
    """

    def __init__(self, archive: Archived) -> None:
        self._archive = archive

    async def last(self) -> int:
        """The last sequence under the checkpoint; what the archive holds beyond it is nobody's promise yet."""
        return self._archive.size

    async def read(self, first: int, last: int) -> AsyncGenerator[list[Stored]]:
        """The messages in groups; whoever else is there has a turn between them."""
        messages, seq = self._archive.stored(first, last), first - 1
        while seq < last:
            group = list(islice(messages, GROUP_MESSAGES))
            for stored in group:
                seq += 1
                if stored.seq != seq:
                    raise hole(seq, stored.seq)
            if not group:
                raise BusError(
                    f"The archive ends at sequence {seq} and should reach {last}: files of it are missing. "
                    "`virtscale ledger verify` says which."
                )
            yield group
            await asyncio.sleep(0)


class JoinedSource:
    """What was sealed from the house's archive, and the rest from its bus.

    Reading files costs this process half of what reading a bus costs, and no server anything (docs/performance.md). That both
    are of one ledger is looked at where they meet: each gives the same message there.
    """

    def __init__(self, archive: Archived, bus: Bus) -> None:
        self._sealed = archive.size
        self._archive = ArchiveSource(archive)
        self._bus = BusSource(bus)

    async def last(self) -> int:
        """The last sequence of the bus; raises `LedgersDifferError` where that does not go on from the archive."""
        last = await self._bus.last()
        if last < self._sealed:
            raise LedgersDifferError(
                f"The bus ends at sequence {last}, and {self._sealed} were sealed: it has lost what the audit log still "
                "has. Nothing was read; `virtscale ledger verify` says more."
            )
        if self._sealed:
            one, other = [await _only(source, self._sealed) for source in (self._archive, self._bus)]
            if one != other:
                raise LedgersDifferError(
                    f"The audit log and the bus do not say the same of sequence {self._sealed}: one of them was altered, "
                    "or is of another ledger. Nothing was read; `virtscale ledger verify` says more."
                )
        return last

    async def read(self, first: int, last: int) -> AsyncGenerator[list[Stored]]:
        """The messages in groups, first those that were sealed."""
        sealed = min(self._sealed, last)
        for source, begin, end in ((self._archive, first, sealed), (self._bus, max(first, sealed + 1), last)):
            if begin <= end:
                async with aclosing(source.read(begin, end)) as groups:
                    async for group in groups:
                        yield group


async def _only(source: Source, seq: int) -> Stored:
    async with aclosing(source.read(seq, seq)) as groups:
        return (await anext(groups))[0]
