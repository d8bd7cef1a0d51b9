"""The pools' observations at work: looks become windows, and a window that is over becomes one event."""

import asyncio
import datetime as dt
import logging
from collections import deque
from collections.abc import Mapping
from typing import Final

from events.ahead import is_to_come
from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.bus.port import FullError, StaleError, UnansweredError
from events.pool import PoolObserved
from projections.fleet.fold import Fleet
from schemas.pool import Pool
from services.signal.metrics import UNTOLD, WAITING
from services.signal.port import Measurement
from services.signal.windows import Observed, Window, begin_of, counts, hear, look, name, observed

MOST_WAITING: Final = 20_000
"""Windows that may wait for the ledger, some kilobytes each: two of ten thousand pools. The oldest are given up first."""

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 5.0

log = logging.getLogger("virtscale.signal")


class Observer:
    """Keeps each pool's present window, and writes those that are over, one after another."""

    def __init__(self, ledger: Ledger, pen: Pen) -> None:
        self._ledger = ledger
        self._pen = pen
        self._fleet = ledger.fold(Fleet)
        self._observed = ledger.fold(Observed)
        self._windows: dict[tuple[str, str], Window] = {}
        self._waiting: deque[PoolObserved] = deque()
        self._writing = False
        self._now: dt.datetime | None = None
        """When a pool was last looked at."""
        self._news = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Windows that are over and not in the ledger yet, as far as is known here."""
        return len(self._waiting) + self._writing

    def look(self, pool: Pool, measured: Mapping[str, Measurement], now: dt.datetime) -> None:
        """The pool was looked at; a window that `now` is past is on its way into the ledger.

        `measured` is what its queries were answered, by their texts. While a clock that was set back by some seconds has not come
        again to where it was, looks are left out. One that was set back by more than a minute was wrong before: what was seen by it
        is of no window, and is given up.
        """
        place = (pool.org, pool.name)
        self._now = now
        before = window = self._windows.get(place)
        if window is not None and is_to_come(window.looked_until, now):
            self._lose(place, window)
            before = window = None
        if window is not None and begin_of(now) > window.begins:
            self._close(place, window)
            window = None
        elif window is not None and now < window.looked_until:
            return
        vms = counts(self._fleet, *place)
        self._windows[place] = look(
            window, pool, measured, vms, state_seq=self._ledger.seq, now=now, before=before
        )

    def hear(self, pool: Pool, query: str, measured: Measurement, now: dt.datetime) -> None:
        """A sample was pushed; it counts in the window that is looked at now, if there is one."""
        place = (pool.org, pool.name)
        window = self._windows.get(place)
        if window is not None and begin_of(now) == window.begins:
            serving = len(self._fleet.members(*place, "serving"))
            self._windows[place] = hear(window, query, measured, serving, now)

    async def work(self) -> None:
        """What is over is written, for ever."""
        while True:
            while self._waiting:
                self._writing = True
                await self._write(self._waiting.popleft())
                self._writing = False
                WAITING.set(self.waiting)
            self._news.clear()
            await self._news.wait()

    def _close(self, place: tuple[str, str], window: Window) -> None:
        self._waiting.append(observed(*place, window))
        WAITING.set(self.waiting)
        self._news.set()
        if len(self._waiting) > MOST_WAITING:
            lost = self._waiting.popleft()
            self._lose((lost.org, lost.pool), lost)

    def _lose(self, place: tuple[str, str], lost: PoolObserved | Window) -> None:
        UNTOLD.inc()
        log.warning("what was seen of %s/%s from %s on is given up", *place, lost.looked_from)

    async def _write(self, fact: PoolObserved) -> None:
        """The window is in the ledger, or a later one of its pool is.

        Safe to repeat: it expects the last sequence of its own subject, which signal workers alone write, so of two
        that saw the same window one is stored.
        """
        id_ = name(fact)
        event = self._pen.event(fact, id=id_, cause=None, correlation=id_)
        pause = _FIRST_PAUSE_SECONDS
        while not self._told(fact):
            last = max(self._observed.last_seq(fact.org, fact.pool), self._ledger.noise_on(event.subject))
            try:
                ack = await self._pen.append(event, expect=last)
                await self._ledger.reach(ack.seq)
                return
            except (UnansweredError, StaleError) as error:
                await asyncio.sleep(pause)
                await self._ledger.catch_up()
                if isinstance(error, StaleError):
                    await self._ledger.look_on(event.subject)
            except FullError:
                await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _told(self, fact: PoolObserved) -> bool:
        """Whether the ledger has come so far; a window that is still to come was told by a wrong clock, and is nobody's word."""
        until = self._observed.until(fact.org, fact.pool)
        if until is None or fact.window_until > until:
            return False
        return self._now is None or not is_to_come(until, max(self._now, fact.looked_until))
