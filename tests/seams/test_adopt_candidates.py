"""What `virtscale vm adopt --dry-run` finds on a real libvirt, and that it changes nothing there."""

import datetime as dt
from itertools import count
from pathlib import Path

import libvirt
import msgspec
import pytest

from schemas.capacity import Size
from schemas.house import HostPlace
from schemas.limits import ProfileName
from schemas.pool import Pool
from services.waker.port import domain_name
from tests.seams.foreigners import Foreigner, foreigner, make_disk, reader_of
from tests.seams.stores import MIB, TEMPLATE, Bench
from virtscale.hosts.added import HostError
from virtscale.vms.foreigners import Candidate, Wanted, candidates

pytestmark = pytest.mark.asyncio(loop_scope="session")

NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
NUMBERS = count()


def place_of(uri: str) -> HostPlace:
    return HostPlace("h1", uri, "tcg", 1024, 20000)


def wanted(domain: str = "", vm: str = "", profile: ProfileName = "lab", *, uefi: bool = False) -> Wanted:
    pool = Pool("acme", "apps", Size("s", 1, 96), "tiny", kind="kept", profile=profile)
    return Wanted(pool, "lab" if profile == "lab" else "nixos-managed", uefi, NOW, domain, vm)


def made(bench: Bench, form: str = "qcow2", *, base: Path | None = None, name: str = "") -> Foreigner:
    name = name or f"found-{next(NUMBERS)}"
    file = bench.directory / "images" / f"{name}.{form}"
    make_disk(file, form, "F", base=base)
    return foreigner(bench.machine.uri, name, [file], form)


def found(bench: Bench, one: Foreigner, what: Wanted) -> Candidate:
    (candidate,) = [
        known for known in candidates(place_of(bench.machine.uri), what) if known.uuid == one.uuid
    ]
    return candidate


def codes(candidate: Candidate) -> list[str]:
    return [one.code for one in candidate.obstacles]


@pytest.mark.parametrize("form", ["qcow2", "raw"])
async def test_a_domain_that_is_off_with_one_whole_disk_can_be_adopted(
    both: dict[str, Bench], form: str
) -> None:
    bench = both["qcow2"]
    one = made(bench, form)
    before = one.file.stat()
    candidate = found(bench, one, wanted())
    assert (candidate.obstacles, candidate.vm, candidate.disk) == ((), one.name, str(one.file))
    assert (candidate.size, candidate.disk_bytes) == (Size("custom-1x96", 1, 96), 32 * MIB)
    assert (one.file.stat().st_mtime_ns, one.file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    one.forget()


async def test_what_stands_in_the_way_is_said_all_at_once(both: dict[str, Bench]) -> None:
    bench = both["qcow2"]
    base = bench.directory / "templates" / TEMPLATE / "disk.qcow2"
    one = made(bench, base=base, name=f"Found.{next(NUMBERS)}")
    one.start()
    candidate = found(bench, one, wanted(profile="managed", uefi=True))
    assert codes(candidate) == ["DomainRuns", "DiskUnfit", "NameUnfit", "FirmwareDiffers", "MemoryTooSmall"]
    one.end()
    assert codes(found(bench, one, wanted(one.name, "fit"))) == ["DiskUnfit"]
    assert found(bench, one, wanted(one.name, "fit")).vm == "fit"
    one.file.write_bytes(b"no disk")
    assert codes(found(bench, one, wanted(vm="fit"))) == ["DiskUnreadable"]
    one.forget()


async def test_a_disk_that_is_not_the_domains_alone_is_said(both: dict[str, Bench]) -> None:
    bench = both["qcow2"]
    template = bench.directory / "templates" / TEMPLATE / "disk.qcow2"
    base = made(bench)
    over = made(bench, base=base.file)
    link = base.file.with_name("link.qcow2")
    link.symlink_to(over.file.name)
    linked = foreigner(bench.machine.uri, f"found-{next(NUMBERS)}", [link], "qcow2")
    builder = foreigner(bench.machine.uri, f"found-{next(NUMBERS)}", [template], "qcow2")
    gone = made(bench)
    gone.file.unlink()
    odd = foreigner(bench.machine.uri, f"found-{next(NUMBERS)}", [base.file.with_name("a" * 300)], "qcow2")
    what = msgspec.structs.replace(wanted(), ours=(template.parent.parent,))
    assert codes(found(bench, base, what)) == ["DiskShared"]
    assert codes(found(bench, linked, what)) == ["DiskLinked", "DiskShared", "DiskUnfit"]
    assert codes(found(bench, builder, what)) == ["DiskOurs", "DiskShared"]
    assert [codes(found(bench, one, what)) for one in (gone, odd)] == [["DiskUnreadable"]] * 2
    for one in (over, linked, builder, gone, odd):
        one.forget()
    assert codes(found(bench, base, what)) == []
    with reader_of(base.file):
        assert codes(found(bench, base, what)) == ["DiskOpen"]
    base.forget()


async def test_a_domain_of_ours_is_never_among_them(both: dict[str, Bench]) -> None:
    bench = both["qcow2"]
    ours = made(bench, name=domain_name("acme", f"found-{next(NUMBERS)}"))
    assert ours.uuid not in [one.uuid for one in candidates(place_of(bench.machine.uri), wanted())]
    ours.forget()


async def test_a_domain_that_is_gone_once_it_is_off_cannot_be_adopted(both: dict[str, Bench]) -> None:
    bench = both["qcow2"]
    one = made(bench)
    with libvirt.open(bench.machine.uri) as connection:
        described = connection.lookupByUUIDString(one.uuid).XMLDesc()
        one.forget()
        domain = connection.createXML(described, libvirt.VIR_DOMAIN_START_PAUSED)
        assert codes(found(bench, one, wanted())) == ["DomainRuns", "Transient"]
        domain.destroy()


async def test_a_host_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"Host h1 cannot be read: .*Nothing was asked"):
        candidates(place_of(f"qemu:///session?socket={tmp_path}/none"), wanted())
