"""What time it is, where the machine's clock may be set: the bus's own time decides, which every message says.

Between messages the loop's time goes on, which no step of a clock moves.
"""

import asyncio
import datetime as dt
import logging
from typing import Final

from events.clock import Clock
from services.forecaster import metrics

OFF: Final = dt.timedelta(seconds=60)
"""Clocks that differ by less cost a forecast those seconds; beyond that, ours is not gone by."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

log = logging.getLogger("virtscale.forecaster")


class BusTime:
    """The clock, as long as it is within a minute of the bus's; else the bus's, or none until the bus has taken a message."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset: float | None = None
        """From the loop's time to the bus's, in seconds."""
        self._fresh = False
        self._wrong = False

    def hear(self, stored_ns: int, *, fresh: bool) -> None:
        """The bus took a message then; `fresh` is one that was not there when this program first looked.

        One that is looked at late says too early a time, so that the latest time holds, unless the bus's clock itself was set back.
        """
        offset = stored_ns / 1e9 - asyncio.get_running_loop().time()
        self._fresh = self._fresh or fresh
        if self._offset is None or not -OFF.total_seconds() <= offset - self._offset <= 0:
            self._offset = offset

    def bus(self) -> dt.datetime | None:
        """The time of the bus, or earlier where only old messages are known; None where there is none at all."""
        if self._offset is None:
            return None
        return _EPOCH + dt.timedelta(seconds=self._offset + asyncio.get_running_loop().time())

    def known(self) -> dt.datetime | None:
        """The time that ticks are closed by; None where the clock differs and nothing new says who is right."""
        mine, bus = self._clock.now(), self.bus()
        if bus is None:
            return mine
        off = mine - bus
        metrics.CLOCK_OFF.set(off.total_seconds())
        wrong = abs(off) > OFF
        if wrong and self._fresh and not self._wrong:
            log.warning(
                "The clock differs from the bus's by %.0f s; ticks of 15 s are taken by the bus's.",
                off.total_seconds(),
            )
        self._wrong = wrong and self._fresh
        if not wrong:
            return mine
        return bus if self._fresh else None

    def now(self) -> dt.datetime:
        """The same as a clock, for who must have one."""
        return self.known() or self._clock.now()
