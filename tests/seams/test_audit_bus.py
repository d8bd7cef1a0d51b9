"""What verify says of a bus beside an archive, on the bus in memory, whose store can be altered as no server's can."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from events.bus.port import Bus
from events.tlog.reader import Archive
from replay.audit.against_bus import against_bus
from replay.audit.verify import Verdict
from tests.rules.archives import MemoryFiles, seal
from tests.seams.bus_worlds import VIEW, WAKER, MemoryWorld, a_world, out

SIZE = 600


@pytest.fixture
async def world() -> AsyncIterator[MemoryWorld]:
    """A bus that holds so many messages."""
    async with a_world("memory", None) as world:  # pyright: ignore[reportArgumentType]  (the twin has no directory)
        gate = await world.connect(WAKER)
        for seq in range(1, SIZE + 1):
            await gate.append(out("vs.acme.waker-h1.vm.web-1.vm.stopped", f"{seq:032x}", b"{%d}" % seq))
        assert isinstance(world, MemoryWorld)
        yield world


def sealed_of(world: MemoryWorld, size: int = SIZE) -> Archive:
    files = MemoryFiles()
    seal(files, world.server.ledger.messages[:size])
    return Archive(files)


async def said(world: MemoryWorld, archive: Archive) -> tuple[Verdict, Verdict]:
    bus: Bus = await world.connect(VIEW)
    return await against_bus(bus, archive)


async def test_a_bus_that_holds_what_was_sealed_is_sound_and_whole(world: MemoryWorld) -> None:
    integrity, completeness = await said(world, sealed_of(world))
    assert integrity.ok
    assert completeness.ok
    assert integrity.trusted_to == completeness.trusted_to == SIZE


async def test_what_is_not_sealed_yet_is_counted_and_is_no_fault(world: MemoryWorld) -> None:
    integrity, completeness = await said(world, sealed_of(world, 590))
    assert (integrity.ok, integrity.trusted_to) == (True, 590)
    assert (
        completeness.says
        == "The bus reaches the checkpoint's 590 sequences. 10 behind it are not sealed yet."
    )


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"payload": b"{}"}, "its payload differs"),
        ({"stored_ns": 5}, "its stored time differs"),
        (
            {"subject": "vs.acme.waker-h1.vm.web-2.vm.stopped", "id": "f" * 32},
            "its subject and message id differ",
        ),
    ],
)
async def test_another_message_than_was_sealed_is_named_with_what_differs(
    world: MemoryWorld, change: dict[str, Any], what: str
) -> None:
    archive, kept = sealed_of(world), world.server.ledger.messages
    kept[299] = msgspec.structs.replace(kept[299], **change)
    integrity, completeness = await said(world, archive)
    assert (integrity.code, integrity.first_bad_seq, integrity.trusted_to) == ("BusAltered", 300, 299)
    assert what in integrity.says
    assert completeness.ok, "it reaches as far; that it is not the same is the other verdict"


async def test_an_older_copy_of_the_store_ends_early(world: MemoryWorld) -> None:
    archive = sealed_of(world)
    del world.server.ledger.messages[400:]
    integrity, completeness = await said(world, archive)
    assert integrity.ok
    assert (completeness.code, completeness.first_bad_seq, completeness.trusted_to) == ("EndsEarly", 401, 400)
    assert "`virtscale ledger recover`" in completeness.says


async def test_a_tile_that_is_missing_ends_the_comparison(world: MemoryWorld) -> None:
    files = MemoryFiles()
    seal(files, world.server.ledger.messages)
    files.remove("tile/0/001")
    integrity, _ = await said(world, Archive(files))
    assert (integrity.code, integrity.first_bad_seq, integrity.trusted_to) == ("ArchiveUnreadable", 257, 256)
