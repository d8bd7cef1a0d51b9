"""An export in a tar: read as every tar program writes it, cut anywhere, and ended by whatever somebody made of it."""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from replay.audit import tarred
from replay.audit.tarred import PlaceError, files_at, members

HELD = {
    "checkpoint": b"one",
    "tile/0/x001/x234/067.p/17": bytes(range(256)) * 5,
    "vkey": b"",
    f"tile/{'deep/' * 25}000": b"d",
}


def tar_of(held: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in held.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """One member's first block, with a size that need not be one."""
    member = tarfile.TarInfo(name)
    member.type = kind
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    binary = bytes([0x80 if size > 0 else 0xFF]) + size.to_bytes(11, "big", signed=True)
    block[124:136] = b"%011o\0" % size if 0 <= size < 8**11 else binary
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def listed(data: bytes) -> list[str]:
    return [name for name, _, _ in members(io.BytesIO(data), len(data))]


def test_what_was_written_is_read_with_every_name_and_byte(tmp_path: Path) -> None:
    (tmp_path / "export.tar").write_bytes(tar_of(HELD))
    with files_at(tmp_path / "export.tar") as files:
        assert {path: files.read(path) for path in files.listed("")} == HELD
        assert files.read("nothing") is None


@pytest.mark.parametrize("form", ["ustar", "gnu", "pax"])
def test_what_another_program_packed_is_read_as_well(tmp_path: Path, form: str) -> None:
    program = shutil.which("tar")
    assert program is not None
    for path, data in HELD.items():
        (tmp_path / "export" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "export" / path).write_bytes(data)
    words = [program, f"--format={form}", "-cf", tmp_path / "export.tar", "-C", tmp_path / "export", "."]
    subprocess.run(words, check=True)
    with files_at(tmp_path / "export.tar") as files:
        short = {path: data for path, data in HELD.items() if "deep" not in path}
        assert {path: files.read(path) for path in files.listed("") if path in short} == short


def test_of_a_tar_that_was_cut_the_files_are_there_that_are_whole() -> None:
    data = tar_of(HELD)
    for end in range(0, len(data), 100):
        names = listed(data[:end])
        assert names == list(HELD)[: len(names)]
    assert listed(data[: data.index(b"checkpoint") + 600]) == ["checkpoint"]


@pytest.mark.parametrize("size", [-512, -1, -(1 << 62), 1 << 62, 1 << 35])
def test_a_size_that_leads_back_or_past_the_end_ends_it(size: int) -> None:
    assert listed(header("a", 0) + header("checkpoint", size) + bytes(1024)) == ["a"]


def test_what_is_no_member_ends_it_and_what_is_no_file_is_passed_over() -> None:
    others = header("link", 0, tarfile.SYMTYPE) + header("L", 3, tarfile.GNUTYPE_LONGNAME) + bytes(512)
    assert listed(others + header("a", 0) + b"\1" * 512 + header("b", 0)) == ["a"]
    altered = bytearray(header("a", 0))
    altered[0] ^= 1
    assert listed(bytes(altered)) == []


def test_a_tar_of_more_members_than_an_archive_has_files_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tarred, "_MOST_MEMBERS", 3)
    with pytest.raises(PlaceError, match="more than 3 members"):
        listed(header("a", 0) * 4)


def test_a_file_that_is_longer_than_any_of_an_archive_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tarred, "_MOST_BYTES", 1000)
    (tmp_path / "export.tar").write_bytes(tar_of(HELD))
    with files_at(tmp_path / "export.tar") as files:
        assert files.read("checkpoint") == b"one"
        with pytest.raises(OSError, match="too large"):
            files.read("tile/0/x001/x234/067.p/17")
