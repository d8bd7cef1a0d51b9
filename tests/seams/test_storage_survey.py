"""All disks of an org in a real Ceph, or of a host by its libvirt, looked at together: what is said of each is what it says when opened."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from events.clock import SystemClock
from schemas.house import HostPlace
from services.storage.ceph.cluster import Cluster
from services.storage.ceph.speaker import Speaker
from services.storage.ceph.survey import LISTER, Surveying
from services.storage.ceph.words import pool_of
from services.storage.errors import StorageError
from services.storage.files.directory import Directory
from services.storage.files.survey import Lying, listed
from services.storage.link import Link
from services.storage.volumes import Volume
from tests.seams.foreigners import make_disk
from tests.seams.stores import MIB, OTHER, TEMPLATE, Bench

pytestmark = pytest.mark.asyncio(loop_scope="session")

SIZE = 32 * MIB
SECONDS = 30


@pytest.fixture
def bench(both: dict[str, Bench]) -> Bench:
    return both["rbd"]


@pytest_asyncio.fixture(loop_scope="session")
async def surveying(bench: Bench) -> AsyncIterator[Surveying]:
    made = Surveying(Cluster(bench.conf))
    yield made
    await made.close()


async def made(bench: Bench, template: str | None = TEMPLATE) -> Volume:
    volume = bench.volume(OTHER)
    await bench.store.create(volume, SIZE, template)
    return volume


async def test_images_are_said_as_librbd_has_them_and_what_is_in_the_trash_apart(
    bench: Bench, surveying: Surveying
) -> None:
    alone, grown, cloned, moved, gone = [await made(bench, None), *[await made(bench) for _ in range(4)]]
    await bench.store.grow(grown, 2 * SIZE)
    await bench.store.snapshot(grown, "first")
    await bench.store.clone(grown, "first", Volume(OTHER, f"{cloned.name}-2"))
    await bench.store.detach(cloned)
    kept = await bench.store.trash(moved, 3600)
    await bench.store.purge(await bench.store.trash(gone, 0))

    everyone = [alone, grown, cloned, moved, gone, Volume(OTHER, f"{cloned.name}-2")]
    seen = await surveying.images(OTHER, [one.name for one in everyone])
    for one in everyone:
        found = await bench.store.look(one)
        assert seen.lying.get(one.name) == (found and Lying(found.size_bytes, found.parent)), one
    assert seen.lying[grown.name] == Lying(2 * SIZE, f"templates/{TEMPLATE}@origin")
    assert seen.lying[f"{cloned.name}-2"].parent == f"{pool_of(OTHER)}/{grown.name}@first"
    assert {one.name for one in (moved, gone)} & seen.names == set()
    assert (moved.name in seen.trash, gone.name in seen.trash) == (True, False)
    beside = await surveying.images(OTHER, [])
    assert (beside.lying, beside.names) == ({}, seen.names)
    await bench.store.recover(kept)


async def test_an_org_without_a_pool_and_a_cluster_that_is_away_say_nothing_about_any_disk(
    bench: Bench, surveying: Surveying, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match="no pool in this one") as nowhere:
        await surveying.images("nobody", ["db"])
    assert not nowhere.value.lost
    away = Surveying(Cluster(tmp_path / "ceph.conf"))
    with pytest.raises(StorageError, match="was not reached") as lost:
        await away.images(OTHER, ["db"])
    assert lost.value.lost
    await away.close()


async def test_an_image_that_went_since_it_was_listed_is_left_out(bench: Bench) -> None:
    volume = await made(bench)
    speaker = Speaker(bench.conf, child=LISTER)
    ids = speaker.ask("images", SECONDS, pool=pool_of(OTHER), most=1000)["images"]
    found = speaker.ask("heads", SECONDS, pool=pool_of(OTHER), ids=["nobody", ids[volume.name]])
    assert found == {ids[volume.name]: {"size_bytes": SIZE, "parent": ["templates", TEMPLATE, "origin"]}}
    with pytest.raises(StorageError, match="more than 0 images"):
        speaker.ask("images", SECONDS, pool=pool_of(OTHER), most=0)
    speaker.close()


async def test_a_directory_that_is_not_mounted_here_is_listed_by_its_hosts_libvirt(
    both: dict[str, Bench], tmp_path: Path
) -> None:
    bench = both["qcow2"]
    place = HostPlace("h1", bench.machine.uri, "tcg", 1024, 20000, volumes=str(bench.machine.volumes))
    here, link = Directory(place, bench.directory / "templates", SystemClock()), Link(place)
    alone, grown = bench.volume(OTHER), bench.volume(OTHER)
    await here.create(alone, SIZE)
    await here.create(grown, SIZE, TEMPLATE)
    await here.grow(grown, 2 * SIZE)
    layer = bench.machine.volumes / f"{OTHER}.{alone.name}.s40.qcow2"
    make_disk(layer, "qcow2", "L", base=bench.machine.volumes / f"{OTHER}.{alone.name}.qcow2")
    strange = bench.machine.volumes / f"{OTHER}.strange.qcow2"
    strange.write_bytes(b"no disk at all")

    read, said = await here.survey(), await asyncio.to_thread(listed, link.connected(), bench.machine.volumes)
    mine = [f"{OTHER}.{one.name}.qcow2" for one in (alone, grown)]
    for name in (*mine, layer.name, strange.name):
        assert said.files[name] == read.files[name], name
    assert said.files[mine[1]].size_bytes == 2 * SIZE
    assert said.newest == read.newest
    (bench.machine.volumes / mine[0]).rename(tmp_path / "moved.qcow2")
    assert mine[0] not in listed(link.connected(), bench.machine.volumes).files
    assert "libvirt lists" in said.absent
    for path in (layer, strange):
        path.unlink()


async def test_a_host_whose_directory_is_not_mounted_here_and_that_has_no_pool_says_nothing_about_any_disk(
    both: dict[str, Bench], tmp_path: Path
) -> None:
    bench = both["qcow2"]
    place = HostPlace("h1", bench.machine.uri, "tcg", 1024, 20000, volumes=str(tmp_path / "elsewhere"))
    with pytest.raises(StorageError, match="nothing is known of what lies there"):
        await Directory(place, bench.directory / "templates", SystemClock()).survey()
    assert not (tmp_path / "elsewhere").exists()
