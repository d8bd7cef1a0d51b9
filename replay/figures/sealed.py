"""A ledger that is hashed while it is read, so that what was computed was computed from what is sealed."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from events.bus.port import Stored
from events.tlog.checkpoint import Checkpoint
from events.tlog.leaf import entry, leaf_hash
from events.tlog.tree import Frontier
from replay.source import Source


class SealError(Exception):
    """What was read is not what the checkpoint is of, so nothing was computed from it."""

    code = "NotWhatWasSealed"


class Sealed:
    """The source up to a checkpoint, and nothing behind it. `check` says whether it was what the checkpoint names."""

    def __init__(self, source: Source, checkpoint: Checkpoint) -> None:
        self._source = source
        self._checkpoint = checkpoint
        self._frontier = Frontier()
        self.began_ns = 0
        """When the first event was stored, in Unix nanoseconds, once it was read."""

    async def last(self) -> int:
        """The checkpoint's size. Raises `SealError` where the ledger ends before it."""
        last = await self._source.last()
        if last < self._checkpoint.size:
            raise SealError(
                f"The checkpoint of {self._checkpoint.origin} is of {self._checkpoint.size} events, and the ledger that was "
                f"read has {last}. Nothing was written: read the ledger that it belongs to."
            )
        return self._checkpoint.size

    async def stored_ns(self) -> int:
        """When the last event under the checkpoint was stored, in Unix nanoseconds; 0 of an empty ledger."""
        last = await self.last()
        if not last:
            return 0
        async with aclosing(self._source.read(last, last)) as groups:
            async for group in groups:
                return group[-1].stored_ns
        return 0

    async def read(self, first: int, last: int) -> AsyncGenerator[list[Stored]]:
        """The messages in groups; from the first on, each is hashed as it passes."""
        async with aclosing(self._source.read(first, last)) as groups:
            async for group in groups:
                for stored in group:
                    if stored.seq == 1:
                        self.began_ns = stored.stored_ns
                    if stored.seq == self._frontier.size + 1:
                        self._frontier.add(leaf_hash(entry(stored)))
                yield group

    def check(self) -> None:
        """Everything under the checkpoint was read, and it hashes to the checkpoint's root. Raises `SealError`."""
        claimed = self._checkpoint
        if (self._frontier.size, self._frontier.root()) != (claimed.size, claimed.root):
            raise SealError(
                f"The {self._frontier.size} events that were read hash to {self._frontier.root().hex()}; the checkpoint of "
                f"{claimed.origin} says {claimed.size} and {claimed.root.hex()}. Nothing was written: "
                "`virtscale ledger verify` says from which event on the ledger is not what was sealed."
            )
