"""A process that has acted on more than the ledger holds, or on another ledger, does nothing more."""

import asyncio
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from events.bus import mark
from events.bus.ledger import Ledger
from events.bus.nats import NatsBus
from events.bus.permissions import LEDGER, STREAM_INFO
from events.bus.port import Bus, LedgerDiffersError, Stored
from events.envelope import Recorded, address
from events.ids import derive
from events.person import PersonErased
from tests.papers import NOW
from tests.seams.bus_worlds import NOTIFIER, VIEW, MemoryWorld, NatsWorld, a_world, out
from tests.simulation.older import go_back
from tests.support import eventually


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[NatsWorld]:
    async with a_world("nats", tmp_path / "bus") as made:
        assert isinstance(made, NatsWorld)
        yield made


async def append(bus: Bus, name: str) -> int:
    """Any event; the answer is its sequence."""
    key = derive(name)
    fact = PersonErased(org="acme", person=name, existed=True, erased_at=NOW)
    event = address(fact, writer="notifier", id=key, time=NOW, cause=None, correlation=key)
    return (await bus.append(out(event.subject, event.id, event.payload))).seq


async def acted(bus: Bus, path: Path, seq: int) -> None:
    """A process has read up to `seq`, noted it, and is gone."""
    ledger = Ledger(bus)
    parts = [asyncio.create_task(work) for work in (ledger.follow(), mark.keep(ledger, path))]
    await eventually(lambda: (noted := mark.read(path)) is not None and noted.seq == seq)
    for part in parts:
        part.cancel()
    await asyncio.gather(*parts, return_exceptions=True)


async def older(world: NatsWorld, copy: Path) -> None:
    """The bus comes back with the copy of its store that was made once."""
    await world.kill_server()
    store = world.server.directory / "store"
    shutil.rmtree(store)
    shutil.copytree(copy, store)
    await world.start_server()


async def test_a_process_goes_on_where_the_ledger_is_what_it_acted_on(
    world: NatsWorld, tmp_path: Path
) -> None:
    notifier, view = await world.connect(NOTIFIER), await world.connect(VIEW)
    path = tmp_path / "marks" / "gate.json"
    await mark.compare(view, path)
    await acted(view, path, await append(notifier, "ada"))
    await append(notifier, "grace")
    await mark.compare(view, path)
    await acted(view, path, 2)


async def test_a_process_halts_when_the_bus_comes_back_with_an_older_copy_of_its_store(
    world: NatsWorld, tmp_path: Path
) -> None:
    notifier, view = await world.connect(NOTIFIER), await world.connect(VIEW)
    path, copy = tmp_path / "marks" / "gate.json", tmp_path / "copy"
    await append(notifier, "ada")
    await world.kill_server()
    shutil.copytree(world.server.directory / "store", copy)
    await world.start_server()
    await eventually(lambda: append(notifier, "grace"))
    await acted(view, path, 2)
    await older(world, copy)
    with pytest.raises(LedgerDiffersError, match="ends at sequence 1, and this process had acted on 2"):
        await mark.compare(view, path)
    await eventually(lambda: append(notifier, "another"))
    with pytest.raises(LedgerDiffersError, match="Sequence 2 of the ledger is not what this process"):
        await mark.compare(view, path)


class Names:
    """A fold that keeps who was erased."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def apply(self, recorded: Recorded) -> None:
        assert isinstance(recorded.fact, PersonErased)
        self.names.append(recorded.fact.person)


async def test_a_living_process_halts_when_the_bus_comes_back_with_an_older_copy_and_so_does_the_next(
    world: NatsWorld, tmp_path: Path
) -> None:
    notifier, view = await world.connect(NOTIFIER), await world.connect(VIEW)
    path, copy = tmp_path / "marks" / "gate.json", tmp_path / "copy"
    await append(notifier, "ada")
    await world.kill_server()
    shutil.copytree(world.server.directory / "store", copy)
    await world.start_server()
    ledger = Ledger(view)
    folded = ledger.fold(Names)

    async def work() -> None:
        async with asyncio.TaskGroup() as parts:
            parts.create_task(ledger.follow())
            parts.create_task(mark.keep(ledger, path))

    working = asyncio.create_task(work())
    await eventually(lambda: mark.read(path) is not None)
    await eventually(lambda: append(notifier, "grace"))
    await ledger.reach(2)
    await older(world, copy)
    for name in ("another", "further"):
        await eventually(lambda name=name: append(notifier, name))
    async with asyncio.timeout(10):
        with pytest.raises(ExceptionGroup) as halted:
            await working
    assert halted.group_contains(LedgerDiffersError, match="Sequence 2 of the ledger is not the one")
    assert folded.names == ["ada", "grace"]
    with pytest.raises(LedgerDiffersError, match="Sequence 2 of the ledger is not what this process"):
        await mark.compare(view, path)


async def test_in_memory_a_living_process_halts_as_well(tmp_path: Path) -> None:
    async with a_world("memory", tmp_path) as world:
        assert isinstance(world, MemoryWorld)
        notifier, view = await world.connect(NOTIFIER), await world.connect(VIEW)
        ledger = Ledger(view)
        folded = ledger.fold(Names)
        following = asyncio.create_task(ledger.follow())
        await append(notifier, "ada")
        await ledger.reach(await append(notifier, "grace"))
        go_back(world.server, world.server.ledger, 1)
        for name in ("another", "further"):
            await append(notifier, name)
        async with asyncio.timeout(10):
            with pytest.raises(LedgerDiffersError, match="Sequence 2 of the ledger is not the one"):
                await following
        assert folded.names == ["ada", "grace"]


async def test_what_was_read_before_the_tail_began_is_compared_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_world("memory", tmp_path) as world:
        assert isinstance(world, MemoryWorld)
        notifier, view = await world.connect(NOTIFIER), await world.connect(VIEW)
        for name in ("ada", "grace"):
            await append(notifier, name)
        tail = view.tail

        async def late(after: int) -> AsyncGenerator[list[Stored]]:
            go_back(world.server, world.server.ledger, 1)
            for name in ("another", "further"):
                await append(notifier, name)
            async with aclosing(tail(after)) as groups:
                async for group in groups:
                    yield group

        monkeypatch.setattr(view, "tail", late)
        async with asyncio.timeout(10):
            with pytest.raises(LedgerDiffersError, match="Sequence 2 of the ledger is not the one"):
                await Ledger(view).follow()


async def test_a_living_process_goes_on_when_the_bus_comes_back_with_the_same_store(world: NatsWorld) -> None:
    notifier, view = await world.connect(NOTIFIER), await world.connect(VIEW)
    assert isinstance(view, NatsBus)
    ledger = Ledger(view)
    ledger.fold(Names)
    following = asyncio.create_task(ledger.follow())
    await append(notifier, "ada")
    # Noise under a name that is no text: were it not told as it was read, it would halt everybody.
    await view._link._client.put([b"PUB %s vs.\xff.a 0\r\n\r\n" % STREAM_INFO.format(LEDGER).encode()])
    await ledger.reach(2)
    for seq, name in ((3, "grace"), (4, "joan")):
        await world.kill_server()
        await world.start_server()
        await eventually(lambda name=name: append(notifier, name))
        async with asyncio.timeout(10):
            await ledger.reach(seq)
    assert not following.done()
    following.cancel()


async def test_a_mark_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    path = tmp_path / "gate.json"
    path.write_text("{")
    with pytest.raises(LedgerDiffersError, match="cannot be read"):
        mark.read(path)
