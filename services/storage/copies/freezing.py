"""Guests whose file systems stand still while a snapshot is taken, so that it is more than what a power cut leaves.

The guest's agent does it where there is one: what was written is on the disk, and nothing more comes until it thaws. A guest that
cannot, or does not within some seconds, is copied as it is.
"""

import json
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

import libvirt_qemu

from schemas.house import HostPlace
from services.storage.errors import StorageError
from services.storage.lane import Lane
from services.storage.link import Link

FREEZE_SECONDS: Final = 5
"""For what the guest has still to write. Its programs wait meanwhile."""

THAW_SECONDS: Final = 5
MOST_THAWS: Final = 6
"""An agent answers one word after the other: who is late with the first is late with this one, too."""

_AT_ONCE_SECONDS: Final = 1.0
"""Who says no so quickly has not begun."""

Still = Callable[[str, str], AbstractAsyncContextManager[bool]]
"""Of a host and its domain: whether the guest's file systems stand still within."""

log = logging.getLogger("virtscale.storage")


@asynccontextmanager
async def moving(host: str, domain: str) -> AsyncGenerator[bool]:
    """Nobody is asked to stand still."""
    del host, domain
    yield False


class Freezer:
    """Has guests of any host stand still, by way of its libvirt."""

    def __init__(self, place_of: Callable[[str], HostPlace | None]) -> None:
        self._place_of = place_of
        self._links: dict[HostPlace, tuple[Link, Lane, Lane]] = {}

    @asynccontextmanager
    async def still(self, host: str, domain: str) -> AsyncGenerator[bool]:
        """Whether the guest stands still; it moves again at the end, however that is reached.

        Safe to repeat: one that a former life left standing cannot freeze again, and thaws. Who stands still thaws in a lane of its own,
        and does not wait for agents that do not answer.
        """
        place = self._place_of(host)
        if place is None:
            yield False
            return
        began = time.perf_counter()
        stands, doubtful = False, True
        try:
            stands = await self._ask(place, domain, "guest-fsfreeze-freeze", FREEZE_SECONDS)
            doubtful = stands or time.perf_counter() - began > _AT_ONCE_SECONDS
            yield stands
        finally:
            # Also where freezing was refused, by one who stands still already; and where it may have come about since.
            for _ in range(MOST_THAWS):
                told = await self._ask(place, domain, "guest-fsfreeze-thaw", THAW_SECONDS, urgent=stands)
                if told or not doubtful:
                    break
            else:
                log.error(
                    "host %s: %s was told to thaw %d times and did not say so", host, domain, MOST_THAWS
                )
            if stands:
                log.info("%s stood still for %.0f ms", domain, (time.perf_counter() - began) * 1000)

    async def _ask(
        self, place: HostPlace, domain: str, command: str, seconds: int, *, urgent: bool = False
    ) -> bool:
        """Whether the agent did it."""
        if place not in self._links:
            name = f"storage-{place.name}"
            self._links[place] = Link(place), Lane(f"{name}-agents"), Lane(f"{name}-thaws")
        link, others, thaws = self._links[place]
        lane = thaws if urgent else others

        def ask() -> str:
            found = link.connected().lookupByName(domain)
            return libvirt_qemu.qemuAgentCommand(found, json.dumps({"execute": command}), seconds, 0)

        try:
            # Twice as long: libvirt first makes sure that the agent hears it.
            await link.call(lane, command, ask, 2.0 * seconds + 1)
        except StorageError as error:
            log.info("host %s: %s", place.name, error)
            return False
        return True
