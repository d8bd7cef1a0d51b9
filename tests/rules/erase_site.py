"""Storage at the end of a kept VM, in virtual time: toys for the hosts and the cluster, which say what they were asked."""

import datetime as dt
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from events.copy import CopyMade
from events.deletion import VmUndefined
from events.gate import CopyOrdered, EraseOrdered
from events.host import HostRegistered
from events.ids import derive
from schemas.names import PLATFORM
from schemas.pool import Storage as Kind
from services.storage.errors import StorageError
from services.storage.volumes import (
    HasClonesError,
    Store,
    TooEarlyError,
    Trashed,
    Volume,
)
from services.storage.worker import Pauses, Storage
from tests.rules.leaving import GIB, PLACE, Leaving
from tests.rules.one_life import one_life
from tests.rules.waker_host import Site
from tests.simulation.clock import pause
from tests.simulation.disks import at_once

IMAGE = "org-acme/db"
LONG_AGO = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class Toy:
    """Hosts with directories, and a cluster: what they were asked, and what they refuse next."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.no: deque[StorageError] = deque()
        self.hosts = ["h1"]
        self.local = False
        """Whether the hosts' own directories can be looked into."""
        self.images: dict[str, int] = {}
        """Images of the cluster, with how many snapshots each has."""
        self.bin: dict[str, Trashed] = {}
        self.early: set[str] = set()
        self.clones: set[str] = set()
        """What lies over the image's snapshots."""
        self.snapshot_names = ("one", "two")

    def has_disk(self, template: str) -> bool:
        return template == "tiny"

    def has_seed(self, template: str) -> bool:
        return False

    def template_bytes(self, template: str) -> int:
        return GIB

    async def enrol(self, org: str, quota_bytes: int) -> None:
        raise AssertionError((org, quota_bytes))

    def store(self, host: str, storage: Kind) -> Store | None:
        return cast("Store", self) if (storage == "ceph" or self.local) and host in self.hosts else None

    def at(self, host: str) -> Any:
        return _Directory(self, host) if host in self.hosts else None

    async def sweep(self, volume: Volume) -> None:
        await self.ask(f"sweep {volume}")

    async def look(self, volume: Volume) -> object | None:
        return volume if volume.name in self.images else None

    async def snapshots(self, volume: Volume) -> tuple[str, ...]:
        return self.snapshot_names[: self.images[volume.name]]

    async def trash(self, volume: Volume, guard_seconds: int) -> Trashed:
        assert guard_seconds == 0
        await self.ask(f"trash {volume}")
        del self.images[volume.name]
        self.bin[f"key-{volume.name}"] = put = Trashed(f"key-{volume.name}", volume, LONG_AGO)
        return put

    async def trashed(self, org: str) -> tuple[Trashed, ...]:
        assert org == "acme"
        return tuple(self.bin.values())

    async def recover(self, trashed: Trashed) -> None:
        await self.ask(f"recover {trashed.key}")
        self.early.discard(trashed.key)
        del self.bin[trashed.key]
        self.images[trashed.volume.name] = 0

    async def purge(self, trashed: Trashed) -> None:
        await self.ask(f"purge {trashed.key}")
        if trashed.key in self.early:
            raise TooEarlyError("It stays.")
        if self.clones:
            raise HasClonesError("They lie over it.", tuple(Volume("acme", one) for one in self.clones))
        del self.bin[trashed.key]

    async def detach(self, volume: Volume) -> None:
        await self.ask(f"detach {volume}")
        self.clones.discard(volume.name)

    async def ask(self, what: str) -> None:
        self.asked.append(what)
        await pause(0.01)
        if self.no:
            raise self.no.popleft()


class _Directory:
    def __init__(self, toy: Toy, host: str) -> None:
        self._toy = toy
        self._host = host

    async def clear(self, org: str, vm: str) -> None:
        await self._toy.ask(f"clear {org}.{vm} on {self._host}")


class Scene:
    """A desk whose org had VM db."""

    def __init__(self, backups: Path | None = None) -> None:
        self.site = Site()
        self.there = Leaving(self.site)
        self.toy = Toy()
        self.backups = str(backups) if backups is not None else ""
        self.there.keep()

    @asynccontextmanager
    async def storage(self) -> AsyncGenerator[None]:
        """One life of storage."""
        desk = self.site.desk
        async with one_life(
            desk,
            "storage",
            lambda ledger, bus: Storage(
                *(ledger, bus, desk.clock, self.toy, Pauses(0, 0)), backups=self.backups, calls=at_once
            ).work(),
        ):
            yield

    def host(self, name: str = "h1") -> None:
        self.site.desk.write(
            HostRegistered(PLATFORM, name, "test:///default", 9_000_000, "test", 4, 4096, self.now())
        )

    def now(self) -> dt.datetime:
        return self.site.desk.clock.now()

    def undefined(self, order: EraseOrdered) -> None:
        """The waker says that the domain is gone."""
        self.site.desk.write(VmUndefined("acme", "db", "h1", order.id, self.now()))

    def copied(self, name: str, place: str, kind: Any = "backup") -> None:
        """There is a copy."""
        own = derive("copy", name)
        self.site.order(CopyOrdered(own, "db", "apps", "h1", PLACE, name, kind, GIB, derive("r")))
        self.site.desk.write(
            CopyMade("acme", "db", "h1", name, kind, own, place, GIB, 5, None, self.now(), self.now())
        )
