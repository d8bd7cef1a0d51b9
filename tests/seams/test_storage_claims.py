"""Whose a volume is that is made from a copy, asked of both drivers and of the simulation's: whoever died, nobody has another's disk."""

import pytest
import pytest_asyncio

from services.storage.volumes import MissingError, OtherOrgError, OtherVolumeError, Volume
from tests.seams.shelf_bench import KIND, shelf_bench
from tests.seams.stores import MIB, OTHER, TEMPLATE, Bench

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(params=["qcow2", "rbd", KIND])
def bench(request: pytest.FixtureRequest, both: dict[str, Bench]) -> Bench:
    return shelf_bench(both["qcow2"]) if request.param == KIND else both[request.param]


@pytest_asyncio.fixture(loop_scope="session")
async def volume(bench: Bench) -> Volume:
    """A volume of 32 MiB over the template, with an A in its second mebibyte."""
    made = bench.volume()
    await bench.store.create(made, 32 * MIB, TEMPLATE)
    bench.write(made, "A", MIB)
    return made


async def test_a_claim_outlives_who_made_it_and_is_of_one_who_began_before_the_volume_was_there(
    bench: Bench, volume: Volume
) -> None:
    store, made = bench.store, bench.volume()
    assert not await store.claim(volume, "one"), "it was there before"
    assert await store.claim(made, "one")
    await store.create(made, 8 * MIB)
    await store.sweep(made)
    again = bench.again()
    assert await again.claim(made, "one")
    assert not await again.claim(made, "two")
    assert await store.look(made) is not None
    await store.purge(await store.trash(made, 0))
    await store.sweep(made)
    await store.create(made, 8 * MIB)
    assert not await store.claim(made, "one"), "it went with its volume, and this is another"


async def test_a_layer_that_was_left_is_in_the_way_of_a_new_volume_too(both: dict[str, Bench]) -> None:
    bench = both["qcow2"]
    made = bench.volume()
    left = bench.machine.volumes / f"{made.org}.{made.name}.s17.qcow2"
    left.write_bytes(b"x")
    assert not await bench.store.claim(made, "one")
    left.unlink()
    assert await bench.store.claim(made, "one")
    await bench.store.sweep(made)


async def test_what_an_order_made_is_discarded_at_once_and_what_others_made_or_put_into_the_trash_stays(
    bench: Bench, volume: Volume
) -> None:
    store, made = bench.store, bench.volume()
    await store.create(made, 8 * MIB)
    theirs = await store.trash(made, 0)
    assert await store.claim(made, "one")
    await store.create(made, 8 * MIB)
    for other in (made, volume):
        await store.discard(other, "two")
        assert await store.look(other) is not None
    for _ in range(2):
        await bench.again().discard(made, "one")
        assert await store.look(made) is None
        assert [one for one in await store.trashed(made.org) if one.volume == made] == [theirs]
    assert await store.claim(made, "two"), "nobody claims it any more"
    await store.sweep(made)
    await store.purge(theirs)


async def test_a_duplicate_stands_alone_and_takes_the_place_of_nothing_that_was_there(
    bench: Bench, volume: Volume
) -> None:
    store, made, stranger = bench.store, bench.volume(), bench.volume()
    await store.snapshot(volume, "one")
    bench.write(volume, "B", MIB)
    for _ in range(2):
        seen = await store.duplicate(volume, "one", made, "order")
        assert (seen.size_bytes, seen.parent) == (32 * MIB, None)
    assert bench.reads(made, "A", MIB)
    assert bench.reads(made, "T")
    with pytest.raises(OtherVolumeError, match="nobody made it for"):
        await store.duplicate(volume, "one", made, "another")
    await store.create(stranger, 8 * MIB)
    with pytest.raises(OtherVolumeError, match="left as it is"):
        await store.duplicate(volume, "one", stranger, "order")
    with pytest.raises(MissingError):
        await store.duplicate(volume, "two", bench.volume(), "order")
    with pytest.raises(OtherOrgError):
        await store.duplicate(volume, "one", Volume(OTHER, made.name), "order")
    assert bench.reads(made, "A", MIB)
    assert await store.look(stranger) is not None
