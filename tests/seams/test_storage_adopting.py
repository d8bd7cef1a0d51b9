"""Disks of domains that somebody made by hand become volumes of either driver, or lie where they lay."""

import errno
import json
import shutil
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from services.storage import formers, qemu_img
from services.storage.errors import StorageError
from services.storage.files import filling
from services.storage.formers import AdoptError, DomainRunsError, NoDomainError
from services.storage.volumes import Former, MissingError, OtherVolumeError
from tests.seams.foreigners import SECONDS, Foreigner, foreigner, make_disk, reader_of
from tests.seams.stores import MIB, TEMPLATE, Bench

pytestmark = pytest.mark.asyncio(loop_scope="session")

KINDS = ["qcow2", pytest.param("rbd", marks=pytest.mark.long)]
SIZE = 32 * MIB
NUMBERS = count()


def made(bench: Bench, form: str = "qcow2", *, disks: int = 1) -> Foreigner:
    """A domain with a disk of an F."""
    name = f"old-{next(NUMBERS)}"
    files = [bench.directory / "images" / f"{name}-{number}.{form}" for number in range(disks)]
    for file in files:
        make_disk(file, form, "F")
    return foreigner(bench.machine.uri, name, files, form)


def former(one: Foreigner, order: str = "o" * 32, most_bytes: int = SIZE) -> Former:
    return Former(order, one.name, one.uuid, str(one.file), most_bytes)


def beside(one: Foreigner) -> list[str]:
    """What lies where the disk lay."""
    return sorted(path.name.removeprefix(one.file.name) for path in one.file.parent.glob(f"{one.file.name}*"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["qcow2", "raw"])
async def test_a_disk_becomes_a_volume_and_its_domain_cannot_start_any_more(
    both: dict[str, Bench], kind: str, form: str
) -> None:
    bench = both[kind]
    one, volume = made(bench, form), bench.volume()
    for store in (bench.store, bench.again()):
        seen = await store.take(volume, former(one))
        assert (seen.size_bytes, seen.parent, seen.in_use) == (SIZE, None, False)
    assert bench.reads(volume, "F")
    moved = (kind, form) == ("qcow2", "qcow2")
    assert beside(one) == ([".adopted.json"] if moved else [".adopted", ".adopted.json"])
    assert one.is_defined, "the domain is the waker's to undefine"
    with pytest.raises(Exception, match="No such file"):
        one.start()
    await bench.store.snapshot(volume, "first")
    await bench.store.grow(volume, 2 * SIZE)
    one.forget()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["qcow2", "raw"])
async def test_a_disk_that_was_taken_is_given_back_as_it_was(
    both: dict[str, Bench], kind: str, form: str
) -> None:
    bench = both[kind]
    one, volume = made(bench, form), bench.volume()
    before = (one.file.read_bytes(), one.file.stat().st_mode, one.file.stat().st_uid)
    await bench.store.give_back(volume, former(one))
    await bench.store.take(volume, former(one))
    for store in (bench.store, bench.again()):
        await store.give_back(volume, former(one))
        assert await store.look(volume) is None
    assert (one.file.read_bytes(), one.file.stat().st_mode, one.file.stat().st_uid) == before
    assert beside(one) == [""]
    one.start()
    one.forget()


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory in a file system of its own."""
    with TemporaryDirectory(prefix="vs-", dir="/tmp") as name:
        there = Path(name) / "there"
        there.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=16m,mode=0755", "tmpfs", str(there)]
        subprocess.run(mount, check=True, capture_output=True, timeout=SECONDS)
        try:
            yield there
        finally:
            subprocess.run(["umount", str(there)], check=True, capture_output=True, timeout=SECONDS)


async def test_a_disk_of_another_file_system_is_copied_and_stays_aside(
    both: dict[str, Bench], elsewhere: Path
) -> None:
    bench = both["qcow2"]
    one, volume = made(bench), bench.volume()
    other = elsewhere / one.file.name
    assert elsewhere.stat().st_dev != bench.machine.volumes.stat().st_dev
    shutil.copy(one.file, other)
    other.chmod(0o666)
    one.forget()
    there = foreigner(bench.machine.uri, one.name, [other], "qcow2")
    await bench.store.take(volume, former(there))
    assert bench.reads(volume, "F")
    assert beside(there) == [".adopted", ".adopted.json"]
    await bench.store.give_back(volume, former(there))
    assert beside(there) == [""]
    there.forget()


async def refused(bench: Bench, one: Foreigner, kind: type[AdoptError], why: str, **terms: Any) -> None:
    volume = bench.volume()
    with pytest.raises(kind, match=why):
        await bench.store.take(volume, former(one, **terms))
    await bench.store.give_back(volume, former(one, **terms))
    assert await bench.store.look(volume) is None


async def test_a_domain_that_is_not_off_is_not_touched(both: dict[str, Bench]) -> None:
    bench = both["qcow2"]
    one = made(bench)
    one.start()
    await refused(bench, one, DomainRunsError, "runs, and only one that is off is adopted")
    one.sleep()
    await refused(bench, one, DomainRunsError, "sleeps on its host's disk")
    assert beside(one) == [""]
    one.forget()


async def test_a_domain_that_is_not_as_it_must_be_stays_as_it_is(both: dict[str, Bench]) -> None:
    bench = both["qcow2"]
    two = made(bench, disks=2)
    await refused(bench, two, AdoptError, "it has 2 disks")
    two.forget()
    large = made(bench)
    await refused(
        bench, large, AdoptError, f"has {SIZE} bytes, and {SIZE // 2} were asked", most_bytes=SIZE // 2
    )
    large.forget()
    await refused(bench, large, NoDomainError, "There is no domain")
    thin = made(bench)
    make_disk(thin.file, "qcow2", "F", base=bench.directory / "templates" / TEMPLATE / "disk.qcow2")
    await refused(bench, thin, AdoptError, "lies over .*disk.qcow2: flatten it")
    thin.file.unlink()
    await refused(bench, thin, NoDomainError, "is not there")
    thin.forget()


async def stays(bench: Bench, one: Foreigner, why: str) -> None:
    """It is refused, and all that lies beside it is as it was; the domain is gone then."""
    before = {path: path.lstat().st_ino for path in one.file.parent.glob(f"{one.file.name}*")}
    await refused(bench, one, AdoptError, why)
    assert {path: path.lstat().st_ino for path in one.file.parent.glob(f"{one.file.name}*")} == before
    one.forget()


@pytest.mark.parametrize("to", ["data", "absolute"])
async def test_a_link_to_a_disk_is_not_taken_for_the_disk(both: dict[str, Bench], to: str) -> None:
    bench = both["qcow2"]
    one = made(bench)
    data = one.file.parent / "data"
    data.mkdir(exist_ok=True)
    data.chmod(0o755)
    one.file.rename(data / one.file.name)
    one.file.symlink_to((Path(to) if to == "data" else data) / one.file.name)
    await stays(bench, one, "is a link to .*name the file itself")
    assert one.file.exists()
    hard = made(bench)
    (data / hard.file.name).hardlink_to(hard.file)
    await stays(bench, hard, "has 2 names")


@pytest.mark.parametrize(
    ("below", "runs"),
    [("plain", False), ("plain", True), ("json", False), ("itself", False), ("pool", False)],
)
async def test_a_disk_that_another_domain_has_or_lies_over_stays_where_it_is(
    both: dict[str, Bench], below: str, *, runs: bool
) -> None:
    bench = both["qcow2"]
    base = made(bench)
    top = base.file.with_name(f"top-{base.file.name}")
    named = json.dumps({"file": {"driver": "file", "filename": str(base.file)}})
    make_disk(top, "qcow2", "T", base=f"json:{named}" if below == "json" else base.file)
    other = foreigner(
        bench.machine.uri, f"over-{base.name}", [base.file if below == "itself" else top], "qcow2"
    )
    if below == "pool":
        other.has_disk_of_pool(base.file)
    if runs:
        other.start()
    await stays(bench, base, f"used by domain {other.name} as well")
    if runs:
        other.end()
    if below != "pool":
        other.start()
    other.forget()


async def test_a_disk_that_somebody_reads_stays_where_it_is(both: dict[str, Bench]) -> None:
    bench = both["qcow2"]
    one = made(bench)
    with reader_of(one.file):
        assert not qemu_img.written(one.file)
        await refused(bench, one, DomainRunsError, "Somebody has")
    assert beside(one) == [""]
    one.forget()


async def test_files_of_ours_are_never_taken_for_somebody_elses(both: dict[str, Bench]) -> None:
    bench = both["qcow2"]
    volume = bench.volume("beta")
    await bench.store.create(volume, SIZE, TEMPLATE)
    rescue = foreigner(
        bench.machine.uri, "rescue", [bench.machine.volumes / f"beta.{volume.name}.qcow2"], "qcow2"
    )
    builder = foreigner(
        bench.machine.uri, "builder", [bench.directory / "templates" / TEMPLATE / "disk.qcow2"], "qcow2"
    )
    for one in (rescue, builder):
        await stays(bench, one, "lies among our own files")
    assert await bench.store.look(volume) is not None


async def test_what_a_template_lies_over_stays_where_it_is(both: dict[str, Bench]) -> None:
    bench = both["qcow2"]
    golden = made(bench)
    thin = bench.directory / "templates" / "thin" / "disk.qcow2"
    make_disk(thin, "qcow2", "T", base=golden.file)
    await stays(bench, golden, "used by template thin as well")
    thin.unlink()


async def test_a_disk_that_is_nowhere_is_not_said_to_be_given_back(both: dict[str, Bench]) -> None:
    bench = both["qcow2"]
    one, volume = made(bench), bench.volume()
    await bench.store.take(volume, former(one))
    moved = bench.machine.volumes / f"{volume.org}.{volume.name}.qcow2"
    moved.rename(bench.directory / "moved")
    for _ in range(2):
        with pytest.raises(MissingError, match="cannot go back: neither it nor"):
            await bench.store.give_back(volume, former(one))
    assert beside(one) == [".adopted.json"]
    (bench.directory / "moved").rename(moved)
    await bench.store.give_back(volume, former(one))
    assert beside(one) == [""]
    one.forget()


async def test_a_raw_disk_whose_copy_alone_is_left_is_not_given_back_as_what_it_became(
    both: dict[str, Bench],
) -> None:
    bench = both["qcow2"]
    one, volume = made(bench, "raw"), bench.volume()
    await bench.store.take(volume, former(one))
    one.file.with_name(f"{one.file.name}.adopted").unlink()
    with pytest.raises(MissingError, match="cannot go back"):
        await bench.store.give_back(volume, former(one))
    assert bench.reads(volume, "F")
    one.forget()


async def test_a_note_that_cannot_be_kept_leaves_nothing_and_the_disk_where_it_is(
    both: dict[str, Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = both["qcow2"]
    one = made(bench)

    def full(draft: Path, _: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(draft))

    monkeypatch.setattr(formers.qemu_img, "settle", full)
    with pytest.raises(StorageError, match="cannot take: No space left"):
        await bench.store.take(bench.volume(), former(one))
    assert beside(one) == [""]
    one.forget()


async def test_a_volume_that_is_there_is_never_overwritten_and_never_given_away(
    both: dict[str, Bench],
) -> None:
    bench = both["qcow2"]
    one, volume = made(bench), bench.volume()
    await bench.store.create(volume, SIZE, TEMPLATE)
    with pytest.raises(OtherVolumeError, match="There is a volume"):
        await bench.store.take(volume, former(one))
    await bench.store.give_back(volume, former(one))
    assert await bench.store.look(volume) is not None
    assert beside(one) == [""]
    one.forget()


@pytest.mark.parametrize("form", ["qcow2", pytest.param("raw", marks=pytest.mark.long)])
async def test_a_domain_that_is_started_while_its_disk_is_set_aside_keeps_it(
    both: dict[str, Bench], form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = both["qcow2"]
    one, volume = made(bench, form), bench.volume()
    real, calls = formers._form, count()

    def started(*arguments: Any) -> str:
        # It was looked at, and is started before the file gets its other name.
        found = real(*arguments)
        if next(calls) == 0:
            one.start()
        return found

    monkeypatch.setattr(formers, "_form", started)
    monkeypatch.setattr(formers.qemu_img, "opened", lambda _: False)
    with pytest.raises(DomainRunsError, match="runs, and only one"):
        await bench.store.take(volume, former(one))
    monkeypatch.undo()
    await bench.store.give_back(volume, former(one))
    assert beside(one) == [""]
    one.end()
    one.start()
    one.forget()


STEPS = ("note", "aside", "checked", "filled")


class Killed(BaseException):
    """Storage died here."""


@pytest.mark.parametrize("form", ["qcow2", "raw"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("then", ["again", "back"])
async def test_a_storage_that_died_between_two_steps_goes_on_or_gives_back(
    both: dict[str, Bench], form: str, step: str, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = both["qcow2"]
    one, volume = made(bench, form), bench.volume()
    real_note, real_sync, real_opened = formers._write_note, formers._sync, formers.qemu_img.opened
    real_into = filling.into

    def after(name: str, real: Any) -> Any:
        def call(*arguments: Any) -> Any:
            answer = real(*arguments)
            if name == step:
                raise Killed
            return answer

        return call

    def opened(file: Path) -> bool:
        answer = real_opened(file)
        if step == "checked" and file.name.endswith(".adopted"):
            raise Killed
        return answer

    def into(file: Path) -> formers.Into:
        found = real_into(file)
        return formers.Into(
            found.exists, after("filled", found.move), after("filled", found.fill), found.back, found.remove
        )

    monkeypatch.setattr(formers, "_write_note", after("note", real_note))
    monkeypatch.setattr(formers, "_sync", after("aside", real_sync))
    monkeypatch.setattr(formers.qemu_img, "opened", opened)
    monkeypatch.setattr(filling, "into", into)
    with pytest.raises(Killed):
        await bench.again().take(volume, former(one))
    monkeypatch.undo()
    if then == "again":
        await bench.again().take(volume, former(one))
        assert bench.reads(volume, "F")
    else:
        await bench.again().give_back(volume, former(one))
        assert beside(one) == [""]
        assert await bench.store.look(volume) is None
    one.forget()


async def test_a_disk_that_was_adopted_before_and_lies_aside_is_not_lost(both: dict[str, Bench]) -> None:
    bench = both["qcow2"]
    one = made(bench, "raw")
    await bench.store.take(bench.volume(), former(one))
    make_disk(one.file, "raw", "G")
    later = former(one, order="p" * 32)
    with pytest.raises(OtherVolumeError, match="move it away"):
        await bench.store.take(bench.volume(), later)
    await bench.store.give_back(bench.volume(), later)
    assert beside(one) == ["", ".adopted", ".adopted.json"]
    one.forget()
