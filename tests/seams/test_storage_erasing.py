"""Nothing is left of an erased volume, with either driver, and nothing of another one is touched: a real libvirtd, a real Ceph."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from schemas.house import HostPlace
from schemas.volume import FileSource
from services.storage.ceph.rbd import Rbd, pool_of
from services.storage.files.qcow2 import Qcow2
from services.storage.files.remains import emptied
from services.storage.volumes import InUseError, Store, TooEarlyError, Volume
from tests.seams.stores import MIB, ORG, TEMPLATE, Bench
from tests.support import eventually

pytestmark = pytest.mark.asyncio(loop_scope="session")

SIZE = 32 * MIB
SECONDS = 60
KINDS = ["qcow2", "rbd"]


class Killed(BaseException):
    """Storage died here."""


class Mortal:
    """A store whose caller dies right after one of its calls."""

    def __init__(self, store: Store, calls: int) -> None:
        self._store = store
        self.left = calls

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        async def call(*arguments: object) -> object:
            answer = await getattr(self._store, name)(*arguments)
            self.left -= 1
            if not self.left:
                raise Killed
            return answer

        return call


async def full(bench: Bench) -> tuple[Volume, Volume, Volume]:
    """A volume with snapshots, an older one of its name in the trash for long, what lies over a snapshot, and one beside it."""
    store, volume = bench.store, bench.volume()
    await store.create(volume, SIZE, TEMPLATE)
    await store.trash(volume, 3600)
    await store.create(volume, SIZE, TEMPLATE)
    bench.write(volume, "A", MIB)
    await store.snapshot(volume, "one")
    await store.snapshot(volume, "two")
    beside, clone = Volume(volume.org, f"{volume.name}-2"), bench.volume()
    await store.create(beside, SIZE, TEMPLATE)
    await store.trash(beside, 3600)
    await store.create(beside, SIZE, TEMPLATE)
    await store.clone(volume, "one", clone)
    return volume, beside, clone


async def gone(bench: Bench, volume: Volume) -> int:
    """It is erased; Ceph holds what somebody had open a moment ago."""

    async def asked() -> tuple[int] | None:
        try:
            return (await emptied(bench.again(), volume),)
        except (InUseError, TooEarlyError):
            return None

    answered = await eventually(asked, SECONDS, every_seconds=0.1)
    assert answered is not None
    return answered[0]


async def holds(bench: Bench, volume: Volume, beside: Volume, clone: Volume) -> None:
    store = bench.store
    assert await store.look(volume) is None
    trashed = [one.volume for one in await store.trashed(volume.org)]
    assert volume not in trashed
    assert beside in trashed
    assert bench.reads(beside, "T")
    assert bench.reads(clone, "A", MIB)
    assert bench.reads(clone, "T")


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_left_of_a_volume_and_all_else_is(both: dict[str, Bench], kind: str) -> None:
    bench = both[kind]
    volume, beside, clone = await full(bench)
    assert await gone(bench, volume) == 2
    await holds(bench, volume, beside, clone)
    assert await gone(bench, volume) == 0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_volume_that_somebody_has_open_stays(both: dict[str, Bench], kind: str) -> None:
    bench = both[kind]
    volume = bench.volume()
    await bench.store.create(volume, SIZE, TEMPLATE)
    with bench.asleep(await bench.store.source(volume)), pytest.raises(InUseError):
        await emptied(bench.store, volume)
    assert bench.reads(volume, "T")
    await gone(bench, volume)
    assert await bench.store.look(volume) is None


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
async def test_whoever_died_after_any_call_has_left_nothing_that_stays(
    both: dict[str, Bench], kind: str
) -> None:
    bench, calls = both[kind], 0
    while True:
        calls += 1
        volume, beside, clone = await full(bench)
        mortal = Mortal(bench.again(), calls)
        try:
            await emptied(cast("Store", mortal), volume)
        except Killed:
            await gone(bench, volume)
            await holds(bench, volume, beside, clone)
        else:
            break
    assert calls > 8


@pytest.mark.long
async def test_an_image_whose_making_was_cut_short_is_gone(both: dict[str, Bench]) -> None:
    bench = both["rbd"]
    volume, store = bench.volume(), cast("Rbd", bench.again())
    await bench.store.create(bench.volume(), SIZE, TEMPLATE)

    def begin() -> Any:
        store._copying.ask("begin", 30.0, pool=pool_of(ORG), image=volume.name, nonce="n" * 32)

    await store._copy("begin", begin)
    assert await store.look(volume) is None
    await gone(bench, volume)
    listed = await store._call(
        "look", lambda: store._asking.ask("look", 30.0, pool=pool_of(ORG), image=volume.name)
    )
    assert listed is None


async def test_every_file_of_the_vm_goes_and_a_file_that_is_open_keeps_them_all(
    both: dict[str, Bench],
) -> None:
    bench = both["qcow2"]
    volumes, volume = bench.machine.volumes, bench.volume()
    place = HostPlace("h1", bench.machine.uri, "tcg", 1024, 20000, volumes=str(volumes))
    disks = Qcow2(place, bench.directory / "templates")
    assert await bench.store.claim(
        volume, "an order"
    )  # a note for storage alone, which libvirt's user does not see here
    await bench.store.create(volume, SIZE, TEMPLATE)
    name = f"{volume.org}.{volume.name}"
    mine = [volumes / f"{name}.{one}" for one in ("s17.qcow2", "seed.iso", "qcow2.part", "ephemeral.qcow2")]
    notes = [volumes / f"{name}.qcow2.order"]
    mine.append(volumes / ".trash" / f"{name}.17" / f"{name}.qcow2")
    others = [
        volumes / f"{name}-2.qcow2",
        volumes / f"{name}0.qcow2",
        volumes / ".trash" / f"{name}-2.17" / "x",
    ]
    for path in (*mine, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")

    def there() -> set[Path]:
        return {path for path in (volumes / f"{name}.qcow2", *notes, *mine, *others) if path.exists()}

    before = there()
    with (
        bench.asleep(FileSource(str(volumes / f"{name}.qcow2"))),
        pytest.raises(InUseError, match="Nothing was removed"),
    ):
        await disks.clear(volume.org, volume.name)
    assert there() == before
    for _ in range(2):
        await disks.clear(volume.org, volume.name)
        assert there() == set(others)
    for path in others:
        path.unlink()
