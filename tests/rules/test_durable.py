"""A file is there whole or not at all, whoever writes it and whatever the disk says."""

import errno
from pathlib import Path

import pytest

from events import durable


def full(_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_file_takes_the_place_of_its_former_self_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "made" / "secret"
    durable.write(path, b"one")
    durable.write(path, b"two")
    assert path.read_bytes() == b"two"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert names(path.parent) == ["secret"]


def test_a_file_is_created_once_and_whoever_comes_second_is_told(tmp_path: Path) -> None:
    path = tmp_path / "key"
    assert durable.create(path, b"first")
    assert not durable.create(path, b"second")
    assert path.read_bytes() == b"first"
    assert names(tmp_path) == ["key"]


def test_a_disk_that_is_full_leaves_what_was_there_and_no_draft(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mark"
    durable.write(path, b"old")
    monkeypatch.setattr("os.fsync", full)
    for attempt in (durable.write, durable.create):
        with pytest.raises(OSError, match="No space"):
            attempt(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["mark"]


def test_the_directory_is_on_the_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(durable, "sync", synced.append)
    durable.write(tmp_path / "mark", b"one")
    durable.create(tmp_path / "key", b"one")
    assert synced == [tmp_path, tmp_path]
