"""How many refusals may be in their quick attempts, so that those of one org leave room for the others'."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Final

MOST_OPEN: Final = 256
"""Refusals in their quick attempts; the others wait in the fold."""

MOST_OPEN_OF_ONE: Final = 8
"""Of one org. Its owner's relay may refuse all of them for half a minute each; 32 orgs like that fill the places.

Those that wait slowly hold no place. They are given up after an hour, so that an org has at most 8 new ones
each half minute, 960, between two slow attempts.
"""

IN_FLIGHT: Final = 4
"""Mails that are being handed over at the same time."""

IN_FLIGHT_OF_ONE: Final = 3
"""Of one org: where the relay takes long over one owner's address, a way out is left for the others."""


class Places:
    """The places for quick attempts and the ways to the relay, shared out among the orgs."""

    def __init__(self, on_free: Callable[[], None]) -> None:
        self._on_free = on_free
        self._open: Counter[str] = Counter()
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._slots_of: dict[str, asyncio.Semaphore] = {}

    def taken(self, org: str) -> int:
        """How many places the org has; those with fewer come first."""
        return self._open[org]

    def free(self, org: str) -> bool:
        """Whether one more refusal of the org may begin."""
        return self._open[org] < MOST_OPEN_OF_ONE and self._open.total() < MOST_OPEN

    def take(self, org: str) -> None:
        """One place fewer."""
        self._open[org] += 1

    def give_back(self, org: str) -> None:
        """One place more; whoever waits for one is told."""
        full = not self.free(org)
        self._open[org] -= 1
        if not self._open[org]:
            del self._open[org]
        if full:
            self._on_free()

    @asynccontextmanager
    async def way_out(self, org: str) -> AsyncGenerator[None]:
        """A way to the relay, as soon as the org and all together have one left."""
        own = self._slots_of.setdefault(org, asyncio.Semaphore(IN_FLIGHT_OF_ONE))
        async with own, self._slots:
            yield
