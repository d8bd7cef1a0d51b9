"""A process that has acted on more than the ledger holds, or on another ledger, does nothing more."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from events.bus import mark
from events.bus.ledger import Ledger
from events.bus.mark import LedgerDiffersError
from events.bus.port import Bus
from events.envelope import address
from events.ids import derive
from events.person import PersonErased
from tests.papers import NOW
from tests.seams.bus_worlds import NOTIFIER, VIEW, NatsWorld, a_world, out
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


async def test_a_mark_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    path = tmp_path / "gate.json"
    path.write_text("{")
    with pytest.raises(LedgerDiffersError, match="cannot be read"):
        mark.read(path)
