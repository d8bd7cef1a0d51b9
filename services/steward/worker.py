"""The steward at work: what is wanted of kept VMs is planned, told, begun when its time has come, and seen to its end."""

import asyncio
import logging
from typing import Final

from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.bus.port import Bus
from events.clock import Clock
from services.steward.decide import decide
from services.steward.metrics import OPEN, SAID
from services.steward.round import Said
from services.steward.state import State

LOOK_SECONDS: Final = 1.0
"""How often the time is looked at; a minute is what people read in a mail."""

_YIELD: Final = 50  # orgs between which others have their turn

log = logging.getLogger("virtscale.steward")


class Steward:
    """One steward, or two: all that it knows is in the ledger, and the ids of what it says follow from there."""

    def __init__(self, ledger: Ledger, bus: Bus, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._pen = Pen(bus, "steward", clock)
        self._state = State.of(ledger)
        self._bell = ledger.bell()

    async def work(self) -> None:
        """Whatever is due is said, for ever."""
        await self._ledger.live.wait()
        while True:
            news = self._state.touched.news
            if not await self._look():
                await self._wait(news)

    async def _wait(self, news: int) -> None:
        """Something may be to say: it is so late, or something happened since `news`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + LOOK_SECONDS
        while self._state.touched.news == news and (left := until - loop.time()) > 0:
            await self._bell.wait(left)

    async def _look(self) -> bool:
        """Each org had a round; True when anything was said, which the next look goes on from."""
        spoken = False
        orgs = self._state.kept()
        OPEN.set(sum(1 for org in orgs for _ in self._state.calendar.open(org)))
        for place, (org, vms) in enumerate(orgs.items()):
            for said in decide(org, vms, self._state, self._clock.now()):
                await self._record(said)
                spoken = True
            if place % _YIELD == _YIELD - 1:
                await asyncio.sleep(0)
        return spoken

    async def _record(self, said: Said) -> None:
        """The event is in the ledger and folded; of what another steward said in its place, that is."""
        kind = type(said.fact).__name__
        SAID.labels(kind).inc()
        log.info("%s of %s", kind, said.fact.org)
        ack = await self._pen.record(said.fact, id=said.id, cause=said.cause, correlation=said.correlation)
        await self._ledger.reach(ack.seq)
