"""What is erased of a VM is all that bears its name, and nothing that bears another's."""

import datetime as dt
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from schemas.volume import is_of, layer_over, seed_name, volume_name
from services.storage.files.trash import Trash
from services.storage.volumes import Trashed, Volume

NAMES = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
SLEEPS = st.integers(0, 2**53)


def files_of(org: str, vm: str, sleep: int) -> list[str]:
    """Every kind of file that there can be of a VM, in the directory or in its trash."""
    volume = volume_name(org, vm)
    trashed = f"{volume.removesuffix('.qcow2')}.{sleep}"
    return [
        volume,
        layer_over(volume, sleep),
        seed_name(org, vm),
        f"{volume}.part",
        f"{org}.{vm}.ephemeral.qcow2",
        trashed,
    ]


@example(("acme", "db"), ("acme", "db-2"), 1)
@example(("acme", "db"), ("acme-db", "db"), 1)
@example(("a", "a"), ("a", "aa"), 0)
@given(st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES), SLEEPS)
def test_no_file_of_one_vm_is_taken_for_another_vms(
    mine: tuple[str, str], other: tuple[str, str], sleep: int
) -> None:
    assert all(is_of(file, *mine) for file in files_of(*mine, sleep))
    assume(mine != other)
    assert not any(is_of(file, *mine) for file in files_of(*other, sleep))


@given(NAMES, NAMES, SLEEPS)
def test_files_that_are_nobodys_are_left_alone(org: str, vm: str, sleep: int) -> None:
    for file in (
        org,
        f"{org}.{vm}",
        f"{org}{vm}.qcow2",
        f"x{org}.{vm}.qcow2",
        f"{org}-{vm}.{sleep}",
        ".trash",
    ):
        assert not is_of(file, org, vm)


@pytest.mark.parametrize("name", ["db", "db-2"])
def test_the_trash_calls_what_lies_in_it_by_the_vms_name(tmp_path: Path, name: str) -> None:
    trash = Trash(tmp_path / ".trash")
    file = tmp_path / volume_name("acme", name)
    file.write_bytes(b"x")
    put = trash.put(Volume("acme", name), (file,), dt.datetime(2026, 11, 22, tzinfo=dt.UTC))
    assert isinstance(put, Trashed)
    assert is_of(put.key, "acme", name)
    assert is_of(put.key, "acme", "db") is (name == "db")
