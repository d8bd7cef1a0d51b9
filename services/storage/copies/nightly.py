"""Backups of each night are asked for, as the pools want them: an event that the gate answers like any request."""

import datetime as dt
import logging
from collections.abc import Iterable
from typing import Final

from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.bus.port import Bus
from events.clock import Clock
from events.copy import CopyDue
from events.ids import derive
from projections.copies.fold import Copies
from projections.deletions.fold import Deletions
from projections.directory.fold import Directory
from projections.fleet.fold import Fleet
from projections.volumes.fold import Volumes
from services.storage.copies.nights import Due, Nights, Sky, look
from services.storage.state import Key

LOOK_SECONDS: Final = 1.0
"""How often the time is looked at, which somebody may have set."""

log = logging.getLogger("virtscale.storage")


class Nightly:
    """Says when a VM's backup of the night is due. A night that storage slept through is not made up for."""

    def __init__(self, ledger: Ledger, bus: Bus, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._pen = Pen(bus, "storage", clock)
        self._bell = ledger.bell()
        self._nights = ledger.fold(Nights)
        self._sky = Sky(
            nights=self._nights,
            copies=ledger.fold(Copies),
            deletions=ledger.fold(Deletions),
            directory=ledger.fold(Directory),
            fleet=ledger.fold(Fleet),
            volumes=ledger.fold(Volumes),
        )

    def open(self) -> Iterable[Key]:
        """Of no VM: what follows from an event is the copying's."""
        return ()

    def has_work(self, key: Key) -> bool:
        """Never."""
        del key
        return False

    async def attend(self, key: Key) -> None:
        """Nothing is left to be done for the VM."""

    async def work(self) -> None:
        """Whatever is due is said, for ever."""
        await self._ledger.live.wait()
        while True:
            seen = self._nights.changes
            due, again = look(self._sky, self._clock.now())
            for one in due:
                await self._say(one)
            if not due:
                await self._wait(seen, again)

    async def _wait(self, seen: int, again: dt.datetime | None) -> None:
        """Something may be due: it is so late, or something happened that a night's backup follows from."""
        while self._nights.changes == seen and (again is None or self._clock.now() < again):
            await self._bell.wait(LOOK_SECONDS if again is not None else None)

    async def _say(self, due: Due) -> None:
        """It is in the ledger and folded. Another life of ours that says the same says it under the same id."""
        fact = CopyDue(
            org=due.org,
            vm=due.vm,
            pool=due.pool,
            copy=due.copy,
            night=due.night,
            attempt=due.attempt,
            due_at=self._clock.now(),
        )
        own = derive("copy.due", due.org, due.vm, due.night.isoformat(), due.attempt)
        log.info("the backup %s of %s/%s is due (try %d)", due.copy, due.org, due.vm, due.attempt)
        ack = await self._pen.record(fact, id=own, cause=None, correlation=own)
        await self._ledger.reach(ack.seq)
