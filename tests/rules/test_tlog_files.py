"""A directory in which a file is there whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from events.tlog.files import DirectoryFiles
from events.tlog.tiles import MOST_FILE_BYTES


def test_a_draft_left_by_a_power_cut_is_not_listed_and_overwritten(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    files.write("tile/0/000", b"old")
    (tmp_path / "tile/0/000.draft").write_bytes(b"half")
    assert files.listed("") == ["tile/0/000"]
    files.write("tile/0/000", b"new")
    assert files.read("tile/0/000") == b"new"
    assert not (tmp_path / "tile/0/000.draft").exists()


def test_a_write_that_fails_leaves_the_file_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = DirectoryFiles(tmp_path)
    files.write("checkpoint", b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            files.write("checkpoint", b"new")
    assert files.read("checkpoint") == b"old"
    assert files.listed("") == ["checkpoint"]
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_removing_takes_along_the_directories_that_held_nothing_else(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    files.write("tile/0/000.p/1", b"a")
    files.write("tile/0/000", b"b")
    files.remove("tile/0/000.p/1")
    files.remove("tile/0/000.p/1")
    assert sorted(path.name for path in (tmp_path / "tile/0").iterdir()) == ["000"]
    files.remove("tile/0/000")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../up", "tile/../../up", "x.draft"])
def test_no_path_leads_out_of_an_archive(path: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No file of an archive"):
        DirectoryFiles(tmp_path).read(path)


def test_what_no_file_of_an_archive_can_be_is_not_read(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    with (tmp_path / "checkpoint").open("wb") as sparse:
        sparse.truncate(MOST_FILE_BYTES)
        assert len(files.read("checkpoint") or b"") == MOST_FILE_BYTES
        sparse.truncate(3 << 30)
    os.mkfifo(tmp_path / "vkey")
    (tmp_path / "tile").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")
    for path, why in (
        ("checkpoint", "File too large"),
        *((p, "Not a plain") for p in ("vkey", "zero", "tile")),
    ):
        with pytest.raises(OSError, match=why):
            files.read(path)
