"""What an append means: the same promises for the real bus and for its twin in memory."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from events.bus.port import FullError, KnownError, StaleError, TooLargeError, UnansweredError
from tests.seams.bus_worlds import (
    FENCE,
    GATE,
    OTHER_FENCE,
    OVERDUE,
    REQUESTED,
    SIGNAL,
    World,
    a_world,
    forgotten,
    out,
)

KINDS = ("memory", "nats")


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(request.param, tmp_path) as made:
        yield made


@pytest.fixture(params=[(kind, dedup) for kind in KINDS for dedup in (600.0, 0.0)], ids=str)
async def any_world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """With deduplication and without: what is asked of this world holds in both."""
    kind, dedup_seconds = request.param
    async with a_world(kind, tmp_path, dedup_seconds=dedup_seconds) as made:
        yield made


async def test_sequences_count_from_one_over_all_subjects(world: World) -> None:
    gate, signal = await world.connect(GATE), await world.connect(SIGNAL)
    assert await gate.last() == 0
    first = await gate.append(out(FENCE, "a"))
    second = await signal.append(out(REQUESTED, "b", b'{"n":2}'))
    assert (first.seq, first.duplicate, second.seq) == (1, False, 2)
    assert await gate.last() == 2
    on_requested = await gate.last_on(REQUESTED)
    assert on_requested is not None
    assert (on_requested.seq, on_requested.id, on_requested.payload) == (2, "b", b'{"n":2}')
    assert on_requested.subject == REQUESTED
    assert await gate.last_on(OTHER_FENCE) is None
    assert [await gate.last_on(REQUESTED)] == await gate.read(2, 2)


async def test_a_read_ends_with_the_ledger(world: World) -> None:
    gate = await world.connect(GATE)
    assert await gate.read(1, 10) == []
    for number in range(1, 31):
        await gate.append(out(FENCE, f"{number}", b"%d" % number))
    found = await gate.read(11, 25)
    assert [(message.seq, message.id, message.payload) for message in found] == [
        (number, f"{number}", b"%d" % number) for number in range(11, 26)
    ]
    assert [message.seq for message in await gate.read(29, 1000)] == [29, 30]
    assert await gate.read(31, 40) == []
    stored_ns = [message.stored_ns for message in await gate.read(1, 30)]
    assert stored_ns == sorted(stored_ns)


async def test_an_expectation_holds_on_its_own_subject_alone(any_world: World) -> None:
    gate = await any_world.connect(GATE)
    first = await gate.append(out(FENCE, "1", expect=0))
    await gate.append(out(OTHER_FENCE, "2", expect=0))
    second = await gate.append(out(FENCE, "3", expect=first.seq))
    assert second.seq == 3
    for wrong in (0, first.seq, 2, 4):
        with pytest.raises(StaleError):
            await gate.append(out(FENCE, f"wrong {wrong}", expect=wrong))
    assert await gate.last() == 3


async def test_of_two_gates_that_race_for_a_fence_exactly_one_wins(any_world: World) -> None:
    gates = [await any_world.connect(GATE), await any_world.connect(GATE)]
    fence = 0
    for number in range(40):
        answers = await asyncio.gather(
            *(gate.append(out(FENCE, f"{number}-{who}", expect=fence)) for who, gate in enumerate(gates)),
            return_exceptions=True,
        )
        won = [answer for answer in answers if not isinstance(answer, BaseException)]
        assert len(won) == 1
        assert [type(answer) for answer in answers if isinstance(answer, BaseException)] == [StaleError]
        fence = won[0].seq
    assert fence == 40


async def test_a_retry_of_a_stored_message_is_stale_and_not_a_duplicate(any_world: World) -> None:
    gate = await any_world.connect(GATE)
    message = out(FENCE, "once", expect=0)
    await gate.append(message)
    with pytest.raises(StaleError):
        await gate.append(message)
    assert await gate.last() == 1


async def test_an_id_is_known_whatever_it_carries(world: World) -> None:
    gate = await world.connect(GATE)
    first = await gate.append(out(FENCE, "same", b'{"round":1}'))
    again = await gate.append(out(OVERDUE.format("vm-1"), "same", b'{"other":2}'))
    assert (again.seq, again.duplicate) == (first.seq, True)
    met = await gate.append(out(FENCE, "same", b'{"round":2}', expect=first.seq))
    assert met.duplicate
    assert await gate.last() == 1
    assert (await gate.read(1, 1))[0].payload == b'{"round":1}'


@pytest.mark.parametrize("kind", KINDS)
async def test_without_deduplication_a_message_is_stored_twice_and_a_fenced_one_is_not(
    kind: str, tmp_path: Path
) -> None:
    async with a_world(kind, tmp_path, dedup_seconds=0.0) as world:
        gate = await world.connect(GATE)
        fence = await gate.append(out(FENCE, "fenced", expect=0))
        await gate.append(out(OVERDUE.format("vm-1"), "free"))
        await forgotten(gate)
        before = await gate.last()
        assert (await gate.append(out(OVERDUE.format("vm-1"), "free"))).seq == before + 1
        with pytest.raises(StaleError):
            await gate.append(out(FENCE, "fenced", expect=0))
        assert (await gate.last_on(FENCE)) == (await gate.read(fence.seq, fence.seq))[0]


async def test_a_batch_is_stored_whole_and_side_by_side(any_world: World) -> None:
    gate, other = await any_world.connect(GATE), await any_world.connect(GATE)
    batches = [
        gate.append_batch(
            [out(OVERDUE.format(f"vm-{n}"), f"b{number}-{n}", b"%d" % number) for n in range(5)]
        )
        for number in range(8)
    ]
    singles = [other.append(out(FENCE, f"s{number}")) for number in range(8)]
    acks = await asyncio.gather(*batches, *singles)
    found = await gate.read(1, 100)
    assert len(found) == 48
    for number, ack in enumerate(acks[:8]):
        members = found[ack.seq - 5 : ack.seq]
        assert [message.id for message in members] == [f"b{number}-{n}" for n in range(5)]


async def test_a_batch_with_one_stale_member_stores_nothing(any_world: World) -> None:
    gate = await any_world.connect(GATE)
    await gate.append(out(FENCE, "first", expect=0))
    with pytest.raises(StaleError):
        await gate.append_batch([out(OTHER_FENCE, "fine", expect=0), out(FENCE, "stale", expect=0)])
    assert await gate.last() == 1
    # Nothing of it is remembered either: the same ids are stored when they come again.
    ack = await gate.append_batch([out(OTHER_FENCE, "fine", expect=0), out(FENCE, "stale", expect=1)])
    assert (ack.seq, ack.duplicate) == (3, False)


async def test_a_batch_with_one_known_id_stores_nothing(world: World) -> None:
    gate = await world.connect(GATE)
    await gate.append(out(FENCE, "known"))
    with pytest.raises(KnownError):
        await gate.append_batch([out(OTHER_FENCE, "new"), out(FENCE, "known")])
    with pytest.raises(KnownError):
        await gate.append_batch([out(OTHER_FENCE, "twin"), out(FENCE, "twin")])
    assert await gate.last() == 1


async def test_a_batch_says_what_is_wrong_with_its_first_wrong_member(world: World) -> None:
    gate = await world.connect(GATE)
    await gate.append(out(FENCE, "known", expect=0))
    with pytest.raises(StaleError):
        await gate.append_batch([out(FENCE, "a", expect=0), out(OTHER_FENCE, "known")])
    with pytest.raises(KnownError):
        await gate.append_batch([out(OTHER_FENCE, "known"), out(FENCE, "a", expect=0)])
    # Within a member of a batch the id comes first; for a single message it is the expectation.
    with pytest.raises(KnownError):
        await gate.append_batch([out(OTHER_FENCE, "b"), out(FENCE, "known", expect=0)])


async def test_a_batch_sent_again_stores_nothing(any_world: World) -> None:
    gate = await any_world.connect(GATE)
    batch = [out(FENCE, "a", expect=0), out(OTHER_FENCE, "b", expect=0)]
    await gate.append_batch(batch)
    with pytest.raises((KnownError, StaleError)):
        await gate.append_batch(batch)
    assert await gate.last() == 2


async def test_a_batch_expects_once_on_a_subject(any_world: World) -> None:
    gate = await any_world.connect(GATE)
    for first in (0, None):
        with pytest.raises(StaleError):
            await gate.append_batch(
                [out(FENCE, f"a{first}", expect=first), out(FENCE, f"b{first}", expect=0)]
            )
    assert await gate.last() == 0
    await gate.append_batch([out(FENCE, "c", expect=0), out(FENCE, "d")])
    assert await gate.last() == 2


async def test_a_message_that_is_too_large_is_not_even_sent(world: World) -> None:
    gate = await world.connect(GATE)
    with pytest.raises(TooLargeError, match="60000"):
        await gate.append(out(FENCE, "big", b"x" * 60_000))
    with pytest.raises(TooLargeError):
        await gate.append_batch([out(FENCE, "small"), out(FENCE, "large", b"x" * 59_900)])
    # The connection is none the worse for it, and what just fits is taken.
    room = 60_000 - len("NATS/1.0\r\nNats-Msg-Id: fits\r\n\r\n")
    assert (await gate.append(out(FENCE, "fits", b"x" * room))).seq == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_full_ledger_takes_no_more_and_loses_nothing(kind: str, tmp_path: Path) -> None:
    async with a_world(kind, tmp_path, ledger_bytes=100_000) as world:
        gate = await world.connect(GATE)
        for number in range(3):
            await gate.append(out(FENCE, f"{number}", b"x" * 30_000))
        with pytest.raises(FullError):
            await gate.append(out(FENCE, "3", b"x" * 30_000))
        with pytest.raises(FullError):
            await gate.append_batch([out(FENCE, f"batch {n}", b"x" * 30_000) for n in range(2)])
        assert [message.id for message in await gate.read(1, 10)] == ["0", "1", "2"]


async def test_nothing_is_answered_while_the_server_is_away(world: World) -> None:
    gate = await world.connect(GATE, timeout_seconds=0.4)
    await gate.append(out(FENCE, "before"))
    await world.kill_server()
    with pytest.raises(UnansweredError):
        await gate.append(out(FENCE, "meanwhile"))
    with pytest.raises(UnansweredError):
        await gate.last()
    await world.start_server()
    patient = await world.connect(GATE)
    last = await patient.last()
    assert last in (1, 2)
    assert (await patient.append(out(FENCE, "after"))).seq == last + 1


async def test_an_append_waits_for_a_server_that_comes_back_in_time(world: World) -> None:
    gate = await world.connect(GATE)
    await gate.append(out(FENCE, "before"))
    await world.kill_server()
    coming = asyncio.create_task(gate.append(out(FENCE, "patient")))
    await world.start_server()
    try:
        await coming
    except UnansweredError:
        # It was on its way when the connection broke: then it is unknown, and asking again is right.
        await gate.append(out(FENCE, "patient again"))
    assert await gate.last() >= 2


async def test_what_is_under_way_when_the_server_dies_is_unanswered_at_once(world: World) -> None:
    gate = await world.connect(GATE, timeout_seconds=30.0)
    under_way = [asyncio.create_task(gate.append(out(FENCE, f"{number}"))) for number in range(200)]
    await under_way[0]
    await world.kill_server()
    async with asyncio.timeout(5):
        answers = await asyncio.gather(*under_way, return_exceptions=True)
    acked = [answer.seq for answer in answers if not isinstance(answer, BaseException)]
    assert {type(answer) for answer in answers if isinstance(answer, BaseException)} <= {UnansweredError}
    await world.start_server()
    # Nothing that was acknowledged is lost, whatever became of the rest.
    stored = {message.seq: message.id for message in await gate.read(1, 1000)}
    assert all(stored[seq] == f"{seq - 1}" for seq in acked)


async def test_a_closed_connection_answers_nothing(world: World) -> None:
    gate = await world.connect(GATE)
    await gate.close()
    with pytest.raises(UnansweredError):
        await gate.append(out(FENCE, "late"))
