"""Storage with a real driver of volumes and a ledger in memory: copies of VM db, and a death of storage at any call of the driver."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from events.bus.ledger import Ledger
from events.bus.permissions import worker
from events.copy import CopyDropped, CopyFailed, CopyMade, CopyRestored, CopyRestoreFailed
from events.fact import Fact
from events.gate import CopyOrdered, DropOrdered, RestoreOrdered
from events.ids import derive
from events.keep import VmCreated
from events.pool import PoolDefined
from events.vm import VmBooted, VmDefined
from events.volume import VolumeCreated
from schemas.copy import CopyKind, DropCause
from schemas.pool import Pool
from schemas.pool import Storage as Kind
from services.storage.copies.freezing import Still, moving
from services.storage.port import Volumes
from services.storage.volumes import Store, Volume
from services.storage.worker import Pauses, Storage
from tests.rules.waker_host import SIZE, Site
from tests.seams.stores import MIB, TEMPLATE, Bench
from tests.support import eventually

SIZE_BYTES = 32 * MIB
OUTCOMES = (CopyMade, CopyFailed, CopyDropped, CopyRestored, CopyRestoreFailed)
SECONDS = 60


class Cut:
    """A driver that goes silent at its n-th call, before it or when it took effect: whoever asked never hears of it."""

    def __init__(self, store: Store, at: int = 0, *, done: bool = False) -> None:
        self._store = store
        self._at = at
        self._done = done
        self.calls: list[str] = []
        self.silent = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)

        async def call(*arguments: object) -> object:
            self.calls.append(name)
            if len(self.calls) != self._at:
                return await real(*arguments)
            if self._done:
                await real(*arguments)
            self.silent.set()
            return await asyncio.Future()

        return call


class CopySite:
    """VM db of a kept pool, with a disk of its own; its letters say what is on it."""

    def __init__(self, bench: Bench, backups: Path | None) -> None:
        self.bench = bench
        self.site = Site()
        self.backups = backups
        self.driver: Store = bench.store
        self.still: Still = moving
        self.volume = bench.volume()
        self.vm = self.volume.name
        self._numbers = 0

    def has_disk(self, template: str) -> bool:
        return template == TEMPLATE

    def has_seed(self, template: str) -> bool:
        return False

    def template_bytes(self, template: str) -> int:
        raise AssertionError(template)

    async def enrol(self, org: str, quota_bytes: int) -> None:
        raise AssertionError((org, quota_bytes))

    def store(self, host: str, storage: Kind) -> Store | None:
        return self.driver if host == "h1" else None

    def at(self, host: str) -> Volumes | None:
        return None

    async def found(self, **pool: Any) -> None:
        """The pool, the VM and its disk are there, with an A on it."""
        kind: Kind = "local" if self.bench.kind == "qcow2" else "ceph"
        now, size = self.site.desk.clock.now(), SIZE
        said: dict[str, Any] = {"refresh": "none", **pool}
        defined = Pool("acme", "apps", size, TEMPLATE, kind="kept", storage=kind, **said)
        self.site.desk.write(PoolDefined("acme", "apps", defined))
        self.site.desk.write(
            VmCreated(
                *("acme", self.vm, "apps", size, TEMPLATE, "cloud-init", "none"),
                *(SIZE_BYTES, None, False, "kim", now),
            )
        )
        seen = await self.bench.store.create(self.volume, SIZE_BYTES, TEMPLATE)
        self.site.desk.write(
            VolumeCreated("acme", self.vm, "h1", seen.place, TEMPLATE, SIZE_BYTES, derive("boot"), now)
        )
        self.bench.write(self.volume, "A", MIB)

    def runs(self, domain: str) -> None:
        """The VM runs, as that domain."""
        reservation, now = self.site.boot(self.vm, number=1), self.site.desk.clock.now()
        self.site.desk.write(
            VmDefined("acme", self.vm, "apps", "h1", SIZE, domain, "u", "127.0.0.1:21000", reservation)
        )
        self.site.desk.write(VmBooted("acme", self.vm, "h1", reservation, now, now, 1))
        self.site.ready(self.vm, reservation)

    def copy(self, name: str, kind: CopyKind = "snapshot") -> str:
        """A copy is ordered; the order's id."""
        own = self._own()
        place = str(self.volume)
        self.site.order(
            CopyOrdered(own, self.vm, "apps", "h1", place, name, kind, SIZE_BYTES, derive("ask", own))
        )
        return own

    def drop(self, name: str, kind: CopyKind = "snapshot", cause: DropCause = "asked") -> str:
        """A copy shall go; the order's id."""
        own = self._own()
        made = next((one for one in self.said(CopyMade) if one.copy == name), None)
        place = made.place if made is not None else ""
        self.site.order(DropOrdered(own, self.vm, "apps", "h1", name, kind, place, cause, derive("ask", own)))
        return own

    def restore(self, name: str, into: Volume | None = None) -> str:
        """The VM's disk, or that of a new VM, shall be as the copy is; the order's id."""
        own = self._own()
        made = next(one for one in self.said(CopyMade) if one.copy == name)
        vm = into.name if into is not None else self.vm
        self.site.order(
            RestoreOrdered(
                *(own, vm, "apps", "h1", self.vm, name, made.kind, made.place, TEMPLATE),
                *(SIZE_BYTES, derive("ask", own)),
            )
        )
        return own

    def said(self, kind: type[Fact]) -> list[Any]:
        return self.site.said(kind)

    def outcomes(self, order: str) -> list[Any]:
        """What was said of the order's end."""
        return [one for kind in OUTCOMES for one in self.said(kind) if one.order == order]

    async def outcome(self, order: str) -> Any:
        """How the order ended."""
        return (await eventually(lambda: self.outcomes(order), SECONDS))[0]

    def seq(self, kind: type[Fact], copy: str) -> int:
        """Where the first such event of the copy stands."""
        return next(one.seq for one in self.site.desk.facts(kind) if getattr(one.fact, "copy", "") == copy)

    async def names(self) -> list[str]:
        """The snapshots that the volume really has."""
        return [one.name for one in await self.bench.store.snapshots(self.volume)]

    @asynccontextmanager
    async def storage(self, driver: Store | None = None) -> AsyncGenerator[None]:
        """One life of storage."""
        self.driver = driver if driver is not None else self.bench.store
        bus = self.site.desk.connect(worker("storage"))
        ledger = Ledger(bus)
        backups = str(self.backups) if self.backups is not None else ""
        working = Storage(
            ledger, bus, self.site.desk.clock, self, Pauses(0, 0), backups=backups, still=self.still
        ).work()
        tasks = [asyncio.create_task(working), asyncio.create_task(ledger.follow())]
        try:
            yield
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await bus.close()

    async def killed_everywhere(self, order: Callable[[], str], most: int = 40) -> list[str]:
        """The same kind of order, again and again: storage dies before and after each call of the driver, and its next life ends it.

        The calls of an undisturbed life are given back.
        """
        for number in range(1, most):
            for done in (False, True):
                cut = Cut(self.bench.again(), number, done=done)
                async with self.storage(cast("Store", cut)):
                    own = order()
                    await eventually(
                        lambda cut=cut, own=own: cut.silent.is_set() or self.outcomes(own), SECONDS
                    )
                if not cut.silent.is_set():
                    return cut.calls
                async with self.storage():
                    await self.outcome(own)
                assert len(self.outcomes(own)) == 1, f"killed at {cut.calls}, {done=}"
        raise AssertionError(f"more than {most} calls for one order")

    def _own(self) -> str:
        self._numbers += 1
        return derive("order", self.vm, self._numbers)
