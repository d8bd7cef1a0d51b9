"""What storage says: each outcome is in the ledger, and folded here, before anything else is done."""

import datetime as dt

from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.bus.port import Bus
from events.clock import Clock
from events.fact import Fact
from events.gate import AdoptOrdered, BootOrdered, EraseOrdered, GrowOrdered, RebootOrdered
from events.ids import derive
from events.volume import (
    SnapshotFailed,
    SnapshotTaken,
    VolumeCreated,
    VolumeFailed,
    VolumeGrowFailed,
    VolumeGrown,
    VolumeReleased,
)
from projections.fleet.fold import Vm
from schemas.names import shorten
from services.storage.errors import StorageError
from services.storage.port import Look, Made


class Outcomes:
    """Storage's voice. Ids have the moment in them: what two lives saw are two events, and the second folds to nothing."""

    def __init__(self, ledger: Ledger, bus: Bus, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._pen = Pen(bus, "storage", clock)

    async def created(self, vm: Vm, order: BootOrdered, made: Made) -> None:
        """The VM has its disk."""
        now = self._clock.now()
        fact = VolumeCreated(
            org=vm.org,
            vm=vm.name,
            host=order.host,
            volume=made.place,
            template=order.template,
            size_bytes=made.size_bytes,
            order=order.id,
            created_at=now,
        )
        await self._record(fact, "volume.created", vm, now, order)

    async def released(self, vm: Vm, order: BootOrdered | RebootOrdered, volume: str) -> None:
        """Nobody else holds the disk, and the order's domain may start from it."""
        now = self._clock.now()
        fact = VolumeReleased(
            org=vm.org, vm=vm.name, host=order.host, volume=volume, order=order.id, released_at=now
        )
        await self._record(fact, "volume.released", vm, now, order)

    async def volume_failed(self, vm: Vm, order: BootOrdered | RebootOrdered, code: str, text: str) -> None:
        """The order gets no disk."""
        now = self._clock.now()
        fact = VolumeFailed(
            org=vm.org,
            vm=vm.name,
            host=order.host,
            order=order.id,
            code=code,
            text=shorten(text),
            observed_at=now,
        )
        await self._record(fact, "volume.failed", vm, now, order)

    async def grown(self, order: GrowOrdered, org: str, size_bytes: int) -> None:
        """The disk has so many bytes."""
        now = self._clock.now()
        fact = VolumeGrown(
            org=org,
            vm=order.vm,
            host=order.host,
            volume=order.volume,
            order=order.id,
            size_bytes=size_bytes,
            grown_at=now,
        )
        await self._of_growth(fact, "volume.grown", order, now)

    async def grow_failed(self, order: GrowOrdered, org: str, size_bytes: int, error: StorageError) -> None:
        """The disk has as many bytes as before."""
        now = self._clock.now()
        fact = VolumeGrowFailed(
            org=org,
            vm=order.vm,
            host=order.host,
            volume=order.volume,
            order=order.id,
            size_bytes=size_bytes,
            code=error.code,
            text=shorten(str(error)),
            observed_at=now,
        )
        await self._of_growth(fact, "volume.grow-failed", order, now)

    async def _of_growth(
        self, fact: VolumeGrown | VolumeGrowFailed, name: str, order: GrowOrdered, now: dt.datetime
    ) -> None:
        own = derive(order.id, name, fact.org, order.vm, now.isoformat())
        ack = await self._pen.record(fact, id=own, cause=order.id, correlation=order.request)
        await self._ledger.reach(ack.seq)

    async def taken(self, vm: Vm, asleep_since: int, snapshot: str, look: Look) -> None:
        """The disk is pinned as it was when the VM fell asleep."""
        now = self._clock.now()
        fact = SnapshotTaken(
            org=vm.org,
            vm=vm.name,
            host=vm.host,
            snapshot=snapshot,
            layers=look.layers,
            asleep_since=asleep_since,
            taken_at=now,
        )
        await self._record(fact, "snapshot.taken", vm, now, None)

    async def snapshot_failed(self, vm: Vm, asleep_since: int, code: str, text: str) -> None:
        """The disk is not pinned in this sleep."""
        now = self._clock.now()
        fact = SnapshotFailed(
            org=vm.org,
            vm=vm.name,
            host=vm.host,
            asleep_since=asleep_since,
            code=code,
            text=shorten(text),
            observed_at=now,
        )
        await self._record(fact, "snapshot.failed", vm, now, None)

    async def ended(
        self, fact: Fact, name: str, order: EraseOrdered | AdoptOrdered, now: dt.datetime
    ) -> None:
        """The order has this outcome."""
        own = derive(order.id, name, fact.org, order.vm, now.isoformat())
        ack = await self._pen.record(fact, id=own, cause=order.id, correlation=order.request)
        await self._ledger.reach(ack.seq)

    async def _record(
        self, fact: Fact, name: str, vm: Vm, now: dt.datetime, order: BootOrdered | RebootOrdered | None
    ) -> None:
        cause = order.id if order is not None else None
        own = derive(cause or "storage", name, vm.org, vm.name, now.isoformat())
        asked = order.request if order is not None else vm.request
        ack = await self._pen.record(fact, id=own, cause=cause, correlation=asked or own)
        await self._ledger.reach(ack.seq)
