"""A desk with a kept VM whose disk is a file on its host or an image in a cluster, and what somebody made of either behind the ledger."""

import datetime as dt
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from events.drift import VolumeDrifted
from events.gate import BootOrdered
from events.host import HostRegistered
from events.ids import derive
from events.keep import VmCreated
from events.pool import PoolDefined
from events.vm import VmBooted, VmStopped
from events.volume import VolumeAdopted, VolumeCreated
from schemas.names import PLATFORM
from schemas.pool import Pool
from schemas.pool import Storage as Kind
from services.storage.ceph.survey import Images
from services.storage.errors import StorageError
from services.storage.files.survey import Lying, Survey, newest
from services.storage.port import Hosts
from services.storage.volumes import Seen, Volume
from services.storage.worker import Pauses, Storage
from tests.rules.one_life import one_life
from tests.rules.waker_host import SIZE, Site
from tests.simulation.clock import pause

MINUTE = 61
GIB = 2**30
FILE = "acme.db.qcow2"
WHERE = f"/volumes/{FILE}"
IMAGE = "org-acme/db"
BASE = "/house/templates/tiny/disk.qcow2"
ORIGIN = "templates/tiny@origin"
GOOD = Lying(GIB, BASE)
GOOD_IMAGE = Lying(GIB, ORIGIN)


class Shelf:
    """A directory of files that a host has, and nothing else."""

    def __init__(self) -> None:
        self.files: dict[str, Lying] = {FILE: GOOD}
        self.away = False
        self.asked: list[str] = []

    async def survey(self) -> Survey:
        await pause(0.01)
        if self.away:
            raise StorageError("The directory is not mounted.")
        return Survey(dict(self.files), newest(self.files))

    async def look(self, volume: Volume) -> Seen | None:
        lying = self.files.get(f"{volume.org}.{volume.name}.qcow2")
        return None if lying is None else Seen(WHERE, lying.size_bytes or 0, lying.parent, in_use=False)

    async def create(self, volume: Volume, size_bytes: int, template: str | None = None) -> Seen:
        self.asked.append(f"create {volume}")
        self.files[FILE] = Lying(size_bytes, BASE)
        return Seen(WHERE, size_bytes, template, in_use=False)

    async def claim(self, volume: Volume, order: str) -> bool:
        return True

    async def close(self) -> None:
        return None


class Vault:
    """A cluster of images that an org has, and nothing else."""

    def __init__(self) -> None:
        self.images: dict[str, Lying] = {"db": GOOD_IMAGE}
        self.trash: set[str] = set()
        self.away = ""
        self.surveys = 0
        self.asked: list[str] = []

    async def survey(self, org: str, wanted: Iterable[str]) -> Images:
        self.surveys += 1
        await pause(0.01)
        if self.away:
            raise StorageError(self.away, lost=self.away == "lost")
        assert org == "acme"
        names = frozenset(self.images)
        lying = {name: self.images[name] for name in wanted if name in self.images}
        return Images(names, lying, frozenset(self.trash))

    async def look(self, volume: Volume) -> Seen | None:
        found = self.images.get(volume.name)
        return None if found is None else Seen(IMAGE, found.size_bytes or 0, found.parent, in_use=False)

    async def create(self, volume: Volume, size_bytes: int, template: str | None = None) -> Seen:
        self.asked.append(f"create {volume}")
        self.images[volume.name] = GOOD_IMAGE
        return Seen(IMAGE, size_bytes, ORIGIN, in_use=False)

    async def claim(self, volume: Volume, order: str) -> bool:
        return True

    async def release(self, volume: Volume) -> None:
        return None

    async def source(self, volume: Volume) -> None:
        return None

    async def close(self) -> None:
        return None


class Places:
    """One host with a shelf, and a cluster."""

    def __init__(self, *, has_cluster: bool) -> None:
        self.shelf = Shelf()
        self.vault = Vault()
        self.has_cluster = has_cluster

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)

    def has_disk(self, template: str) -> bool:
        return template == "tiny"

    def has_seed(self, template: str) -> bool:
        return template == "seeded"

    def at(self, host: str) -> Any:
        return self.shelf if host == "h1" else None

    def store(self, host: str, storage: str) -> Any:
        return (self.shelf if storage == "local" else self.vault) if host in {"h1", "h2"} else None

    async def enrol(self, org: str, quota_bytes: int) -> None:
        return None

    async def images(self, org: str, wanted: Iterable[str]) -> Images:
        return await self.vault.survey(org, wanted)


class Scene:
    """A desk with a kept VM, db, which ran and is off; its disk has a GiB."""

    def __init__(self, *, ran: bool = True, booted: bool = True, storage: Kind = "local") -> None:
        self.site = Site()
        self.places = Places(has_cluster=storage == "ceph")
        self.shelf, self.vault = self.places.shelf, self.places.vault
        desk = self.site.desk
        now = desk.clock.now()
        desk.write(HostRegistered(PLATFORM, "h1", "test:///default", 1, "test", 4, 4096, now))
        desk.write(
            PoolDefined(
                "acme",
                "apps",
                Pool("acme", "apps", SIZE, "tiny", kind="kept", disk_bytes=GIB, storage=storage),
            )
        )
        desk.write(VmCreated("acme", "db", "apps", SIZE, "tiny", "lab", "http", GIB, None, False, "ann", now))
        where = IMAGE if storage == "ceph" else WHERE
        if not booted:
            own = derive("adopt")
            desk.write(VolumeAdopted("acme", "db", "h1", own, "/old.qcow2", where, "tiny", GIB, now))
            return
        own = self.boot()
        desk.write(VolumeCreated("acme", "db", "h1", where, "tiny", GIB, own, now))
        if ran:
            desk.write(VmBooted("acme", "db", "h1", own, now, now, 1))
        desk.write(VmStopped("acme", "db", "h1", own, None, "ordered", "off", now))

    def boot(self, number: int = 1, host: str = "h1") -> str:
        own = derive("boot", number)
        by = self.site.desk.clock.now() + dt.timedelta(seconds=180)
        self.site.order(BootOrdered(own, "db", "apps", host, SIZE, "tiny", derive("r"), "keep", by, 180))
        return own

    @asynccontextmanager
    async def storage(self) -> AsyncGenerator[None]:
        hosts: Hosts = self.places  # pyright: ignore[reportAssignmentType] - what is not there is not asked for
        desk = self.site.desk
        async with one_life(
            desk,
            "storage",
            lambda ledger, bus: Storage(ledger, bus, desk.clock, hosts, Pauses(0.0, 0.0)).work(),
        ):
            yield

    def drifted(self) -> list[tuple[str, str, str, str, int | None]]:
        told = self.site.said(VolumeDrifted)
        return [(one.what, one.expected, one.found, one.repair, one.size_bytes) for one in told]
