"""What is made in the cluster is whole or is gone, whoever makes it, and however many do at once."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import pytest_asyncio

from lab.ceph import Ceph
from schemas.house import HostPlace
from services.storage.ceph.cluster import Cluster
from services.storage.ceph.rbd import COPIER, Rbd
from services.storage.ceph.speaker import CephError, Speaker
from services.storage.ceph.words import TEMPLATES, pool_of
from services.storage.volumes import QUICK_SECONDS, InUseError, Volume
from tests.seams.stores import MIB, ORG, SECONDS, Bench

pytestmark = pytest.mark.asyncio(loop_scope="session")

LARGE = "large"
LARGE_MIB = 128
STEP_MIB = 16


@pytest_asyncio.fixture(loop_scope="session")
async def speaker(both: dict[str, Bench]) -> AsyncIterator[Speaker]:
    """Somebody with the cluster's own words."""
    speaker = Speaker(both["rbd"].conf, child=COPIER)
    yield speaker
    speaker.close()


def io(disk: Path | str, form: str, commands: list[str]) -> str:
    argv = ["qemu-io", "-f", form, *(word for one in commands for word in ("-c", one)), str(disk)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=True)
    return done.stdout + done.stderr


async def test_two_hosts_that_bring_one_template_at_once_have_all_of_it(
    ceph: Ceph, both: dict[str, Bench]
) -> None:
    assert both
    parts = [f"-P {65 + at // STEP_MIB} {at}M {STEP_MIB // 2}M" for at in range(0, LARGE_MIB, STEP_MIB)]
    with TemporaryDirectory(prefix="vs-", dir="/tmp") as name:
        disk = Path(name) / LARGE / "disk.qcow2"
        disk.parent.mkdir()
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", disk, f"{LARGE_MIB}M"], check=True, timeout=SECONDS
        )
        io(disk, "qcow2", [f"write {part}" for part in parts])
        cluster = Cluster(ceph.conf)
        stores = [
            Rbd(HostPlace(host, "test:///default", "tcg", 1024, 20000), Path(name), cluster)
            for host in ("h1", "h2")
        ]
        volumes = [Volume(ORG, "first"), Volume(ORG, "second")]
        try:
            await asyncio.gather(
                *(
                    store.create(volume, LARGE_MIB * MIB, LARGE)
                    for store, volume in zip(stores, volumes, strict=True)
                )
            )
        finally:
            for store in stores:
                await store.close()
    for volume in volumes:
        place = f"rbd:{pool_of(ORG)}/{volume.name}:id=admin:conf={ceph.conf}"
        assert "failed" not in io(place, "raw", [f"read {part}" for part in parts]), volume


async def test_whoever_was_taken_for_dead_never_calls_anothers_image_whole(speaker: Speaker) -> None:
    def ask(call: str, nonce: str) -> object:
        return speaker.ask(call, QUICK_SECONDS, pool=TEMPLATES, image="contested", nonce=nonce)

    speaker.ask("init", QUICK_SECONDS, pool=TEMPLATES)
    assert ask("begin", "first") is None
    assert ask("begin", "second") is None
    with pytest.raises(CephError, match="began to make the image contested anew") as caught:
        ask("whole", "first")
    assert caught.value.kind == "Taken"
    assert speaker.ask("look", QUICK_SECONDS, pool=TEMPLATES, image="contested") is None
    assert ask("begin", "third") is None, "the mark is there still"
    ask("whole", "third")


async def test_nothing_is_swept_as_long_as_its_maker_holds_it(
    both: dict[str, Bench], speaker: Speaker
) -> None:
    bench = both["rbd"]
    volume = bench.volume()
    pool = pool_of(volume.org)
    trash = (*("rbd", "-c", str(bench.conf)), "trash", "ls", "--all", pool)
    assert speaker.ask("begin", QUICK_SECONDS, pool=pool, image=volume.name, nonce="maker") is None
    subprocess.run(
        ("rbd", "-c", str(bench.conf), "create", "-s", "8M", f"{pool}/{volume.name}"),
        check=True,
        timeout=SECONDS,
    )
    maker = await asyncio.create_subprocess_exec(
        *("qemu-io", "-f", "raw", f"rbd:{pool}/{volume.name}:id=admin:conf={bench.conf}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert maker.stdin is not None
    assert maker.stdout is not None
    maker.stdin.write(b"write 0 64k\n")
    async with asyncio.timeout(SECONDS):
        assert b"wrote" in await maker.stdout.readuntil(b"bytes")
    for _ in range(2):
        with pytest.raises(InUseError):
            await bench.store.sweep(volume)
    async with asyncio.timeout(SECONDS):
        await maker.communicate(b"quit\n")
    await bench.store.sweep(volume)
    assert (
        volume.name
        not in subprocess.run(trash, check=True, capture_output=True, text=True, timeout=SECONDS).stdout
    )
