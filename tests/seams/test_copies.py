"""Snapshots, backups and restores by storage itself, with real volumes of either driver; the ledger is in memory."""

import datetime as dt
import hashlib
import stat
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Final

import pytest

from events.copy import CopyDropped, CopyFailed, CopyMade, CopyRestored, CopyRestoreFailed
from events.volume import SnapshotFailed, SnapshotTaken
from schemas.volume import FileSource, layer_over
from services.storage.volumes import Volume
from tests.seams.copy_site import SIZE_BYTES, CopySite
from tests.seams.stores import BYTES, MIB, SECONDS, Bench
from tests.support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

MOMENT: Final = dt.timedelta(minutes=5)
EITHER = pytest.mark.parametrize("kind", ["qcow2", pytest.param("rbd", marks=pytest.mark.long)])
BOTH = pytest.mark.parametrize("kind", ["qcow2", "rbd"])


async def site_of(both: dict[str, Bench], kind: str, backups: Path | None, **pool: object) -> CopySite:
    site = CopySite(both[kind], backups)
    await site.found(**pool)
    return site


@BOTH
async def test_a_disk_goes_back_to_its_snapshot_and_a_backup_becomes_the_disk_of_a_new_vm(
    both: dict[str, Bench], tmp_path: Path, kind: str
) -> None:
    site = await site_of(both, kind, tmp_path / "backups")
    bench, new = site.bench, site.bench.volume()
    async with site.storage():
        snapshot = await site.outcome(site.copy("before"))
        assert isinstance(snapshot, CopyMade)
        assert (snapshot.disk_bytes, snapshot.size_bytes, snapshot.sha256) == (SIZE_BYTES, SIZE_BYTES, None)
        bench.write(site.volume, "B", MIB)
        backup = await site.outcome(site.copy("night", "backup"))
        file = tmp_path / "backups" / "acme" / site.vm / "night.qcow2"
        assert isinstance(backup, CopyMade)
        assert (backup.place, backup.disk_bytes) == (str(file), SIZE_BYTES)
        assert backup.size_bytes == file.stat().st_size < SIZE_BYTES
        assert backup.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
        assert await site.names() == ["before"], "a backup leaves no snapshot behind"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert {stat.S_IMODE(one.stat().st_mode) for one in file.parents[:3]} == {0o700}

        bench.write(site.volume, "C", MIB)
        restored = await site.outcome(site.restore("before"))
        assert isinstance(restored, CopyRestored)
        assert bench.reads(site.volume, "A", MIB)
        other = await site.outcome(site.restore("night", into=new))
        assert (other.vm, other.of, other.size_bytes) == (new.name, site.vm, SIZE_BYTES)
        assert bench.reads(new, "B", MIB)
        assert bench.reads(new, "T"), "with what lay in its template"
        seen = await bench.store.look(new)
        assert seen is not None
        assert (seen.place, seen.parent) == (other.volume, None)


@pytest.mark.parametrize("runs", [False, True], ids=["off", "asleep"])
async def test_a_disk_that_was_pinned_in_a_sleep_is_copied_once_its_pin_is_given_up(
    both: dict[str, Bench], tmp_path: Path, *, runs: bool
) -> None:
    site = await site_of(both, "qcow2", tmp_path / "backups")
    site.runs("pinned")
    lower = site.bench.machine.volumes / f"acme.{site.vm}.qcow2"
    layer, now = Path(layer_over(str(lower), 7)), site.site.desk.clock.now()
    old = Path(layer_over(str(lower), 5))
    for file in (old, layer):
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(lower), "-F", "qcow2", str(file)]
        subprocess.run(argv, check=True, timeout=SECONDS)
        file.chmod(0o666)  # for the guests' user
    written = f"write -P {ord('B')} {MIB} {BYTES}"
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", written, str(layer)], check=True, timeout=SECONDS)
    site.site.desk.write(SnapshotTaken("acme", site.vm, "h1", str(lower), 2, 7, now))
    with site.bench.asleep(FileSource(str(layer)), "pinned") if runs else nullcontext():
        async with site.storage():
            made = await site.outcome(site.copy("night", "backup"))
            assert isinstance(made, CopyMade), made
            await site.outcome(site.copy("one"))
        assert not layer.exists()
        assert not old.exists()
        assert [one.code for one in site.said(SnapshotFailed)] == ["joined"], "its pin is told lost, once"
    assert site.bench.reads(site.volume, "B", MIB)
    site.bench.write(site.volume, "C", MIB)
    async with site.storage():
        assert isinstance(await site.outcome(site.restore("one")), CopyRestored)
        other = site.bench.volume()
        await site.outcome(site.restore("night", into=other))
    assert site.bench.reads(site.volume, "B", MIB)
    assert site.bench.reads(other, "B", MIB)


@EITHER
async def test_a_new_vm_from_a_snapshot_stands_alone_and_its_origin_can_go(
    both: dict[str, Bench], tmp_path: Path, kind: str
) -> None:
    site = await site_of(both, kind, tmp_path)
    new = site.bench.volume()
    async with site.storage():
        await site.outcome(site.copy("one"))
        site.bench.write(site.volume, "B", MIB)
        await site.outcome(site.restore("one", into=new))
        dropped = await site.outcome(site.drop("one"))
        assert isinstance(dropped, CopyDropped)
        await site.bench.store.purge(await site.bench.store.trash(site.volume, 0))
        assert site.bench.reads(new, "A", MIB)


@EITHER
async def test_a_copy_that_is_dropped_is_really_gone(
    both: dict[str, Bench], tmp_path: Path, kind: str
) -> None:
    site = await site_of(both, kind, tmp_path)
    async with site.storage():
        for name in ("one", "two"):
            await site.outcome(site.copy(name))
        made = await site.outcome(site.copy("night", "backup"))
        await site.outcome(site.drop("one"))
        assert await site.names() == ["two"]
        await site.outcome(site.drop("night", "backup"))
        assert list(Path(made.place).parent.iterdir()) == []


async def test_the_oldest_goes_when_the_newest_is_there_and_not_before(
    both: dict[str, Bench], tmp_path: Path
) -> None:
    site = await site_of(both, "qcow2", tmp_path)
    async with site.storage():
        await site.outcome(site.copy("old", "backup"))
    new, drop = site.copy("new", "backup"), site.drop("old", "backup", "retention")
    async with site.storage():
        await site.outcome(drop)
        await site.outcome(new)
    assert site.seq(CopyMade, "new") < site.seq(CopyDropped, "old"), "there was a moment without any copy"


async def test_a_disk_that_a_domain_has_open_is_copied_and_is_not_restored(
    both: dict[str, Bench], tmp_path: Path
) -> None:
    site = await site_of(both, "qcow2", tmp_path)
    source = await site.bench.store.source(site.volume)
    with site.bench.asleep(source, "runner"):
        site.runs("runner")
        async with site.storage():
            assert isinstance(await site.outcome(site.copy("one")), CopyMade)
            assert isinstance(await site.outcome(site.copy("night", "backup")), CopyMade)
            assert await site.names() == ["one"]
            restore = site.restore("one")
            await eventually(lambda: "one" in str(site.driver) or site.driver)
            assert site.outcomes(restore) == [], (
                "it is waited for: who died with a disk open is seen for a while"
            )
    async with site.storage():
        assert isinstance(await site.outcome(restore), CopyRestored)


async def test_without_a_directory_for_backups_there_is_none_and_it_is_said_why(
    both: dict[str, Bench],
) -> None:
    site = await site_of(both, "qcow2", None)
    async with site.storage():
        failed = await site.outcome(site.copy("night", "backup"))
        assert isinstance(failed, CopyFailed)
        assert failed.code == "no-backups"
        assert "house.json" in failed.text
        assert await site.names() == []


async def test_a_backup_that_was_altered_is_nobodys_disk(both: dict[str, Bench], tmp_path: Path) -> None:
    site = await site_of(both, "qcow2", tmp_path)
    new = site.bench.volume()
    async with site.storage():
        made = await site.outcome(site.copy("night", "backup"))
        with Path(made.place).open("r+b") as stream:
            stream.seek(made.size_bytes // 2)
            stream.write(b"another")
        failed = await site.outcome(site.restore("night", into=new))
        assert isinstance(failed, CopyRestoreFailed)
        assert failed.code == "CopyDamaged"
        assert await site.bench.store.look(new) is None


@EITHER
@pytest.mark.parametrize("copy", ["one", "night"])
async def test_a_disk_of_somebody_elses_is_not_taken_for_the_new_vms_and_stays(
    both: dict[str, Bench], tmp_path: Path, kind: str, copy: str
) -> None:
    site = await site_of(both, kind, tmp_path)
    new = site.bench.volume()
    await site.bench.store.create(new, SIZE_BYTES)
    site.bench.write(new, "X", MIB)
    async with site.storage():
        await site.outcome(site.copy("one"))
        await site.outcome(site.copy("night", "backup"))
        failed = await site.outcome(site.restore(copy, into=new))
    assert isinstance(failed, CopyRestoreFailed)
    assert failed.code == "OtherVolume"
    assert site.bench.reads(new, "X", MIB)


async def test_a_backup_that_cannot_be_written_leaves_nothing_behind(
    both: dict[str, Bench], tmp_path: Path
) -> None:
    (tmp_path / "backups").write_text("a file where a directory should be")
    site = await site_of(both, "qcow2", tmp_path / "backups")
    async with site.storage():
        failed = await site.outcome(site.copy("night", "backup"))
        assert isinstance(failed, CopyFailed)
        assert await site.names() == []


@EITHER
@pytest.mark.parametrize("what", ["snapshot", "backup", "drop", "back", "into", "clone"])
async def test_killed_at_any_call_of_the_driver_each_order_ends_once_and_as_it_would_have(
    both: dict[str, Bench], tmp_path: Path, kind: str, what: str
) -> None:
    site = await site_of(both, kind, tmp_path)
    bench, made = site.bench, list[Volume]()

    def name() -> str:
        return f"copy-{len(site.said(CopyMade))}"

    def into() -> Volume:
        made.append(bench.volume())
        return made[-1]

    orders: dict[str, Callable[[], str]] = {
        "snapshot": lambda: site.copy(name()),
        "backup": lambda: site.copy(name(), "backup"),
        "drop": lambda: site.drop(site.said(CopyMade)[len(site.said(CopyDropped))].copy),
        "back": lambda: site.restore("first"),
        "into": lambda: site.restore("night", into=into()),
        "clone": lambda: site.restore("first", into=into()),
    }
    async with site.storage():
        await site.outcome(site.copy("first"))
        await site.outcome(site.copy("night", "backup"))
        for number in range(8 if what == "drop" else 0):
            await site.outcome(site.copy(f"spare-{number}"))
    bench.write(site.volume, "B", MIB)
    before = len(site.said(CopyMade))
    calls = await site.killed_everywhere(orders[what])
    assert calls, "nothing was asked of the driver"
    assert site.said(CopyFailed) == site.said(CopyRestoreFailed) == []
    kept = {one.copy for one in site.said(CopyMade) if one.kind == "snapshot"}
    assert set(await site.names()) == kept - {one.copy for one in site.said(CopyDropped)}
    if what == "backup":
        backups = site.said(CopyMade)[before:]
        assert {one.sha256 for one in backups} == {_digest(one.place) for one in backups}
        there = {str(path) for path in Path(backups[0].place).parent.iterdir()}
        told = {one.place for one in site.said(CopyMade) if one.kind == "backup"}
        # Killed after it told of the backup, a life leaves the note of whose it is, which goes with the backup.
        assert told <= there <= told | {f"{place}.order" for place in told}
        assert all(abs(dt.datetime.now(dt.UTC) - one.taken_at) < MOMENT for one in backups)
    if what == "back":
        assert bench.reads(site.volume, "A", MIB)
    for one in made:
        assert bench.reads(one, "A", MIB)
        seen = await bench.store.look(one)
        assert seen is not None
        assert seen.parent is None


def _digest(place: str) -> str:
    return hashlib.sha256(Path(place).read_bytes()).hexdigest()
