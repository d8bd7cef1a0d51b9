"""Pools' pasts at work: who is new, or whose past was brought in since, is taught it beside the ticks that go on."""

import asyncio
import datetime as dt
import logging
from typing import Final

from events.bus.port import UnansweredError
from events.bus.telemetry import Telemetry
from events.clock import Clock
from services.forecaster.gather import Gathered
from services.forecaster.past import MOST_POOLS, recall, teach
from services.forecaster.roster import Place, Roster

QUIET: Final = dt.timedelta(seconds=60)
"""A past that somebody brings in is learnt when nothing more of it came for so long."""

log = logging.getLogger("virtscale.forecaster")


class Learning:
    """One lesson after another; the pools of a lesson keep their columns, and what they do meanwhile is learnt last."""

    def __init__(self, telemetry: Telemetry, clock: Clock) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._news = asyncio.Event()

    def look(self) -> None:
        """A tick was taken in: there may be new pools, or a past that is whole by now."""
        self._news.set()

    async def work(self, roster: Roster, gathered: Gathered) -> None:
        """Every pool of the roster is taught what the telemetry holds of it, for ever."""
        while True:
            await self._news.wait()  # not before the first tick: what lies behind it is what is past
            self._news.clear()
            again = {name for name in gathered.settled(self._clock.now(), QUIET) if name in roster.place}
            new = [
                name for name, known in zip(roster.names, roster.learnt.tolist(), strict=True) if not known
            ]
            names = list(dict.fromkeys([*new, *again]))
            for start in range(0, len(names), MOST_POOLS):
                await self._lesson(roster, names[start : start + MOST_POOLS])

    async def _lesson(self, roster: Roster, names: list[Place]) -> None:
        names = [name for name in names if name in roster.place]
        try:
            past = await recall(self._telemetry, names, roster.number, self._clock.now())
        except UnansweredError:
            return  # those that are not learnt are looked for again at the next tick
        known = [name for name in names if name in roster.place]
        begun = min((int(roster.begun[roster.place[name]]) for name in known), default=0)
        taught = None
        if not past.empty and past.first < begun:
            log.info("learning %d ticks of %d pools", len(past.samples), len(names))
            taught = await teach(past, roster)
            if taught is None:
                log.warning(
                    "the past of %d pools is given up: it took longer than an hour to learn", len(names)
                )
        if taught is not None:
            roster.take_over(taught, past.names)
        for name in names:
            if name in roster.place:
                roster.learnt[roster.place[name]] = True
