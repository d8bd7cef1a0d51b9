"""Storage and the end of deleted VMs: their disks and their backups, killed, refused, and late."""

from collections import deque
from pathlib import Path

import pytest

from events.deletion import BackupsErased, EraseFailed, VmUndefined, VolumeErased
from events.host import HostFenced, HostRemoved
from events.ids import derive
from events.vm import VmFoundAwake, VmStopped
from events.volume import VolumeCreated
from schemas.names import PLATFORM
from services.storage.chores.erasing import LONGEST_PAUSE_SECONDS
from services.storage.copies.backups import MARK
from services.storage.errors import StorageError
from services.storage.volumes import (
    InUseError,
    Trashed,
    Volume,
)
from tests.rules.desk import play
from tests.rules.erase_site import IMAGE, LONG_AGO, Scene
from tests.rules.leaving import GIB, PLACE
from tests.rules.waker_host import SIZE
from tests.simulation.clock import pause


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
    for beside in ("half.qcow2.part", "night.qcow2.order", "half.qcow2.order"):
        (own / beside).write_bytes(b"x")

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
