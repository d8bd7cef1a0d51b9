"""Copies of volumes: what any driver exports any driver takes, whole or not at all.

The same benches as in test_storage_drivers.py, the simulation's among them.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from services.storage.volumes import DamagedCopyError, MissingError, Volume
from tests.seams.shelf_bench import KIND, shelf_bench
from tests.seams.stores import MIB, TEMPLATE, Bench

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


@pytest.mark.parametrize(
    ("bench", "other"),
    [("qcow2", "qcow2"), ("qcow2", "rbd"), ("rbd", "qcow2"), ("rbd", "rbd"), (KIND, KIND)],
    indirect=["bench"],
)
async def test_a_copy_comes_back_as_a_volume_of_either_kind(
    both: dict[str, Bench], bench: Bench, volume: Volume, other: str
) -> None:
    await bench.store.snapshot(volume, "one")
    bench.write(volume, "B", MIB)
    file = bench.file()
    copy = await bench.store.export(volume, "one", file)
    assert (copy.size_bytes, copy.file_bytes) == (32 * MIB, file.stat().st_size)
    await bench.store.forget(volume, "one")
    assert await bench.again().export(volume, "one", file) == copy, "it needs its snapshot no more"
    assert file.stat().st_mode & 0o077 == 0
    into = bench if other == KIND else both[other]
    made = into.volume()
    seen = await into.store.load(copy, made)
    assert (seen.size_bytes, seen.parent) == (32 * MIB, None)
    assert await into.again().load(copy, made) == seen
    assert into.reads(made, "A", MIB)
    assert into.reads(made, "T")
    if other == "qcow2":  # a domain's user may open it
        found, owner = Path(seen.place).stat(), into.machine.volumes.stat()
        assert (found.st_uid, found.st_mode & 0o777) == (owner.st_uid, 0o600)


async def test_a_copy_that_was_changed_is_refused(bench: Bench, volume: Volume) -> None:
    copy = await bench.store.export(volume, None, bench.file())
    with copy.file.open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"!")
    made = bench.volume()
    with pytest.raises(DamagedCopyError, match="digest") as caught:
        await bench.store.load(copy, made)
    assert caught.value.code == "CopyDamaged"
    with pytest.raises(MissingError, match="gone"):
        await bench.store.load(replace(copy, file=bench.file()), made)
    assert await bench.store.look(made) is None


async def test_half_a_copy_never_has_its_name(bench: Bench, volume: Volume) -> None:
    file = bench.file()
    file.parent.mkdir(exist_ok=True)
    file.with_name(file.name + ".part").write_bytes(b"what a killed life left")
    copy = await bench.store.export(volume, None, file)
    assert copy.size_bytes == 32 * MIB
    assert not list(file.parent.glob("*.part"))
