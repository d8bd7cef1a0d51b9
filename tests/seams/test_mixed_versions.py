"""Workers of two releases side by side: whoever reads goes first, and a writer who goes first stops the others, harming nothing.

The next release has a second version of `stock.requested` (tests/seams/next_release.py); today's is that of this checkout.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import msgspec
import pytest

from events.bus.port import Bus, UnansweredError
from events.envelope import Envelope
from events.gate import GateDecided
from events.registry import UnknownEventError
from schemas.intake import Receipt, Stock
from tests.seams.client import ORG, Client
from tests.seams.crew import Crew
from tests.seams.house import a_client, a_world
from tests.support import eventually
from virtscale.world import World

SENTENCE = "The ledger holds an event of type stock.requested.v2, which this version does not know."


class NextCrew(Crew):
    """Workers of the next release."""

    through = ("tests.seams.next_release",)


@dataclass(frozen=True)
class Mixed:
    """A house in which both releases can work, and a client of today's."""

    today: Crew
    later: NextCrew
    client: Client
    operator: Bus
    reader: Bus

    async def ask(self, key: str) -> str:
        """The id of a request for stock, once signal, whichever it is, has stored it."""
        wish = msgspec.json.encode(Stock(pool="web", key=key, vms=1))
        async with asyncio.timeout(20):
            while True:
                try:
                    answer = await self.operator.ask(f"in.{ORG}.operator.stock", wish, 1.0)
                except UnansweredError:  # signal is still reading the ledger
                    continue
                return msgspec.json.decode(answer, type=Receipt).id

    async def written(self) -> list[tuple[str, GateDecided | None]]:
        """Type and decision of all that the ledger holds, for a process that does not know every type."""
        last, found = await self.reader.last(), list[tuple[str, GateDecided | None]]()
        for stored in await self.reader.read(1, last):
            envelope = msgspec.json.decode(stored.payload, type=Envelope)
            decided = envelope.type == "gate.decided.v4"
            found.append(
                (envelope.type, msgspec.json.decode(envelope.data, type=GateDecided) if decided else None)
            )
        return found

    async def answered(self, request: str) -> bool:
        return any(
            answer.request == request
            for _, decided in await self.written()
            if decided is not None
            for answer in decided.answers
        )

    async def until(self, condition: Callable[[], object], why: str) -> None:
        try:
            await eventually(condition, 15.0, every_seconds=0.05, why=why)
        except AssertionError as error:
            error.add_note(self.today.last_words() + self.later.last_words())
            raise


@pytest.fixture
async def mixed() -> AsyncIterator[Mixed]:
    """Today's signal and gate are at work, and a pool is defined."""
    async with AsyncExitStack() as stack:
        world: World
        world, _ = await stack.enter_async_context(a_world("test"))
        today, later = Crew(world.directory, keep=False), NextCrew(world.directory, keep=False)
        stack.push_async_callback(later.stop)
        stack.push_async_callback(today.stop)
        for name in ("signal", "gate"):
            await today.start(name)
        client = await stack.enter_async_context(a_client(world))
        await client.until(lambda: (ORG, "web") in client.fleet.pools, 10.0, "no gate works")
        await world.enact(client.contracts)
        operator, reader = await world.connect("operator"), await world.connect("reader")
        stack.push_async_callback(operator.close)
        stack.push_async_callback(reader.close)
        yield Mixed(today, later, client, operator, reader)


async def test_a_reader_of_the_next_release_answers_both_todays_writer_and_its_own(mixed: Mixed) -> None:
    await mixed.today.dismiss("gate")
    await mixed.later.start("gate")
    former = await mixed.ask("written-today")
    await mixed.until(lambda: mixed.answered(former), "the next gate does not read today's events")
    assert [kind for kind, _ in await mixed.written() if kind.startswith("stock.")] == ["stock.requested.v1"]

    await mixed.today.dismiss("signal")
    await mixed.later.start("signal")
    newer = await mixed.ask("written-tomorrow")
    await mixed.until(lambda: mixed.answered(newer), "the next gate does not read its own events")
    kinds = [kind for kind, _ in await mixed.written() if kind.startswith("stock.")]
    assert kinds == ["stock.requested.v1", "stock.requested.v2"]
    assert mixed.later.surprises == []


async def test_a_writer_that_ships_before_its_readers_stops_them_with_a_sentence_until_they_know(
    mixed: Mixed,
) -> None:
    await mixed.today.dismiss("signal")
    await mixed.later.start("signal")
    marks = mixed.today.marks()
    newer = await mixed.ask("too-early")
    await mixed.until(lambda: mixed.today.codes("gate") == (1,), "today's gate goes on in the dark")
    assert mixed.today.said("gate", marks["gate"]).splitlines()[-1] == f"gate stopped: {SENTENCE}"
    with pytest.raises(UnknownEventError, match=r"stock\.requested\.v2, which this version does not know"):
        await asyncio.wait_for(mixed.client._following, 10.0)

    await mixed.today.start("gate", name="gate-again")
    await mixed.until(lambda: mixed.today.codes("gate-again") == (1,), "it starts on half a ledger")
    assert not await mixed.answered(newer)

    await mixed.later.start("gate")
    await mixed.until(lambda: mixed.answered(newer), "the next gate does not go on where today's stopped")
