"""Writing into the ledger: a fact becomes an event in its envelope, under a derived id."""

import asyncio
from typing import Final

from events.bus.port import Ack, Bus, FullError, Outgoing, UnansweredError
from events.clock import Clock
from events.envelope import Addressed, address
from events.fact import Fact

_FIRST_PAUSE_SECONDS: Final = 0.05
_LONGEST_PAUSE_SECONDS: Final = 1.0


class Pen:
    """One worker's right to write; its events carry the worker's name."""

    def __init__(self, bus: Bus, writer: str, clock: Clock) -> None:
        self._bus = bus
        self.writer = writer
        self._clock = clock

    def event(self, fact: Fact, *, id: str, cause: str | None, correlation: str) -> Addressed:
        """The fact as an event of this writer, stamped with the time, not yet sent."""
        return address(
            fact, writer=self.writer, id=id, time=self._clock.now(), cause=cause, correlation=correlation
        )

    async def append(self, event: Addressed, *, expect: int | None = None) -> Ack:
        """One attempt; with `expect` only if the subject's last sequence is that."""
        return await self._bus.append(Outgoing(event.subject, event.id, event.payload, expect))

    async def append_batch(self, events: list[tuple[Addressed, int | None]]) -> Ack:
        """One attempt for all or none, in order."""
        return await self._bus.append_batch(
            [Outgoing(event.subject, event.id, event.payload, expect) for event, expect in events]
        )

    async def record(self, fact: Fact, *, id: str, cause: str | None, correlation: str) -> Ack:
        """An outcome or observation is in the ledger at least once, however long it takes.

        Safe to repeat: the id is the same each time, and a second copy of an outcome folds to nothing. While the
        bus is away or full it keeps trying; a refusal of the right to write is raised.
        """
        event = self.event(fact, id=id, cause=cause, correlation=correlation)
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                return await self.append(event)
            except (UnansweredError, FullError):
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
