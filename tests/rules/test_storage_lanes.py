"""What a host's system refuses in a lane is a refusal like libvirt's: who asked hears it as such, and the worker goes on."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from services.storage import qemu_img
from services.storage.errors import StorageError
from services.storage.lane import Lane


def missing(directory: Path) -> object:
    return (directory / "gone.qcow2").stat()


def dangling(directory: Path) -> object:
    (directory / "link").symlink_to(directory / "nowhere")
    return qemu_img.head(directory / "link")


def too_long(directory: Path) -> object:
    return (directory / ("x" * 300)).write_bytes(b"")


def cut_short(directory: Path) -> object:
    file = directory / "acme.db.qcow2"
    file.write_bytes(b"QFI\xfb" + struct.pack(">I", 3))
    return qemu_img.snapshots(file)


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (missing, r"h1 cannot look: No such file or directory .*gone\.qcow2"),
        (dangling, r"h1 cannot look: No such file or directory .*link"),
        (too_long, "h1 cannot look: File name too long"),
        (cut_short, "h1 cannot look: a file is not what it says it is"),
    ],
)
async def test_what_the_system_refuses_is_a_refusal_of_storage_and_the_lane_goes_on(
    call: Callable[[Path], object], why: str, tmp_path: Path
) -> None:
    lane = Lane("h1")
    with pytest.raises(StorageError, match=why) as caught:
        await lane.call("look", lambda: call(tmp_path))
    assert (caught.value.final, caught.value.lost) == (False, False)
    assert await lane.call("look", lambda: "there") == "there"


async def test_a_mistake_of_ours_is_no_refusal() -> None:
    def mistaken() -> None:
        raise LookupError("ours")

    with pytest.raises(LookupError):
        await Lane("h1").call("look", mistaken)
