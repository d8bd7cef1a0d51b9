"""All images of an org, looked at together in a real Ceph: what is said of each is what librbd says when it opens it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from services.storage.ceph.cluster import Cluster
from services.storage.ceph.speaker import Speaker
from services.storage.ceph.survey import LISTER, Surveying
from services.storage.ceph.words import pool_of
from services.storage.errors import StorageError
from services.storage.files.survey import Lying
from services.storage.volumes import Volume
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
    await bench.store.trash(moved, 3600)
    (trashed,) = [await bench.store.trash(gone, 0)]
    await bench.store.purge(trashed)

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
