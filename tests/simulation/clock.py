"""The time of a simulated world: it begins on a Sunday morning, and every program's clock may be off."""

import asyncio
import datetime as dt
from typing import Final

from virtscale.twin import clock
from virtscale.twin.clock import DeadlockError, SpinError, VirtualLoop, pause

__all__ = ["EPOCH", "DeadlockError", "SpinError", "VirtualClock", "VirtualLoop", "pause"]

EPOCH: Final = dt.datetime(2026, 11, 22, 9, 0, tzinfo=dt.UTC)
"""The wall clock when the loop's time is 0."""


class VirtualClock(clock.VirtualClock):
    """The wall clock of one program of the simulation."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, off_seconds: float = 0.0) -> None:
        super().__init__(loop, EPOCH, off_seconds=off_seconds)
