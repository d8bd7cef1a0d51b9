"""What storage says of copies: each outcome is in the ledger, and folded here, before anything else is done."""

import datetime as dt
from dataclasses import dataclass
from typing import Protocol

from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.bus.port import Bus
from events.clock import Clock, machine
from events.copy import CopyDropped, CopyFailed, CopyMade, CopyRestored, CopyRestoreFailed
from events.fact import Fact
from events.gate import CopyOrdered, DropOrdered, RestoreOrdered
from events.ids import derive
from schemas.names import shorten
from services.storage.errors import StorageError
from services.storage.volumes import Seen


@dataclass(frozen=True, slots=True)
class Whole:
    """A copy that exists."""

    place: str
    disk_bytes: int
    size_bytes: int
    """What it counts."""
    sha256: str | None
    taken_at: dt.datetime


class _Ordered(Protocol):
    """What an outcome names of its order."""

    @property
    def id(self) -> str: ...

    @property
    def request(self) -> str: ...


class CopyOutcomes:
    """Storage's voice about copies. Ids have the moment in them: what two lives saw are two events, and the second folds to nothing."""

    def __init__(self, ledger: Ledger, bus: Bus, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._pen = Pen(bus, "storage", clock)

    async def made(self, org: str, order: CopyOrdered, whole: Whole) -> None:
        """The copy is whole."""
        now = self._clock.now()
        fact = CopyMade(
            org=org,
            vm=order.vm,
            host=order.host,
            copy=order.copy,
            kind=order.kind,
            order=order.id,
            place=whole.place,
            disk_bytes=whole.disk_bytes,
            size_bytes=whole.size_bytes,
            sha256=whole.sha256,
            # The host's clock said when it was taken.
            taken_at=whole.taken_at + (now - machine(self._clock).now()),
            made_at=now,
        )
        await self._record(fact, "copy.made", order, now)

    async def failed(self, org: str, order: CopyOrdered, error: StorageError) -> None:
        """There is no such copy."""
        now = self._clock.now()
        fact = CopyFailed(
            org=org,
            vm=order.vm,
            host=order.host,
            copy=order.copy,
            kind=order.kind,
            order=order.id,
            code=error.code,
            text=shorten(str(error)),
            observed_at=now,
        )
        await self._record(fact, "copy.failed", order, now)

    async def dropped(self, org: str, order: DropOrdered) -> None:
        """The copy is gone."""
        now = self._clock.now()
        fact = CopyDropped(
            org=org,
            vm=order.vm,
            host=order.host,
            copy=order.copy,
            kind=order.kind,
            order=order.id,
            cause=order.cause,
            dropped_at=now,
        )
        await self._record(fact, "copy.dropped", order, now)

    async def restored(self, org: str, order: RestoreOrdered, seen: Seen) -> None:
        """The VM's disk is as the copy was."""
        now = self._clock.now()
        fact = CopyRestored(
            org=org,
            vm=order.vm,
            host=order.host,
            of=order.of,
            copy=order.copy,
            order=order.id,
            volume=seen.place,
            template=order.template,
            size_bytes=seen.size_bytes,
            restored_at=now,
        )
        await self._record(fact, "copy.restored", order, now)

    async def restore_failed(self, org: str, order: RestoreOrdered, error: StorageError) -> None:
        """The VM's disk is as it was."""
        now = self._clock.now()
        fact = CopyRestoreFailed(
            org=org,
            vm=order.vm,
            host=order.host,
            of=order.of,
            copy=order.copy,
            order=order.id,
            code=error.code,
            text=shorten(str(error)),
            observed_at=now,
        )
        await self._record(fact, "copy.restore-failed", order, now)

    async def _record(self, fact: Fact, name: str, order: _Ordered, now: dt.datetime) -> None:
        own = derive(order.id, name, now.isoformat())
        ack = await self._pen.record(fact, id=own, cause=order.id, correlation=order.request)
        await self._ledger.reach(ack.seq)
