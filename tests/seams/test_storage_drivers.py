"""What a driver of volumes promises, asked of both: qcow2 files in a directory of libvirt's, and images in a real Ceph.

And of the simulation's, which stands in for them where everything goes wrong.
"""

import datetime as dt
import subprocess
from collections.abc import Awaitable, Callable

import pytest
import pytest_asyncio

from schemas.volume import layer_over
from services.storage.ceph.words import pool_of
from services.storage.volumes import (
    HasClonesError,
    InUseError,
    MissingError,
    OtherOrgError,
    OtherVolumeError,
    PinnedError,
    ShrinkError,
    Store,
    TooEarlyError,
    Trashed,
    UnfitNameError,
    Volume,
)
from tests.seams.shelf_bench import KIND, shelf_bench
from tests.seams.stores import MIB, OTHER, TEMPLATE, Bench
from tests.support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONG_SECONDS = 3600
"""Nothing is purged meanwhile."""


@pytest.fixture(params=["qcow2", "rbd", KIND])
def bench(request: pytest.FixtureRequest, both: dict[str, Bench]) -> Bench:
    return shelf_bench(both["qcow2"]) if request.param == KIND else both[request.param]


@pytest.fixture
def store(bench: Bench) -> Store:
    return bench.store


@pytest_asyncio.fixture(loop_scope="session")
async def volume(bench: Bench) -> Volume:
    """A volume of 32 MiB over the template, with an A in its second mebibyte."""
    made = bench.volume()
    await bench.store.create(made, 32 * MIB, TEMPLATE)
    bench.write(made, "A", MIB)
    return made


# ------------------------------------------------------------------------------------------------- made and looked at


async def test_a_volume_over_a_template_begins_as_it_and_has_the_size_asked_for(bench: Bench) -> None:
    made = bench.volume()
    seen = await bench.store.create(made, 32 * MIB, TEMPLATE)
    assert seen.size_bytes == 32 * MIB
    assert seen.parent is not None
    assert TEMPLATE in seen.parent
    assert not seen.in_use
    assert await bench.store.look(made) == seen
    assert bench.reads(made, "T")
    assert bench.reads(made, "\0", 20 * MIB)


async def test_an_empty_volume_lies_over_nothing(bench: Bench) -> None:
    made = bench.volume()
    seen = await bench.store.create(made, 8 * MIB)
    assert (seen.size_bytes, seen.parent) == (8 * MIB, None)
    assert bench.reads(made, "\0")


async def test_a_volume_that_is_made_again_keeps_what_is_in_it(bench: Bench, volume: Volume) -> None:
    seen = await bench.again().create(volume, 32 * MIB, TEMPLATE)
    assert seen == await bench.store.look(volume)
    assert bench.reads(volume, "A", MIB)


async def test_a_name_that_something_else_has_is_refused(store: Store, volume: Volume) -> None:
    with pytest.raises(OtherVolumeError, match="over nothing, but over") as caught:
        await store.create(volume, 32 * MIB)
    assert caught.value.code == "OtherVolume"


async def test_a_volume_smaller_than_its_template_is_refused(bench: Bench) -> None:
    made = bench.volume()
    with pytest.raises(ShrinkError):
        await bench.store.create(made, 8 * MIB, TEMPLATE)
    assert await bench.store.look(made) is None


async def test_a_volume_grows_and_keeps_what_is_in_it(bench: Bench, volume: Volume) -> None:
    for _ in range(2):
        assert await bench.store.grow(volume, 64 * MIB) == 64 * MIB
    assert bench.reads(volume, "A", MIB)
    assert bench.reads(volume, "\0", 60 * MIB)


async def test_a_volume_never_shrinks(bench: Bench, volume: Volume) -> None:
    with pytest.raises(ShrinkError, match="never shrinks") as caught:
        await bench.store.grow(volume, 32 * MIB - 512)
    assert (caught.value.code, caught.value.final) == ("ShrinkNotSupported", True)
    seen = await bench.store.look(volume)
    assert seen is not None
    assert seen.size_bytes == 32 * MIB


# --------------------------------------------------------------------------------------------------------- snapshots


async def test_a_restore_brings_back_what_was_and_shrinks_nothing(bench: Bench, volume: Volume) -> None:
    store = bench.store
    first = await store.snapshot(volume, "first")
    bench.write(volume, "B", MIB)
    await store.grow(volume, 64 * MIB)
    await store.snapshot(volume, "second")
    for _ in range(2):
        # It has 64 MiB by then, and 32 had it at the snapshot: a restore shrinks nothing, whatever was asked for.
        assert (await store.restore(volume, "first", 32 * MIB)).size_bytes == 64 * MIB
        assert bench.reads(volume, "A", MIB)
    assert (await store.snapshots(volume))[0] == first
    assert [one.name for one in await store.snapshots(volume)] == ["first", "second"]
    assert [one.size_bytes for one in await store.snapshots(volume)] == [32 * MIB, 64 * MIB]
    await store.restore(volume, "second", 64 * MIB)
    assert bench.reads(volume, "B", MIB)


async def test_a_snapshot_that_is_taken_again_stays_as_it_is(bench: Bench, volume: Volume) -> None:
    taken = await bench.store.snapshot(volume, "one")
    seen = await bench.store.look(volume)
    assert seen is not None
    assert (taken.place, taken.size_bytes) == (seen.place, seen.size_bytes)
    bench.write(volume, "B", MIB)
    assert await bench.again().snapshot(volume, "one") == taken
    await bench.store.restore(volume, "one", 32 * MIB)
    assert bench.reads(volume, "A", MIB)


async def test_a_snapshot_that_is_given_up_is_gone_and_the_volume_is_not(
    bench: Bench, volume: Volume
) -> None:
    await bench.store.snapshot(volume, "one")
    for _ in range(2):
        await bench.store.forget(volume, "one")
    assert await bench.store.snapshots(volume) == ()
    assert bench.reads(volume, "A", MIB)
    with pytest.raises(MissingError):
        await bench.store.restore(volume, "one", 32 * MIB)


# ------------------------------------------------------------------------------------------- while a domain has it


async def test_what_a_domain_has_open_is_grown_and_snapshotted_but_neither_restored_nor_thrown_away(
    bench: Bench, volume: Volume
) -> None:
    store = bench.store
    with bench.asleep(await store.source(volume)) as domain:
        seen = await store.look(volume)
        assert seen is not None
        assert seen.in_use

        with pytest.raises(InUseError, match="grown"):
            await store.grow(volume, 48 * MIB)
        with pytest.raises(InUseError, match="not by another"):
            await store.grow(volume, 48 * MIB, "another")
        assert domain.blockInfo("vda")[0] == 32 * MIB
        for _ in range(2):
            assert await store.grow(volume, 48 * MIB, "sleeper") == 48 * MIB
            assert domain.blockInfo("vda")[0] == 48 * MIB
        with pytest.raises(ShrinkError):
            await store.grow(volume, 32 * MIB, "sleeper")
        assert domain.blockInfo("vda")[0] == 48 * MIB

        for _ in range(2):
            await store.snapshot(volume, "one", "sleeper")
        await store.snapshot(volume, "two", "sleeper")
        await store.forget(volume, "two", "sleeper")
        assert [one.name for one in await store.snapshots(volume)] == ["one"]
        for refused in (
            store.release(volume),
            store.restore(volume, "one", 48 * MIB),
            store.trash(volume, 0),
            store.export(volume, None, bench.file()),
        ):
            with pytest.raises(InUseError) as caught:
                await refused
            assert caught.value.code == "VolumeInUse"
        copy = await store.export(volume, "one", bench.file())
        # Grown with a snapshot in it.
        await store.grow(volume, 56 * MIB, "sleeper")
        assert domain.blockInfo("vda")[0] == 56 * MIB
    assert copy.file.exists()
    assert bench.reads(volume, "A", MIB)


async def test_an_image_that_was_made_larger_by_hand_is_not_made_smaller_by_a_qemu_that_does_not_know(
    both: dict[str, Bench],
) -> None:
    bench = both["rbd"]
    store, volume = bench.store, bench.volume()
    await store.create(volume, 32 * MIB, TEMPLATE)
    with bench.asleep(await store.source(volume)) as domain:
        await store.grow(volume, 48 * MIB, "sleeper")
        image = f"{pool_of(volume.org)}/{volume.name}"
        subprocess.run(
            ("rbd", "-c", str(bench.conf), "resize", "--no-progress", "-s", "96M", image), check=True
        )
        with pytest.raises(ShrinkError):
            await store.grow(volume, 64 * MIB, "sleeper")
        assert domain.blockInfo("vda")[0] == 48 * MIB, "so its own word would not do"
    seen = await store.look(volume)
    assert seen is not None
    assert seen.size_bytes == 96 * MIB


# ----------------------------------------------------------------------------------------------------------- cloned


async def test_a_clone_and_its_origin_change_apart(bench: Bench, volume: Volume) -> None:
    store, clone = bench.store, bench.volume()
    await store.snapshot(volume, "one")
    bench.write(volume, "B", MIB)
    for _ in range(2):
        assert (await store.clone(volume, "one", clone)).size_bytes == 32 * MIB
        assert bench.reads(clone, "A", MIB)
        assert bench.reads(clone, "T")
    bench.write(clone, "C", MIB)
    assert bench.reads(volume, "B", MIB)
    await store.restore(volume, "one", 32 * MIB)
    assert bench.reads(volume, "A", MIB)
    with pytest.raises(OtherOrgError):
        await store.clone(volume, "one", Volume(OTHER, clone.name))


async def test_a_detached_clone_outlives_its_origin(bench: Bench, volume: Volume) -> None:
    store, clone = bench.store, bench.volume()
    await store.snapshot(volume, "one")
    await store.clone(volume, "one", clone)
    gone = await store.trash(volume, 0)
    if bench.kind == "rbd":  # a clone in the directory is a whole copy from the beginning
        with pytest.raises(HasClonesError, match=clone.name):
            await store.purge(gone)
    for _ in range(2):
        assert (await store.detach(clone)).parent is None
    await _in_time(lambda: store.purge(gone))
    assert await store.trashed(volume.org) == ()
    assert bench.reads(clone, "A", MIB)
    assert bench.reads(clone, "T")


async def test_a_volume_can_be_detached_from_its_template(bench: Bench, volume: Volume) -> None:
    assert (await bench.store.detach(volume)).parent is None
    assert bench.reads(volume, "T")
    assert bench.reads(volume, "A", MIB)


# ------------------------------------------------------------------------------------------------------------- trash


async def test_what_is_in_the_trash_comes_back_whole(bench: Bench, volume: Volume) -> None:
    store = bench.store
    taken = await store.snapshot(volume, "one")
    gone = await store.trash(volume, LONG_SECONDS)
    assert await store.look(volume) is None
    assert await store.trashed(volume.org) == (gone,)
    assert await store.trashed(OTHER) == ()
    assert await bench.again().trash(volume, LONG_SECONDS) == gone
    for _ in range(2):
        assert (await store.recover(gone)).size_bytes == 32 * MIB
    assert await store.trashed(volume.org) == ()
    assert await store.snapshots(volume) == (taken,)
    assert bench.reads(volume, "A", MIB)


async def test_nothing_is_purged_before_its_time_and_then_it_is_gone(bench: Bench, volume: Volume) -> None:
    store = bench.store
    await store.snapshot(volume, "one")
    gone = await store.trash(volume, LONG_SECONDS)
    with pytest.raises(TooEarlyError, match="until") as caught:
        await store.purge(gone)
    assert caught.value.code == "TooEarly"
    await store.recover(gone)
    assert [one.name for one in await store.snapshots(volume)] == ["one"]
    gone = await store.trash(volume, 1)
    await _in_time(lambda: store.purge(gone))
    await store.purge(gone)
    assert await store.trashed(volume.org) == ()
    with pytest.raises(MissingError):
        await store.recover(gone)


async def test_a_name_given_again_is_not_taken_back(bench: Bench, volume: Volume) -> None:
    store = bench.store
    gone = await store.trash(volume, 0)
    await store.create(volume, 8 * MIB)
    with pytest.raises(OtherVolumeError):
        await store.recover(gone)
    # Of one name, each has a place of its own there.
    newer = await store.trash(volume, LONG_SECONDS)
    assert {one.key for one in await store.trashed(volume.org)} == {gone.key, newer.key}
    await _in_time(lambda: store.purge(gone))
    assert await store.trashed(volume.org) == (newer,)
    assert (await store.recover(newer)).size_bytes == 8 * MIB


# ------------------------------------------------------------------------------------------------------- what is not


async def test_what_is_not_there_is_said_with_its_name(bench: Bench) -> None:
    store, none, to = bench.store, bench.volume(), bench.volume()
    gone = Trashed("no-such-key", none, dt.datetime(2026, 11, 22, tzinfo=dt.UTC))
    calls: list[Awaitable[object]] = [
        store.grow(none, MIB),
        store.snapshot(none, "one"),
        store.snapshots(none),
        store.restore(none, "one", MIB),
        store.forget(none, "one"),
        store.clone(none, "one", to),
        store.detach(none),
        store.release(none),
        store.trash(none, 0),
        store.recover(gone),
        store.export(none, None, bench.file()),
        store.source(none),
    ]
    for call in calls:
        with pytest.raises(MissingError, match=none.name) as caught:
            await call
        assert (caught.value.code, caught.value.final) == ("NoSuchVolume", True)
    assert await store.look(none) is None
    await store.purge(gone)


async def test_a_name_that_a_command_would_read_otherwise_is_refused(store: Store, volume: Volume) -> None:
    for name in ("a@b", "../a", "-d", "a b", "", "a:b"):
        with pytest.raises(UnfitNameError):
            Volume("acme", name)
        with pytest.raises(UnfitNameError):
            await store.snapshot(volume, name)


async def test_a_pinned_volume_is_exported_as_pinned_and_is_not_snapshotted(both: dict[str, Bench]) -> None:
    bench = both["qcow2"]
    volume = bench.volume()
    place = (await bench.store.create(volume, 32 * MIB, TEMPLATE)).place
    bench.write(volume, "A", MIB)
    layer = layer_over(place, 12)
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", place, layer], check=True, timeout=30
    )
    with pytest.raises(PinnedError, match="join it first"):
        await bench.store.snapshot(volume, "one")
    assert await bench.store.grow(volume, 48 * MIB) == 48 * MIB
    copy = await bench.store.export(volume, None, bench.file())
    assert copy.size_bytes == 32 * MIB
    gone = await bench.store.trash(volume, LONG_SECONDS)
    assert not list(bench.machine.volumes.glob(f"{volume.org}.{volume.name}.*"))
    assert (await bench.store.recover(gone)).size_bytes == 48 * MIB


async def _in_time(purge: Callable[[], Awaitable[None]]) -> None:
    """It is purged as soon as it may be."""

    async def purged() -> bool:
        try:
            await purge()
        except TooEarlyError:
            return False
        return True

    await eventually(purged, every_seconds=0.1)
