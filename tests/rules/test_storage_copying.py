"""Storage at work on copies, in virtual time: nobody waits for a backup, what is refused is tried again, and nights are asked for."""

import asyncio
import datetime as dt
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from events.copy import CopyDropped, CopyDue, CopyFailed, CopyMade, CopyRestoreFailed
from events.gate import DropOrdered
from events.host import HostFenced, HostRegistered, HostRemoved
from events.ids import derive
from events.pool import PoolDefined
from events.volume import VolumeGrown
from schemas.copy import CopyKind
from schemas.pool import Pool
from services.storage.copies.backups import MARK
from services.storage.errors import StorageError
from services.storage.volumes import InUseError, Volume
from tests.rules.desk import play
from tests.rules.shelf_site import HOUR, MIB, Scene
from tests.rules.waker_host import SIZE
from tests.simulation.clock import pause
from tests.simulation.disks import at_once

T = TypeVar("T")


def test_nobody_waits_for_a_backup_neither_another_vm_nor_its_own(tmp_path: Path) -> None:
    async def scene() -> None:
        here = Scene(tmp_path, vms=2)
        here.seconds["export"] = HOUR
        async with here.storage():
            here.copy("backup")
            await pause(60)
            for vm in here.names:
                here.grow(vm)
            await pause(5)
            assert {one.vm for one in here.site.said(VolumeGrown)} == set(here.names)
            assert here.site.said(CopyMade) == []
            await pause(HOUR)
        (made,) = here.site.said(CopyMade)
        assert made.disk_bytes == 8 * MIB, "it is the disk of the moment at which it was asked for"
        assert here.shelf.snapshots(Volume("acme", "db-0")) == ()

    play(scene)


def test_a_directory_of_backups_that_hangs_keeps_backups_waiting_and_nothing_else(tmp_path: Path) -> None:
    async def scene() -> None:
        here = Scene(tmp_path, vms=2)
        back = asyncio.Event()

        async def hangs(what: str, call: Callable[[], T]) -> T:
            await back.wait()
            return await at_once(what, call)

        here.calls = hangs
        async with here.storage():
            here.copy("backup")
            await pause(60)
            here.grow("db-1")
            await pause(5)
            assert [one.vm for one in here.site.said(VolumeGrown)] == ["db-1"]
            assert here.site.said(CopyMade) == []
            back.set()
            await pause(5)
            assert len(here.site.said(CopyMade)) == 1

    play(scene)


def test_of_one_host_two_disks_are_read_whole_at_a_time_and_all_in_the_end(tmp_path: Path) -> None:
    async def scene() -> None:
        here = Scene(tmp_path, vms=7)
        here.seconds["export"] = 600
        async with here.storage():
            for vm in here.names:
                here.copy("backup", vm)
            await pause(599)
            taken = [vm for vm in here.names if here.shelf.snapshots(Volume("acme", vm))]
            assert len(taken) == 2, "who waits has no snapshot yet, which would cost room"
            await pause(4 * 600)
        assert len(here.site.said(CopyMade)) == 7
        assert here.most_under_way == 2

    play(scene)


@pytest.mark.parametrize(("kind", "call"), [("snapshot", "snapshot"), ("backup", "export")])
def test_what_a_host_refuses_is_tried_three_times_and_nothing_is_left_of_it(
    tmp_path: Path, kind: CopyKind, call: str
) -> None:
    async def scene() -> None:
        here = Scene(tmp_path)
        here.no[call] = deque([StorageError("disk full")] * 3)
        async with here.storage():
            here.copy(kind)
            await pause(60)
        (failed,) = here.site.said(CopyFailed)
        assert (failed.code, failed.text) == ("Storage", "disk full")
        assert here.asked.count(call) == 3
        assert here.shelf.snapshots(Volume("acme", "db-0")) == ()
        assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.name != MARK] == []

    play(scene)


def test_copies_are_made_where_the_disk_lies_whatever_its_pool_says_since(tmp_path: Path) -> None:
    async def scene() -> None:
        here = Scene(tmp_path)
        anew = Pool("acme", "apps", SIZE, "tiny", kind="kept", refresh="none", storage="ceph")
        here.site.desk.write(PoolDefined("acme", "apps", anew))
        async with here.storage():
            # What compares disks with the ledger asks for directories alone.
            here.copy(name="one")
            here.copy("backup", name="two")
            await pause(30)
            here.drop(name="one")
            await pause(30)
        assert len(here.site.said(CopyMade)) == 2
        assert len(here.site.said(CopyDropped)) == 1
        assert here.stores == {"local"}

    play(scene)


def test_a_file_of_somebody_elses_is_taken_for_no_backup_and_stays(tmp_path: Path) -> None:
    async def scene() -> None:
        here = Scene(tmp_path)
        file = tmp_path / "acme" / "db-0" / "one.qcow2"
        file.parent.mkdir(parents=True)
        file.write_text("of a house of before")
        async with here.storage():
            here.copy("backup")
            await pause(30)
        assert [one.code for one in here.site.said(CopyFailed)] == ["BackupInTheWay"]
        assert file.read_text() == "of a house of before"
        assert list(file.parent.iterdir()) == [file]
        assert here.shelf.snapshots(Volume("acme", "db-0")) == ()

    play(scene)


def test_a_snapshot_is_not_said_to_be_gone_while_its_disk_is_not_to_be_found(tmp_path: Path) -> None:
    async def scene() -> None:
        here = Scene(tmp_path)
        db = Volume("acme", "db-0")
        async with here.storage():
            here.copy()
            await pause(5)
            away = here.shelf.volumes.pop(db)
            here.drop()
            await pause(600)
            assert here.site.said(CopyDropped) == []
            here.shelf.volumes[db] = away
            await pause(600)
        assert len(here.site.said(CopyDropped)) == 1
        assert here.shelf.snapshots(db) == ()

    play(scene)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_disk_of_somebody_elses_stays_also_when_storage_starts_after_the_restore_was_ordered(
    tmp_path: Path, *, damaged: bool
) -> None:
    async def scene() -> None:
        here = Scene(tmp_path)
        async with here.storage():
            here.copy("backup")
            await pause(5)
        (made,) = here.site.said(CopyMade)
        if damaged:
            Path(made.place).write_bytes(b"another")
        new = Volume("acme", "new")
        here.shelf.create(new, 8 * MIB, None)
        here.shelf.write(new, 0, "theirs")
        here.restore("backup", made.place)
        async with here.storage():
            await pause(60)
        assert [one.code for one in here.site.said(CopyRestoreFailed)] == ["OtherVolume"]
        assert here.shelf.volumes[new].now.at(0) == "theirs"
        assert here.shelf.binned == {}

    play(scene)


def test_of_a_restore_that_is_given_up_nothing_is_left_and_what_others_put_into_the_trash_stays(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        here = Scene(tmp_path)
        new = Volume("acme", "new")
        here.shelf.create(new, 8 * MIB, None)
        theirs = here.shelf.trash(new, 0)
        here.no["detach"] = deque([StorageError("disk full")] * 3)
        async with here.storage():
            here.copy()
            await pause(5)
            here.restore("snapshot", here.shelf.place(Volume("acme", "db-0")))
            await pause(60)
        assert [one.text for one in here.site.said(CopyRestoreFailed)] == ["disk full"]
        assert here.shelf.look(new) is None
        assert here.shelf.claims == {}
        assert list(here.shelf.binned) == [theirs.key]
        assert "trash" not in here.asked, "whoever died between it and the purge would leave it there"

    play(scene)


@pytest.mark.parametrize("marked", [True, False])
def test_no_backup_is_written_or_said_to_be_gone_while_their_disk_is_not_mounted(
    tmp_path: Path, *, marked: bool
) -> None:
    root, away = tmp_path / "mnt", tmp_path / "away"

    async def scene() -> None:
        here = Scene(root)
        async with here.storage():
            here.copy("backup")
            await pause(5)
            (made,) = here.site.said(CopyMade)
            if not marked:  # a house of before
                (root / MARK).unlink()
            root.rename(away)
            root.mkdir()
            here.copy("backup", name="two")
            await pause(30)
            assert [one.code for one in here.site.said(CopyFailed)] == ["BackupsAway"]
            own, place = derive("drop"), made.place
            here.site.order(
                DropOrdered(own, "db-0", "apps", "h1", "one", "backup", place, "asked", derive("r"))
            )
            await pause(600)
            assert here.site.said(CopyDropped) == []
            assert list(root.iterdir()) == []
            root.rmdir()
            away.rename(root)
            await pause(600)
        assert [one.copy for one in here.site.said(CopyDropped)] == ["one"]
        assert [path.name for path in root.rglob("*") if path.is_file()] == [MARK]

    play(scene)


def test_a_host_that_is_away_is_waited_for(tmp_path: Path) -> None:
    async def scene() -> None:
        here = Scene(tmp_path)
        here.no["snapshot"] = deque([StorageError("away", lost=True)] * 30)
        async with here.storage():
            here.copy()
            await pause(300)
        assert len(here.site.said(CopyMade)) == 1

    play(scene)


def test_a_disk_that_somebody_who_died_is_believed_to_have_open_is_waited_for_and_not_for_ever(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        here = Scene(tmp_path)
        here.no["snapshot"] = deque([InUseError("somebody has it open")] * 200)
        async with here.storage():
            here.copy()
            await pause(40)
            assert here.site.said(CopyFailed) == []
            await pause(120)
        assert [one.code for one in here.site.said(CopyFailed)] == ["VolumeInUse"]

    play(scene)


def test_a_copy_that_shall_go_is_tried_to_be_removed_until_it_is_gone(tmp_path: Path) -> None:
    async def scene() -> None:
        here = Scene(tmp_path)
        async with here.storage():
            here.copy()
            await pause(5)
            here.no["forget"] = deque([StorageError("no", final=True)] * 25)
            here.drop()
            await pause(HOUR)
            assert here.site.said(CopyDropped) == []
            await pause(2 * HOUR)
        assert len(here.site.said(CopyDropped)) == 1
        assert here.shelf.snapshots(Volume("acme", "db-0")) == ()

    play(scene)


def test_a_host_that_is_declared_dead_is_waited_for_and_one_that_is_removed_takes_its_copies_along(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        here = Scene(tmp_path)
        write, now = here.site.desk.write, here.site.desk.clock.now()
        write(HostRegistered("platform", "h1", "test:///default", 1, "test", 4, 4096, now))
        async with here.storage():
            here.copy(name="kept")
            await pause(5)
            here.no["snapshot"] = deque([StorageError("away", lost=True)] * 10_000)
            here.no["forget"] = deque([StorageError("away", lost=True)] * 10_000)
            here.copy()
            await pause(30)
            assert here.site.said(CopyFailed) == []
            write(HostFenced("platform", "h1", "kim", "it burnt", now))
            here.drop(name="kept")
            await pause(30)
            assert here.site.said(CopyFailed) == here.site.said(CopyDropped) == [], "it may come back"
            write(HostRemoved("platform", "h1", "kim", "it burnt", now))
            await pause(600)
        assert [one.code for one in here.site.said(CopyFailed)] == ["HostGone"]
        assert len(here.site.said(CopyDropped)) == 1

    play(scene)


@pytest.mark.parametrize(
    ("refresh", "awake", "stands"), [("agent", True, 1), ("none", True, 0), ("agent", False, 0)]
)
def test_a_guest_stands_still_for_its_snapshot_where_it_runs_and_has_an_agent_and_moves_again_whatever_comes(
    tmp_path: Path, refresh: str, stands: int, *, awake: bool
) -> None:
    async def scene() -> None:
        here, seen = Scene(tmp_path, refresh=refresh), list[str]()

        @asynccontextmanager
        async def still(host: str, domain: str) -> AsyncGenerator[bool]:
            assert (host, domain) == ("h1", "vs-db-0")
            seen.append("stands")
            try:
                yield True
            finally:
                seen.append(f"moves after {here.asked[-1]}")

        here.still = still
        here.no["snapshot"] = deque([StorageError("no")])
        async with here.storage():
            if awake:
                here.runs()
            here.copy()
            await pause(30)
        assert len(here.site.said(CopyMade)) == 1
        assert seen == ["stands", "moves after snapshot"] * 2 * stands

    play(scene)


def test_the_night_is_asked_for_when_the_window_opens_and_three_times_if_nobody_answers(
    tmp_path: Path,
) -> None:
    async def scene() -> None:
        here = Scene(tmp_path, vms=2, backups="nightly")
        opens = dt.datetime(2026, 11, 22, 21, tzinfo=dt.UTC)
        async with here.storage():
            left = (opens - here.site.desk.clock.now()).total_seconds()
            await pause(left - 2)
            assert here.site.said(CopyDue) == []
            await pause(4)
            first = here.site.said(CopyDue)
            assert {(one.vm, one.copy, one.attempt) for one in first} == {
                (vm, "night-2026-11-22", 1) for vm in here.names
            }
        async with here.storage():
            await pause(HOUR)
        due = [one for one in here.site.said(CopyDue) if one.vm == "db-0"]
        assert [one.attempt for one in due] == [1, 2, 3]
        for one, number in zip(due, range(3), strict=True):
            late = one.due_at - opens - number * dt.timedelta(minutes=10)
            assert dt.timedelta() <= late < dt.timedelta(seconds=5)

    play(scene)
