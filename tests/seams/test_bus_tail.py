"""The tail and the intake: the same promises for the real bus and for its twin in memory."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from events.bus.ledger import Ledger
from events.bus.port import Bus, DeniedError, Outgoing, UnansweredError
from events.envelope import Recorded, address
from events.ids import derive
from events.person import PersonErased
from tests.seams.bus_worlds import (
    FENCE,
    GATE,
    NOTIFIER,
    OVERDUE,
    SHOP,
    SIGNAL,
    VIEW,
    Follower,
    World,
    a_world,
    out,
)
from tests.support import eventually, turns

KINDS = ("memory", "nats")


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(request.param, tmp_path) as made:
        yield made


async def test_a_tail_from_any_point_sees_everything_once_and_in_order(world: World) -> None:
    gate, view = await world.connect(GATE), await world.connect(VIEW)
    for number in range(1, 21):
        await gate.append(out(FENCE, f"{number}", b"%d" % number))
    followers = [Follower(view, after) for after in (0, 7, 20, 20)]
    for number in range(21, 41):
        await gate.append(out(OVERDUE.format(f"vm-{number % 3}"), f"{number}", b"%d" % number))
    for follower in followers:
        await follower.reach(40)
        assert [message.id for message in follower.raw] == [f"{n}" for n in range(follower.after + 1, 41)]
        assert follower.raw == await view.read(follower.after + 1, 40)
        await follower.end()
    assert world.faults == []


async def test_a_tail_carries_more_than_one_pull_at_once(world: World) -> None:
    gate, view = await world.connect(GATE), await world.connect(VIEW)
    follower = Follower(view)
    for batch in range(3):
        await gate.append_batch([out(OVERDUE.format("vm-1"), f"{batch}-{n}") for n in range(900)])
    seen = await follower.reach(2700)
    assert [message.seq for message in seen] == list(range(1, 2701))
    assert follower.raw == seen
    await follower.end()


async def test_a_tail_survives_the_death_of_the_server(world: World) -> None:
    gate, view = await world.connect(GATE), await world.connect(VIEW)
    follower = Follower(view)
    acked = 0
    for life in range(3):
        under_way = [
            asyncio.create_task(gate.append(out(FENCE, f"{life}-{number}"))) for number in range(100)
        ]
        await under_way[0]
        await world.kill_server()
        answers = await asyncio.gather(*under_way, return_exceptions=True)
        acked += sum(not isinstance(answer, BaseException) for answer in answers)
        await world.start_server()
    await gate.append(out(FENCE, "last"))
    last = await gate.last()
    assert acked < last
    seen = await follower.reach(last)
    assert seen == await view.read(1, last)
    await follower.end()


async def test_a_tail_begins_again_at_the_last_message_that_it_gave(world: World) -> None:
    gate, view = await world.connect(GATE), await world.connect(VIEW)
    for number in range(1, 4):
        await gate.append(out(FENCE, f"{number}"))
    given, silent = Follower(view), Follower(view, 3)
    await given.reach(3)
    await view.last()
    await world.kill_server()
    await world.start_server()
    await append_until_it_is(gate, out(FENCE, "4"))
    for follower in (given, silent):
        await follower.reach(4)
    assert given.raw == [*given.seen[:3], *await view.read(3, 4)]
    assert silent.raw == await view.read(3, 4)
    for follower in (given, silent):
        await follower.end()


async def test_a_tail_that_is_slow_still_gets_everything(world: World) -> None:
    gate, view = await world.connect(GATE), await world.connect(VIEW)
    go_on = asyncio.Event()
    got: list[int] = []

    async def read() -> None:
        async for group in view.tail(0):
            got.extend(message.seq for message in group)
            await go_on.wait()

    reading = asyncio.create_task(read())
    await gate.append(out(FENCE, "first"))
    await eventually(lambda: got == [1])
    for batch in range(4):
        await gate.append_batch([out(OVERDUE.format("vm-1"), f"{batch}-{n}") for n in range(500)])
    go_on.set()
    await eventually(lambda: len(got) >= 2001, why="the tail stopped")
    assert got == list(range(1, 2002))
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)


async def test_the_tail_ends_with_its_connection(world: World) -> None:
    view = await world.connect(VIEW)
    reading = asyncio.create_task(anext(view.tail(0)))
    await view.last()
    await view.close()
    async with asyncio.timeout(5):
        with pytest.raises(StopAsyncIteration):
            await reading


async def test_a_tail_that_is_being_opened_ends_with_its_connection_at_whatever_moment(world: World) -> None:
    for moment in range(12):
        view = await world.connect(VIEW)
        reading = asyncio.create_task(anext(view.tail(0)))
        await turns(moment)
        async with asyncio.timeout(5):
            await view.close()
            with pytest.raises(StopAsyncIteration):
                await reading


async def append_until_it_is(bus: Bus, message: Outgoing) -> None:
    async def stored() -> bool:
        try:
            await bus.append(message)
        except UnansweredError:
            return False
        return True

    await eventually(stored)


class Count:
    """A fold that keeps what it was given."""

    def __init__(self) -> None:
        self.seqs: list[int] = []

    def apply(self, recorded: Recorded) -> None:
        self.seqs.append(recorded.seq)


async def test_the_reader_folds_everything_once_while_the_server_dies(world: World) -> None:
    notifier = await world.connect(NOTIFIER)
    view = await world.connect(VIEW)
    ledger = Ledger(view)
    count = ledger.fold(Count)
    following = asyncio.create_task(ledger.follow())
    at = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
    for number in range(60):
        event = address(
            PersonErased(org="acme", person=f"p{number}", existed=True, erased_at=at),
            writer="notifier",
            id=derive("test", number),
            time=at,
            cause=None,
            correlation=derive("test", number),
        )
        if number == 30:
            await world.kill_server()
            await world.start_server()
        await append_until_it_is(notifier, out(event.subject, event.id, event.payload))
    last = await view.last()
    async with asyncio.timeout(10):
        await ledger.reach(last)
    assert count.seqs == list(range(1, last + 1))
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_the_intake_answers_whoever_asks(world: World) -> None:
    signal, shop = await world.connect(SIGNAL), await world.connect(SHOP)

    async def answer(subject: str, payload: bytes) -> bytes:
        return subject.encode() + b" " + payload

    await signal.serve("in.>", "signal", answer)
    answers = await asyncio.gather(*(shop.ask("in.acme.shop.scale", b"%d" % n, 5.0) for n in range(50)))
    assert answers == [b"in.acme.shop.scale %d" % n for n in range(50)]


async def test_of_a_queue_one_member_answers(world: World) -> None:
    heard: list[bytes] = []

    async def answer(_: str, payload: bytes) -> bytes:
        heard.append(payload)
        return b"yes"

    for _ in range(2):
        signal = await world.connect(SIGNAL)
        await signal.serve("in.>", "signal", answer)
    shop = await world.connect(SHOP)
    for number in range(20):
        assert await shop.ask("in.acme.shop.scale", b"%d" % number, 5.0) == b"yes"
    assert heard == [b"%d" % number for number in range(20)]


async def test_a_question_that_nobody_serves_is_unanswered_at_once(world: World) -> None:
    shop = await world.connect(SHOP)
    async with asyncio.timeout(2):
        with pytest.raises(UnansweredError, match=r"in\.acme\.shop\.scale"):
            await shop.ask("in.acme.shop.scale", b"{}", 30.0)


async def test_a_handler_that_fails_leaves_its_asker_unanswered_and_serves_on(world: World) -> None:
    signal, shop = await world.connect(SIGNAL), await world.connect(SHOP)

    async def answer(_: str, payload: bytes) -> bytes:
        if payload == b"bad":
            message = "no such thing"
            raise ValueError(message)
        return b"good"

    await signal.serve("in.>", "signal", answer)
    with pytest.raises(UnansweredError):
        await shop.ask("in.acme.shop.scale", b"bad", 0.2)
    assert await shop.ask("in.acme.shop.scale", b"fine", 5.0) == b"good"
    assert any("no such thing" in fault for fault in world.faults)


async def test_more_questions_than_can_be_answered_are_told_so(world: World) -> None:
    signal, shop = await world.connect(SIGNAL), await world.connect(SHOP)
    go_on = asyncio.Event()

    async def answer(_: str, __: bytes) -> bytes:
        await go_on.wait()
        return b"{}"

    await signal.serve("in.>", "signal", answer)
    asking = [asyncio.create_task(shop.ask("in.acme.shop.scale", b"", 10.0)) for _ in range(1030)]
    await eventually(lambda: any(task.done() for task in asking))
    go_on.set()
    answers = await asyncio.gather(*asking)
    overloaded = [text for text in answers if text != b"{}"]
    assert len(overloaded) == 6
    assert msgspec.json.decode(overloaded[0])["code"] == "Overloaded"


async def test_the_intake_is_served_again_after_the_death_of_the_server(world: World) -> None:
    signal, shop = await world.connect(SIGNAL), await world.connect(SHOP)

    async def answer(_: str, payload: bytes) -> bytes:
        return payload

    await signal.serve("in.>", "signal", answer)
    await world.kill_server()
    await world.start_server()

    async def answered() -> bool:
        try:
            return await shop.ask("in.acme.shop.scale", b"again", 0.5) == b"again"
        except UnansweredError:
            return False

    await eventually(answered)


async def test_a_denied_publish_says_who_and_where_at_once(world: World) -> None:
    gate = await world.connect(GATE, timeout_seconds=30.0)
    foreign = "vs.acme.signal.pool.web.scale.requested"
    async with asyncio.timeout(2):
        with pytest.raises(DeniedError, match=f"gate publish on {foreign}"):
            await gate.append(out(foreign, "forged"))
        with pytest.raises(DeniedError, match=foreign):
            await gate.append_batch([out(FENCE, "mine"), out(foreign, "forged too")])
        with pytest.raises(DeniedError, match=foreign):
            await gate.append_batch([out(foreign, "forged first"), out(FENCE, "mine too")])
    # A neighbour under way at the same time is none the worse for it.
    good, bad = await asyncio.gather(
        gate.append(out(FENCE, "good")), gate.append(out(foreign, "bad")), return_exceptions=True
    )
    assert isinstance(bad, DeniedError)
    assert not isinstance(good, BaseException)
    assert [message.id for message in await gate.read(1, 10)] == ["good"]
