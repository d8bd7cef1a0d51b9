"""Places that everybody on a host shares, and that nobody's guests can take all of."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

MOST_OF_HOST: Final = 16
"""Guests' agents spoken to at once on one host; one that is silent keeps its place for `REFRESH_SECONDS`."""

MOST_OF_ORG: Final = 8
MOST_OF_POOL: Final = 4
"""A batch of 8 has two rounds of 40 ms each. All places of a host are lost to silent agents only where two orgs have two pools of
them each, and all wake at once."""


class Shares:
    """The host's places, of which each org has half at most, and each pool half of its org's."""

    def __init__(self) -> None:
        self._host = asyncio.Semaphore(MOST_OF_HOST)
        self._orgs: dict[str, asyncio.Semaphore] = {}
        self._pools: dict[tuple[str, str], asyncio.Semaphore] = {}

    @asynccontextmanager
    async def place(self, org: str, pool: str) -> AsyncGenerator[None]:
        """A place is held, and was waited for in the order of those who came: in the pool, then the org, then the host.

        Whoever waits for his own share holds none of a larger one.
        """
        own = self._pools.setdefault((org, pool), asyncio.Semaphore(MOST_OF_POOL))
        shared = self._orgs.setdefault(org, asyncio.Semaphore(MOST_OF_ORG))
        async with own, shared, self._host:
            yield
