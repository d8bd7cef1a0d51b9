"""Storage and the end of deleted VMs: their disks and their backups, killed, refused, and late."""

import asyncio
import datetime as dt
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from events.bus.ledger import Ledger
from events.bus.permissions import worker
from events.copy import CopyMade
from events.deletion import BackupsErased, EraseFailed, VmUndefined, VolumeErased
from events.gate import CopyOrdered, EraseOrdered
from events.host import HostFenced, HostRegistered, HostRemoved
from events.ids import derive
from events.vm import VmFoundAwake, VmStopped
from events.volume import VolumeCreated
from schemas.names import PLATFORM
from schemas.pool import Storage as Kind
from services.storage.chores.erasing import LONGEST_PAUSE_SECONDS
from services.storage.copies.backups import MARK
from services.storage.errors import StorageError
from services.storage.volumes import (
    HasClonesError,
    InUseError,
    MissingError,
    Store,
    TooEarlyError,
    Trashed,
    Volume,
)
from services.storage.worker import Pauses, Storage
from tests.rules.desk import play
from tests.rules.leaving import GIB, PLACE, Leaving
from tests.rules.waker_host import SIZE, Site
from tests.simulation.clock import pause

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
        bus = self.site.desk.connect(worker("storage"))
        ledger = Ledger(bus)
        work = Storage(ledger, bus, self.site.desk.clock, self.toy, Pauses(0, 0), backups=self.backups).work()
        tasks = [asyncio.create_task(work), asyncio.create_task(ledger.follow())]
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


def test_a_disk_is_erased_once_its_domain_is_gone_and_not_before() -> None:
    async def scene() -> None:
        here = Scene()
        here.there.schedule()
        async with here.storage():
            order = here.there.erase()
            await pause(100)
            assert here.toy.asked == []
            here.undefined(order)
            await pause(5)
        assert here.toy.asked == ["clear acme.db on h1"]
        (told,) = here.site.said(VolumeErased)
        assert (told.order, told.host, told.volume, told.snapshots) == (order.id, "h1", PLACE, 0)

    play(scene)


def test_a_vm_that_was_found_on_another_host_is_erased_on_both_and_after_neither_has_its_domain() -> None:
    async def scene() -> None:
        here = Scene()
        here.host()
        here.host("h2")
        here.toy.hosts = ["h1", "h2"]
        here.site.desk.write(
            VolumeCreated("acme", "db", "h1", PLACE, "tiny", GIB, derive("boot"), here.now())
        )
        here.site.desk.write(VmFoundAwake("acme", "db", "apps", "h2", SIZE, derive("found"), here.now()))
        here.site.desk.write(VmStopped("acme", "db", "h2", derive("found"), None, "found", "off", here.now()))
        here.there.schedule()
        async with here.storage():
            order = here.there.erase()
            here.undefined(order)
            await pause(100)
            assert here.toy.asked == [], "its domain on h2 may have a disk there"
            here.site.desk.write(VmUndefined("acme", "db", "h2", order.id, here.now()))
            await pause(5)
        assert here.toy.asked == ["clear acme.db on h1", "clear acme.db on h2"]
        assert [told.host for told in here.site.said(VolumeErased)] == ["h1"]

    play(scene)


def test_a_dead_host_on_which_it_was_found_holds_up_no_erasing_elsewhere() -> None:
    async def scene() -> None:
        here = Scene()
        here.host()
        here.host("h2")
        here.site.desk.write(VmFoundAwake("acme", "db", "apps", "h2", SIZE, derive("found"), here.now()))
        here.site.desk.write(HostFenced(PLATFORM, "h2", "kim", "gone", here.now()))
        here.site.desk.write(HostRemoved(PLATFORM, "h2", "kim", "gone", here.now()))
        here.there.schedule()
        async with here.storage():
            here.undefined(here.there.erase())
            await pause(5)
        assert here.toy.asked == ["clear acme.db on h1"]
        assert len(here.site.said(VolumeErased)) == 1

    play(scene)


def test_a_disk_is_not_said_to_be_gone_while_none_is_found_of_all_that_are_known_there() -> None:
    async def scene() -> None:
        here = Scene()
        here.host()
        here.toy.local = True
        for vm in ("db", "web"):
            place, now = f"/volumes/acme.{vm}.qcow2", here.now()
            here.site.desk.write(VolumeCreated("acme", vm, "h1", place, "tiny", GIB, derive("boot", vm), now))
        here.there.schedule()
        async with here.storage():
            here.undefined(here.there.erase())
            await pause(600)
            assert here.toy.asked == []
            assert [told.code for told in here.site.said(EraseFailed)] == ["DisksAway"]
            here.toy.images["web"] = 0  # it is mounted again, and db is gone already
            await pause(600)
        assert here.toy.asked == ["clear acme.db on h1"]
        assert len(here.site.said(VolumeErased)) == 1

    play(scene)


@pytest.mark.parametrize("after_seconds", [0.0, 0.005, 0.015])
def test_the_last_disk_of_a_host_is_gone_when_it_is_not_found(after_seconds: float) -> None:
    async def scene() -> None:
        here = Scene()
        here.host()
        here.toy.local = True
        here.site.desk.write(
            VolumeCreated("acme", "db", "h1", PLACE, "tiny", GIB, derive("boot"), here.now())
        )
        here.there.schedule()
        async with here.storage():
            here.undefined(here.there.erase())
            await pause(after_seconds)
        async with here.storage():
            await pause(5)
        assert len(here.site.said(VolumeErased)) == 1

    play(scene)


def test_an_image_is_not_said_to_be_gone_where_the_cluster_has_no_place_for_its_org() -> None:
    async def scene() -> None:
        here = Scene()
        here.host()
        here.toy.no.extend(MissingError("There is no pool org-acme.", final=True) for _ in range(20))
        here.there.schedule()
        async with here.storage():
            here.undefined(here.there.erase(volume=IMAGE))
            await pause(60)
            assert here.site.said(VolumeErased) == []
            assert [told.code for told in here.site.said(EraseFailed)] == ["DisksAway"]
            await pause(7200)
        assert len(here.site.said(VolumeErased)) == 1

    play(scene)


def test_a_vm_that_never_had_a_host_has_nothing_to_be_erased() -> None:
    async def scene() -> None:
        here = Scene()
        here.there.schedule()
        async with here.storage():
            here.there.erase(host=None, volume=None)
            await pause(5)
        assert here.toy.asked == []
        (told,) = here.site.said(VolumeErased)
        assert (told.host, told.volume) == (None, None)

    play(scene)


def test_snapshots_go_with_the_disk_and_are_counted() -> None:
    async def scene() -> None:
        here = Scene()
        for name in ("one", "two"):
            here.copied(name, PLACE, kind="snapshot")
        here.there.schedule()
        async with here.storage():
            here.undefined(here.there.erase())
            await pause(5)
        assert [told.snapshots for told in here.site.said(VolumeErased)] == [2]

    play(scene)


def test_an_image_goes_through_the_trash_and_what_lay_over_it_is_detached_first() -> None:
    async def scene() -> None:
        here = Scene()
        here.host()
        here.host("h2")
        here.toy.hosts = ["h1", "h2"]
        here.toy.images["db"] = 2
        here.toy.clones = {"copy"}
        here.there.schedule()
        async with here.storage():
            here.undefined(here.there.erase(volume=IMAGE))
            await pause(5)
        assert here.toy.asked == [
            "sweep acme/db",
            "trash acme/db",
            "purge key-db",
            "detach acme/copy",
            "purge key-db",
            "sweep acme/db",
            "clear acme.db on h1",
            "clear acme.db on h2",
        ]
        assert [(told.volume, told.snapshots) for told in here.site.said(VolumeErased)] == [(IMAGE, 2)]

    play(scene)


def test_an_image_that_was_to_stay_in_the_trash_goes_all_the_same() -> None:
    async def scene() -> None:
        here = Scene()
        here.host()
        here.toy.bin["key-db"] = Trashed("key-db", Volume("acme", "db"), LONG_AGO)
        here.toy.bin["key-db-2"] = Trashed("key-db-2", Volume("acme", "db-2"), LONG_AGO)
        here.toy.early = {"key-db"}
        here.there.schedule()
        async with here.storage():
            here.undefined(here.there.erase(volume=IMAGE))
            await pause(5)
        assert list(here.toy.bin) == ["key-db-2"]
        assert len(here.site.said(VolumeErased)) == 1

    play(scene)


def test_what_cannot_be_erased_is_told_once_and_tried_until_it_is_gone() -> None:
    async def scene() -> None:
        here = Scene()
        here.toy.no.extend(InUseError("Somebody has it open.") for _ in range(30))
        here.there.schedule()
        async with here.storage():
            order = here.there.erase()
            here.undefined(order)
            await pause(3600)
        async with here.storage():
            await pause(3 * 3600)
        assert here.toy.no == deque()
        assert [(told.order, told.code) for told in here.site.said(EraseFailed)] == [
            (order.id, "VolumeInUse")
        ]
        assert len(here.site.said(VolumeErased)) == 1
        assert len(here.toy.asked) < 3600 / LONGEST_PAUSE_SECONDS + 35

    play(scene)


def test_a_host_that_is_away_for_a_moment_is_no_news() -> None:
    async def scene() -> None:
        here = Scene()
        here.toy.no.append(StorageError("libvirt restarts.", lost=True))
        here.there.schedule()
        async with here.storage():
            here.undefined(here.there.erase())
            await pause(10)
        assert here.site.said(EraseFailed) == []
        assert len(here.site.said(VolumeErased)) == 1

    play(scene)


@pytest.mark.parametrize("after_seconds", [0.0, 0.005, 0.015, 0.025, 0.035, 0.05])
def test_storage_that_is_killed_at_any_moment_erases_all_the_same(after_seconds: float) -> None:
    async def scene() -> None:
        here = Scene()
        here.host()
        here.toy.images["db"] = 1
        here.there.schedule()
        async with here.storage():
            await pause(1)
            order = here.there.erase(volume=IMAGE)
            here.undefined(order)
            await pause(after_seconds)
        async with here.storage():
            await pause(5)
        assert here.toy.images == {}
        assert here.toy.bin == {}
        assert {told.order for told in here.site.said(VolumeErased)} == {order.id}

    play(scene)


def test_a_host_that_was_removed_takes_its_disks_with_it() -> None:
    async def scene() -> None:
        here = Scene()
        here.host()
        here.toy.hosts = []
        here.there.schedule()
        async with here.storage():
            here.there.erase()
            await pause(5)
            here.site.desk.write(HostFenced(PLATFORM, "h1", "kim", "gone", here.now()))
            await pause(60)
            assert here.site.said(VolumeErased) == []
            assert [told.code for told in here.site.said(EraseFailed)] == ["NoStore"]
            here.site.desk.write(HostRemoved(PLATFORM, "h1", "kim", "gone", here.now()))
            await pause(600)
        assert len(here.site.said(VolumeErased)) == 1

    play(scene)


def test_a_host_that_was_removed_is_not_asked_any_more_though_the_house_names_it_still() -> None:
    async def scene() -> None:
        here = Scene()
        here.host()
        here.toy.no.extend(StorageError("no route", lost=True) for _ in range(10_000))
        here.there.schedule()
        async with here.storage():
            here.there.erase()
            here.site.desk.write(HostFenced(PLATFORM, "h1", "kim", "gone", here.now()))
            await pause(60)
            here.site.desk.write(HostRemoved(PLATFORM, "h1", "kim", "gone", here.now()))
            await pause(600)
        assert len(here.site.said(VolumeErased)) == 1

    play(scene)


def test_all_backups_of_the_vm_go_and_no_others(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "backups", tmp_path / "former" / "acme" / "db"
    own = root / "acme" / "db"
    for directory in (own, elsewhere, root / "acme" / "db-2"):
        directory.mkdir(parents=True)
        (directory / "night.qcow2").write_bytes(b"x")
    (own / "half.qcow2.part").write_bytes(b"x")

    async def scene() -> None:
        here = Scene(root)
        here.copied("night", str(elsewhere / "night.qcow2"))
        here.there.schedule()
        async with here.storage():
            order = here.there.erase_backups()
            await pause(5)
        assert [(told.order, told.backups) for told in here.site.said(BackupsErased)] == [(order.id, 2)]

    play(scene)
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert left == ["backups/acme/db-2/night.qcow2", f"former/{MARK}"]


def test_backups_whose_disk_is_not_mounted_are_not_said_to_be_gone(tmp_path: Path) -> None:
    root = tmp_path / "backups"
    root.mkdir()

    async def scene() -> None:
        here = Scene(root)
        here.copied("night", str(root / "acme" / "db" / "night.qcow2"))
        here.there.schedule()
        async with here.storage():
            here.there.erase_backups()
            await pause(60)
            assert [told.code for told in here.site.said(EraseFailed)] == ["BackupsAway"]
            # Another VM's was written to the empty mount point, by a house that did not look.
            (root / "acme" / "web").mkdir(parents=True)
            await pause(600)
            assert here.site.said(BackupsErased) == []
            (root / MARK).touch()
            await pause(600)
        assert len(here.site.said(BackupsErased)) == 1

    play(scene)


def test_backups_of_a_directory_that_the_house_names_no_more_are_not_said_to_be_gone_while_that_is_away(
    tmp_path: Path,
) -> None:
    former, away = tmp_path / "former", tmp_path / "away"
    night = former / "acme" / "db" / "night.qcow2"
    night.parent.mkdir(parents=True)
    night.write_bytes(b"x")
    former.rename(away)

    async def scene() -> None:
        here = Scene(None)
        here.copied("night", str(night))
        here.there.schedule()
        async with here.storage():
            here.there.erase_backups()
            await pause(600)
            assert here.site.said(BackupsErased) == []
            away.rename(former)
            await pause(600)
        assert len(here.site.said(BackupsErased)) == 1
        assert not night.exists()

    play(scene)


def test_a_vm_whose_host_was_gone_before_is_erased_all_the_same() -> None:
    async def scene() -> None:
        here = Scene()
        here.host()
        here.toy.hosts = []
        here.site.desk.write(HostRemoved(PLATFORM, "h1", "kim", "gone", here.now()))
        here.there.schedule()
        async with here.storage():
            here.there.erase()
            await pause(60)
        assert len(here.site.said(VolumeErased)) == 1

    play(scene)
