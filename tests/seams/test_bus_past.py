"""A ledger that goes on in a new stream: who reads does not notice, who writes neither, and who was there before halts."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from nacl.signing import SigningKey

from events import keys
from events.bus import nats, streams
from events.bus.past import Past, PastUnreadableError
from events.bus.permissions import LEDGER, Permit
from events.bus.port import AnotherLedgerError, StaleError, Stored
from events.tlog.checkpoint import Checkpoint, signed
from events.tlog.files import DirectoryFiles
from events.tlog.leaf import entry
from events.tlog.note import Signer
from events.tlog.tiles import bundle_path
from events.tlog.writer import TileWriter
from tests.seams.bus_worlds import (
    ADMIN,
    FENCE,
    GATE,
    OTHER_FENCE,
    OVERDUE,
    VIEW,
    Follower,
    MemoryWorld,
    NatsWorld,
    a_world,
    out,
)

SIZE = 300
"""More than a bundle, and no whole number of them."""


@dataclass
class Rolled:
    """A world whose ledger went on in a new stream behind `SIZE` events, and what those were."""

    world: MemoryWorld | NatsWorld
    archive: Path
    before: Sequence[Stored]
    again: Callable[[], Awaitable[None]]
    """The stream is made anew once more, behind the same events."""

    async def connect(self, permit: Permit) -> nats.NatsBus:
        if isinstance(self.world, MemoryWorld):
            return await self.world.connect(permit)  # pyright: ignore[reportReturnType]
        bus = await nats.connect(
            self.world.server.url,
            permit.name,
            seed=keys.read(keys.path_of(self.world._keys, permit.name)),
            inbox=permit.inbox,
            on_fault=self.world.faults.append,
            past=Past(self.archive),
        )
        self.world._buses.append(bus)
        return bus


def sealed(directory: Path, messages: Sequence[Stored]) -> None:
    """An archive of these messages."""
    writer = TileWriter(DirectoryFiles(directory))
    for message in messages:
        writer.add(entry(message))
    origin = "ledger.example/house"
    checkpoint = Checkpoint(origin, writer.size, writer.frontier.root())
    writer.commit(signed(checkpoint, Signer(origin, SigningKey(b"k" * 32))))


async def filled(world: MemoryWorld | NatsWorld) -> list[Stored]:
    gate = await world.connect(GATE)
    await gate.append(out(FENCE, "fence-1", expect=0))
    await gate.append(out(OTHER_FENCE, "other-1", expect=0))
    rest = [out(OVERDUE.format(number % 7), f"id-{number}") for number in range(SIZE - 2)]
    await gate.append_batch(rest)
    return await gate.read(1, SIZE)


@pytest_asyncio.fixture(params=["memory", "nats"])
async def rolled(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rolled]:
    async with a_world(request.param, tmp_path / "bus", dedup_seconds=0) as world:
        assert isinstance(world, MemoryWorld | NatsWorld)
        before = await filled(world)

        async def anew() -> None:
            if isinstance(world, MemoryWorld):
                await world.kill_server()
                world.server.begin_anew(SIZE)
                await world.start_server()
                return
            admin = await world.connect(ADMIN)
            await admin.ask(f"$JS.API.STREAM.DELETE.{LEDGER}", b"", 5.0)
            await streams.establish(admin, first_seq=SIZE + 1, ledger_bytes=1 << 26)
            await world.kill_server()
            await world.start_server()

        sealed(tmp_path / "archive", before)
        await anew()
        yield Rolled(world, tmp_path / "archive", before, anew)


async def test_the_new_stream_goes_on_with_the_next_sequence(rolled: Rolled) -> None:
    gate = await rolled.connect(GATE)
    assert await gate.last() == SIZE
    store = await gate.store()
    assert (store.first_seq, store.last_seq) == (SIZE + 1, SIZE)
    assert (await gate.append(out(OVERDUE.format("x"), "new"))).seq == SIZE + 1


async def test_reading_runs_from_the_archive_into_the_stream_without_a_seam(rolled: Rolled) -> None:
    gate = await rolled.connect(GATE)
    for number in range(3):
        await gate.append(out(OVERDUE.format("x"), f"new-{number}"))
    view = await rolled.connect(VIEW)
    whole = await view.read(1, SIZE + 3)
    assert whole[:SIZE] == list(rolled.before)
    assert [one.seq for one in whole] == list(range(1, SIZE + 4))
    assert await view.read(SIZE - 1, SIZE) == list(rolled.before[-2:])
    assert [one.id for one in await view.read(SIZE + 1, SIZE + 1)] == ["new-0"]
    far: list[Stored] = []
    while len(far) < SIZE + 3:
        group = await view.read_ahead(len(far) + 1, SIZE + 3)
        assert 1 <= len(group) <= 256
        far.extend(group)
    assert far == whole


async def test_the_last_message_on_a_subject_is_found_however_long_ago_it_came(rolled: Rolled) -> None:
    gate = await rolled.connect(GATE)
    assert await gate.last_on(FENCE) == rolled.before[0]
    assert await gate.last_on("vs.*.gate.org.globex.>") == rolled.before[1]
    assert await gate.last_on(OVERDUE.format("nobody")) is None
    await gate.append(out(FENCE, "fence-2", expect=1))
    found = await gate.last_on(FENCE)
    assert found is not None
    assert (found.seq, found.id) == (SIZE + 1, "fence-2")


async def test_a_fence_goes_on_where_it_stood_and_lets_one_decision_through(rolled: Rolled) -> None:
    first, second = await rolled.connect(GATE), await rolled.connect(GATE)
    assert (await first.append(out(FENCE, "mine", expect=1))).seq == SIZE + 1
    with pytest.raises(StaleError):
        await second.append(out(FENCE, "late", expect=1))
    await second.append_batch([out(OTHER_FENCE, "theirs", expect=2), out(FENCE, "next", expect=SIZE + 1)])
    with pytest.raises(StaleError):
        await first.append_batch([out(OTHER_FENCE, "again", expect=2), out(FENCE, "more", expect=SIZE + 3)])


async def test_a_tail_hands_on_what_comes_in_the_new_stream(rolled: Rolled) -> None:
    gate = await rolled.connect(GATE)
    follower = Follower(gate, after=SIZE)
    await gate.append(out(OVERDUE.format("x"), "new"))
    assert [one.id for one in await follower.reach(SIZE + 1)] == ["new"]
    await follower.end()


async def test_a_process_whose_ledger_was_made_anew_reads_and_writes_nothing_more(rolled: Rolled) -> None:
    gate = await rolled.connect(GATE)
    follower = Follower(gate, after=SIZE)
    await gate.append(out(FENCE, "fence-2", expect=1))
    await follower.reach(SIZE + 1)
    await rolled.again()
    for asked in (
        gate.last(),
        gate.append(out(FENCE, "fence-3", expect=SIZE + 1)),
        gate.read(1, 5),
        gate.read_ahead(1, 5),
        gate.last_on(FENCE),
    ):
        with pytest.raises(AnotherLedgerError, match="start it again"):
            await asked
    with pytest.raises(AnotherLedgerError):
        await follower._task
    anew = await rolled.connect(GATE)
    assert (await anew.append(out(FENCE, "fence-3", expect=1))).seq == SIZE + 1


@pytest.mark.parametrize("rolled", ["nats"], indirect=True)
async def test_an_altered_or_missing_archive_is_not_folded(rolled: Rolled) -> None:
    path = rolled.archive / bundle_path(0)
    whole = path.read_bytes()
    place = whole.index(b"id-100")
    path.write_bytes(whole[:place] + b"id-999" + whole[place + 6 :])
    view = await rolled.connect(VIEW)
    with pytest.raises(PastUnreadableError, match=r"Event 103 .*not the one that was sealed"):
        await view.read(1, SIZE)
    path.unlink()
    with pytest.raises(PastUnreadableError, match="lacks tile/entries/000"):
        await view.read_ahead(1, SIZE)
    assert isinstance(rolled.world, NatsWorld)
    without = await rolled.world.connect(VIEW)
    with pytest.raises(PastUnreadableError, match="knows of no archive"):
        await without.read(1, 1)


@pytest.mark.parametrize("rolled", ["nats"], indirect=True)
async def test_a_stream_that_begins_behind_what_the_archive_holds_is_not_read(rolled: Rolled) -> None:
    assert isinstance(rolled.world, NatsWorld)
    admin = await rolled.world.connect(ADMIN)
    await admin.ask(f"$JS.API.STREAM.DELETE.{LEDGER}", b"", 5.0)
    await streams.establish(admin, first_seq=SIZE + 2, ledger_bytes=1 << 26)
    view = await rolled.connect(VIEW)
    with pytest.raises(PastUnreadableError, match=f"holds events 1 to {SIZE}"):
        await view.read(SIZE + 1, SIZE + 2)
