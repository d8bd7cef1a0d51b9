"""Where a replay reads: what was sealed from files, the rest from the bus, and nothing where the two are not one ledger."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from events.bus.memory import MemoryBus, MemoryServer
from events.bus.permissions import reader
from events.bus.port import BusError, Outgoing, Stored
from events.tlog.files import DirectoryFiles
from events.tlog.reader import Archive
from replay.history import recorded
from replay.source import ArchiveSource, BusSource, JoinedSource, LedgersDifferError, Source
from tests.rules.archives import seal

MESSAGES = 700


def ledger(first: int = 1) -> MemoryServer:
    """A bus that holds some hundred messages."""
    server = MemoryServer(lambda: 1_795_338_000_000_000_000)
    for number in range(first, first + MESSAGES):
        server.put(
            [Outgoing("vs.acme.signal.pool.web.scale.requested", f"{number:032x}", b"{}")], batch=False
        )
    return server


async def read(source: Source, first: int, last: int) -> list[Stored]:
    return [one async for group in source.read(first, last) for one in group]


def archive(directory: Path, stored: list[Stored]) -> Archive:
    seal(DirectoryFiles(directory), stored)
    return Archive(DirectoryFiles(directory))


@pytest.mark.parametrize("sealed", [1, 255, 256, 500, MESSAGES])
async def test_sealed_and_unsealed_messages_come_as_one_ledger(tmp_path: Path, sealed: int) -> None:
    server = ledger()
    bus = MemoryBus(server, reader("view"))
    whole = await read(BusSource(bus), 1, MESSAGES)
    assert [one.seq for one in whole] == list(range(1, MESSAGES + 1))
    files = archive(tmp_path, whole[:sealed])
    joined = JoinedSource(files, bus)
    assert await joined.last() == MESSAGES
    for first, last in ((1, MESSAGES), (sealed, sealed), (sealed + 1, MESSAGES), (200, 520), (1, 1)):
        assert await read(joined, first, last) == whole[first - 1 : last]
    alone = ArchiveSource(files)
    assert await alone.last() == sealed
    assert await read(alone, 1, sealed) == whole[:sealed]


async def test_a_bus_that_does_not_go_on_from_its_archive_is_not_read(tmp_path: Path) -> None:
    whole = await read(BusSource(MemoryBus(ledger(), reader("view"))), 1, MESSAGES)
    files = archive(tmp_path / "one", whole[:300])
    other = MemoryBus(ledger(first=2), reader("view"))
    with pytest.raises(LedgersDifferError, match=r"do not say the same of sequence 300") as differ:
        await JoinedSource(files, other).last()
    assert differ.value.code == "LedgersDiffer"
    empty = MemoryBus(MemoryServer(lambda: 1), reader("view"))
    with pytest.raises(LedgersDifferError, match=r"The bus ends at sequence 0, and 300 were sealed"):
        await JoinedSource(files, empty).last()


async def test_an_archive_with_a_hole_is_not_read_past_it() -> None:
    stored = [Stored(seq, 1, "vs.x", "", b"") for seq in (1, 2, 4)]

    class Holed:
        size = 4

        def stored(self, first_seq: int, last_seq: int) -> Iterator[Stored]:
            return iter(stored)

    with pytest.raises(BusError, match=r"no sequence 3 and goes on with 4"):
        await read(ArchiveSource(Holed()), 1, 4)
    stored.pop()
    with pytest.raises(BusError, match=r"The archive ends at sequence 2 and should reach 4"):
        await read(ArchiveSource(Holed()), 1, 4)


async def test_what_is_no_event_is_left_out(tmp_path: Path) -> None:
    noise = [Stored(seq, 1, "vs.x", "", b"no event") for seq in range(1, 4)]
    source = ArchiveSource(archive(tmp_path, noise))
    assert [group async for group in recorded(source)] == [[]]
