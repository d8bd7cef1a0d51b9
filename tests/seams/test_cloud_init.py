"""Debian's cloud-init itself, unpacked and never installed, reads the seed disks that are made here."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import guest, packages
from schemas.seed import Seed, check
from services.storage.files import seed as seeds

NAMES = ("cloud-init", "python3-yaml", "python3-configobj", "python3-requests", "python3-urllib3")
BESIDES = ("python3-idna", "python3-certifi", "python3-chardet", "python3-six")
READER = Path(__file__).parent / "cloud_init_reads.py"
KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIQt3sYZ6f7WJverVzXLjHX1iEvfTAxwI2i8uvCvmYTi "me" \\ at home, ü'
NETWORK = b"version: 2\nethernets:\n  eth0: {dhcp4: true}\n"


@pytest.fixture(scope="module")
def modules() -> Iterator[Path]:
    """Where cloud-init's Python modules lie, and those that it needs."""
    with tempfile.TemporaryDirectory() as directory:
        for name in (*NAMES, *BESIDES):
            packages.unpack(packages.fetch(name, guest.cache_directory() / "downloads"), Path(directory))
        yield Path(directory) / "usr/lib/python3/dist-packages"


def _read(modules: Path, folder: Path, seed: Seed) -> dict[str, Any]:
    image = folder / "seed.iso"
    image.write_bytes(seeds.disk(seed))
    done = subprocess.run(
        [sys.executable, READER, image, folder / "cloud"],
        env={**os.environ, "PYTHONPATH": str(modules)},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return json.loads(done.stdout)


def test_cloud_init_reads_from_a_seed_disk_what_was_written_there(modules: Path, tmp_path: Path) -> None:
    user_data = b"#cloud-config\nruncmd: [ls]\n"
    said = _read(modules, tmp_path, Seed("1e3", "no", (KEY,), user_data, NETWORK))
    assert said["found"]
    assert (said["instance_id"], said["hostname"], said["keys"]) == ("1e3", "no", [KEY])
    assert said["user_data"] == user_data.decode()
    assert "text/cloud-config" in said["parts"]
    assert said["network"] == {"version": 2, "ethernets": {"eth0": {"dhcp4": True}}}
    for head in said["heads"]:
        if not head.startswith("text/"):  # what can only be a part of a MIME message has no head of its own
            check(Seed("i-1", "web-1", user_data=head.encode() + b"\n"))


def test_cloud_init_reads_a_seed_disk_that_says_no_more_than_who_a_vm_is(
    modules: Path, tmp_path: Path
) -> None:
    said = _read(modules, tmp_path, Seed("i-0002", "web-2"))
    assert said["found"]
    assert (said["instance_id"], said["hostname"], said["keys"]) == ("i-0002", "web-2", [])
    assert (said["user_data"], said["network"]) == ("", None)
