"""Storage with kept VMs whose disks are on one shelf, in virtual time; calls take their time, and are refused as a test wants it.

The volumes are the simulation's, which pass the tests of the real drivers (tests/seams/test_storage_drivers.py).
"""

import datetime as dt
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from events.gate import BootOrdered, CopyOrdered, DropOrdered, GrowOrdered, RestoreOrdered
from events.ids import derive
from events.keep import VmCreated
from events.pool import PoolDefined
from events.vm import VmBooted, VmDefined
from events.volume import VolumeCreated
from schemas.copy import CopyKind
from schemas.pool import Pool
from schemas.pool import Storage as Kind
from services.storage.copies.freezing import Still, moving
from services.storage.errors import StorageError
from services.storage.lane import Calls
from services.storage.port import Volumes
from services.storage.volumes import Store, Volume
from services.storage.worker import Pauses, Storage
from tests.rules.one_life import one_life
from tests.rules.waker_host import SIZE, Site
from tests.simulation.clock import pause
from tests.simulation.disks import at_once
from tests.simulation.shelf import Contents, Shelf
from tests.simulation.shelves import ShelfLink

T = TypeVar("T")
MIB = 1 << 20
HOUR = 3600.0


class Scene:
    """A pool of kept VMs with disks on one shelf; calls take their time, and are refused as a test wants it."""

    def __init__(self, directory: Path, vms: int = 1, **pool: Any) -> None:
        self.site = Site()
        self.directory = directory
        self.shelf = Shelf("h1", self.site.desk.clock, {"tiny": Contents(MIB, {})})
        self.seconds: dict[str, float] = {}
        """How long calls of a kind take."""
        self.no: dict[str, deque[StorageError]] = {}
        self.asked: list[str] = []
        self.stores: set[Kind] = set()
        """Storages that were asked for anything."""
        self.under_way = 0
        self.most_under_way = 0
        self.still: Still = moving
        self.calls: Calls = at_once
        self.names = [f"db-{number}" for number in range(vms)]
        now = self.site.desk.clock.now()
        said: dict[str, Any] = {"refresh": "none", **pool}
        defined = Pool("acme", "apps", SIZE, "tiny", kind="kept", **said)
        self.site.desk.write(PoolDefined("acme", "apps", defined))
        for name in self.names:
            self.site.desk.write(
                VmCreated(
                    *("acme", name, "apps", SIZE, "tiny", "lab", "none"), *(8 * MIB, None, False, "kim", now)
                )
            )
            seen = self.shelf.create(Volume("acme", name), 8 * MIB, "tiny")
            self.site.desk.write(
                VolumeCreated("acme", name, "h1", seen.place, "tiny", 8 * MIB, derive("boot"), now)
            )

    def has_disk(self, template: str) -> bool:
        return template == "tiny"

    def has_seed(self, template: str) -> bool:
        return False

    def template_bytes(self, template: str) -> int:
        raise AssertionError(template)

    async def enrol(self, org: str, quota_bytes: int) -> None:
        raise AssertionError((org, quota_bytes))

    def store(self, host: str, storage: Kind) -> Store | None:
        self.stores.add(storage)
        return ShelfLink(self.shelf, self._way)

    def at(self, host: str) -> Volumes | None:
        return None

    async def _way(self, what: str, volume: Volume | None, effect: Callable[[], T]) -> T:
        self.asked.append(what)
        long = what == "export"
        self.under_way += long
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await pause(self.seconds.get(what, 0.01))
        finally:
            self.under_way -= long
        if self.no.get(what):
            raise self.no[what].popleft()
        return effect()

    @asynccontextmanager
    async def storage(self) -> AsyncGenerator[None]:
        desk = self.site.desk
        async with one_life(
            desk,
            "storage",
            lambda ledger, bus: Storage(
                *(ledger, bus, desk.clock, self, Pauses(0, 0)),
                backups=str(self.directory),
                still=self.still,
                calls=self.calls,
            ).work(),
        ):
            yield

    def runs(self, vm: str = "db-0") -> None:
        """The VM runs."""
        now, reservation = self.site.desk.clock.now(), derive("boot", vm)
        begin_by = now + dt.timedelta(seconds=60)
        self.site.order(
            BootOrdered(reservation, vm, "apps", "h1", SIZE, "tiny", derive("r"), "keep", begin_by, 0)
        )
        self.site.desk.write(
            VmDefined("acme", vm, "apps", "h1", SIZE, f"vs-{vm}", "u", "127.0.0.1:21000", reservation)
        )
        self.site.desk.write(VmBooted("acme", vm, "h1", reservation, now, now, 1))

    def copy(self, kind: CopyKind = "snapshot", vm: str = "db-0", name: str = "one") -> None:
        own, place = derive("copy", vm, name), self.shelf.place(Volume("acme", vm))
        self.site.order(CopyOrdered(own, vm, "apps", "h1", place, name, kind, 8 * MIB, derive("r")))

    def drop(self, vm: str = "db-0", name: str = "one") -> None:
        own, place = derive("drop", vm, name), self.shelf.place(Volume("acme", vm))
        self.site.order(DropOrdered(own, vm, "apps", "h1", name, "snapshot", place, "asked", derive("r")))

    def restore(self, kind: CopyKind, place: str) -> None:
        """A new VM shall have the copy's disk."""
        own = derive("restore")
        self.site.order(
            RestoreOrdered(
                *(own, "new", "apps", "h1", "db-0", "one", kind, place, "tiny", 8 * MIB, derive("r"))
            )
        )

    def grow(self, vm: str) -> None:
        own, place = derive("grow", vm), self.shelf.place(Volume("acme", vm))
        self.site.order(GrowOrdered(own, vm, "apps", "h1", place, 16 * MIB, derive("r")))
