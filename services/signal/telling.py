"""Ticks on their way into the telemetry: when one is over, what pools needed in it is told."""

import asyncio
import logging
from typing import Final

from events.clock import Clock
from schemas.telemetry import TICK_SECONDS, Told
from services.signal.port import Telling
from services.signal.ticks import Ticks, seconds_left

AT_ONCE: Final = 64
"""Orgs that are told of at the same time: the bus takes thousands a second, and answers each in a millisecond."""

_SHORTEST_SECONDS: Final = 0.001

log = logging.getLogger("virtscale.signal")


async def tell(ticks: Ticks, clock: Clock, telemetry: Telling) -> None:
    """Each tick that is over is told, for ever; what is not told when the next one is over is given up."""
    while True:
        await asyncio.sleep(max(_SHORTEST_SECONDS, seconds_left(clock.now())))
        told = ticks.over(clock.now())
        slots = asyncio.Semaphore(AT_ONCE)
        try:
            async with asyncio.timeout(TICK_SECONDS), asyncio.TaskGroup() as orgs:
                for org, one in told.items():
                    orgs.create_task(_tell(slots, telemetry, org, one))
        except TimeoutError:
            log.warning("the telemetry of the last tick is not all told: the bus takes too long")


async def _tell(slots: asyncio.Semaphore, telemetry: Telling, org: str, told: Told) -> None:
    async with slots:
        await telemetry.tell(org, told)
