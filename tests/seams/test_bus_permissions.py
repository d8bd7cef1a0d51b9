"""Who may do what on the bus: computed from the registry, held by the server and by the twin alike."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from events.bus import permissions, streams
from events.bus.ledger import Ledger
from events.bus.limits import MOST_MESSAGE_BYTES
from events.bus.nats import NatsBus
from events.bus.permissions import DIRECT_GET, LEDGER, STREAM_INFO, covers
from events.bus.port import BusError, DeniedError, Outgoing
from events.envelope import address
from events.ids import derive
from events.person import PersonErased
from events.registry import ROWS
from events.tlog.leaf import entry, parse
from tests.papers import NOW
from tests.seams.bus_worlds import (
    ADMIN,
    FENCE,
    GATE,
    NOTIFIER,
    OVERDUE,
    PERMITS,
    REQUESTED,
    SHOP,
    SIGNAL,
    VIEW,
    WAKER,
    Follower,
    NatsWorld,
    World,
    a_world,
    out,
)
from tests.support import eventually

KINDS = ("memory", "nats")


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(request.param, tmp_path) as made:
        yield made


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[World]:
    async with a_world("nats", tmp_path) as made:
        assert isinstance(made, NatsWorld)
        yield made


def subject_of(writer: str, kind: str, name: str) -> str:
    return f"vs.acme.{writer}.{kind}.some-id.{name}"


def test_every_event_is_permitted_to_its_writer_and_to_nobody_else() -> None:
    workers = permissions.workers(["h1", "h2"])
    for row in ROWS:
        writers = [f"{row.writer}-h1", f"{row.writer}-h2"] if row.per_host else [row.writer]
        for writer in writers:
            subject = subject_of(writer, row.kind, row.name)
            assert [permit.name for permit in workers if permit.may_publish(subject)] == [writer]
            assert not any(permit.may_publish(subject) for permit in (SHOP, VIEW, permissions.operator()))


def test_a_worker_may_not_write_another_kind_of_event_on_its_own_subjects() -> None:
    assert GATE.may_publish(FENCE)
    assert not GATE.may_publish("vs.acme.gate.org.acme.scale.requested")
    assert not GATE.may_publish("vs.acme.gate.vm.vm-1.gate.decided")
    assert not WAKER.may_publish("vs.acme.waker-h2.vm.vm-1.vm.resumed")
    assert not WAKER.may_publish("vs.acme.waker.vm.vm-1.vm.resumed")


def test_nobody_but_the_admin_may_make_change_or_empty_a_stream() -> None:
    forbidden = [
        f"$JS.API.STREAM.{verb}.{name}"
        for verb in ("CREATE", "UPDATE", "DELETE", "PURGE", "MSG.DELETE", "RESTORE", "SNAPSHOT")
        for name in (permissions.LEDGER, permissions.DEAD, permissions.TELEMETRY)
    ]
    forbidden += ["$JS.API.CONSUMER.DELETE.LEDGER.x", "$JS.API.META.LEADER.STEPDOWN"]
    for permit in PERMITS:
        may = [subject for subject in forbidden if permit.may_publish(subject)]
        assert may == (forbidden if permit is ADMIN else [])


def test_everybody_listens_on_an_inbox_of_their_own() -> None:
    inboxes = [permit.inbox for permit in PERMITS]
    assert len(set(inboxes)) == len(inboxes)
    for permit in PERMITS:
        for other in PERMITS:
            listens = permit.may_subscribe(f"{other.inbox}.x")
            assert listens == (other is permit or permit is ADMIN)


def test_two_publishers_never_share_a_name() -> None:
    names = [("a-b", "c"), ("a", "b-c"), ("a", "b"), ("gate", "x")]
    made = [permissions.publisher(org, name).name for org, name in names]
    assert len({*made, "gate"}) == len(names) + 1


@pytest.mark.parametrize(
    ("allowed", "subject", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.*", "a", False),
        ("a.>", "a", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a.>", True),
        ("a.*", "a.>", False),
        ("a.*.c", "a.*.c", True),
        ("a.b.c", "a.*.c", False),
        (">", "a", True),
        ("*", ">", False),
    ],
)
def test_a_pattern_covers_what_the_server_lets_it_cover(
    allowed: str, subject: str, *, expected: bool
) -> None:
    assert covers(allowed, subject) is expected


async def test_a_gate_cannot_write_what_signal_writes(world: World) -> None:
    gate, signal, view = await world.connect(GATE), await world.connect(SIGNAL), await world.connect(VIEW)
    with pytest.raises(DeniedError):
        await gate.append(out(REQUESTED, "forged"))
    with pytest.raises(DeniedError):
        await signal.append(out(FENCE, "forged"))
    with pytest.raises(DeniedError):
        await view.append(out(FENCE, "forged"))
    assert await view.last() == 0
    await signal.append(out(REQUESTED, "real"))
    await signal.append(out("dead.acme.shop", "rejected"))
    with pytest.raises(DeniedError):
        await gate.append(out("dead.acme.shop", "not mine"))
    assert await view.last() == 1


async def test_an_outsider_asks_in_its_own_name_and_reads_nothing(world: World) -> None:
    signal, shop = await world.connect(SIGNAL), await world.connect(SHOP)

    async def answer(_: str, __: bytes) -> bytes:
        return b"heard"

    await signal.serve("in.>", "signal", answer)
    assert await shop.ask("in.acme.shop.scale", b"{}", 5.0) == b"heard"
    for foreign in ("in.acme.other.scale", "in.globex.shop.scale", "in.acme.operator.scale", FENCE):
        with pytest.raises(DeniedError):
            await shop.ask(foreign, b"{}", 5.0)
    for read in (shop.last(), shop.last_on(FENCE), shop.read(1, 2), anext(shop.tail(0))):
        with pytest.raises(DeniedError):
            await read
    for heard in ("in.>", "vs.>", ">", f"{GATE.inbox}.>"):
        with pytest.raises(DeniedError):
            await shop.serve(heard, "q", answer)


async def test_nobody_deletes_or_empties_the_ledger_not_even_its_admin(real: World) -> None:
    gate, admin = await real.connect(GATE), await real.connect(ADMIN)
    await gate.append(out(FENCE, "stays"))
    attempts = [
        ("$JS.API.STREAM.PURGE.LEDGER", b""),
        ("$JS.API.STREAM.MSG.DELETE.LEDGER", b'{"seq":1}'),
        ("$JS.API.STREAM.UPDATE.LEDGER", msgspec.json.encode(streams.ledger() | {"deny_purge": False})),
        ("$JS.API.STREAM.UPDATE.LEDGER", msgspec.json.encode(streams.ledger() | {"deny_delete": False})),
    ]
    for subject, body in attempts:
        with pytest.raises(DeniedError):
            await gate.ask(subject, body, 5.0)
        assert b'"error"' in await admin.ask(subject, body, 5.0), subject
    with pytest.raises(DeniedError):
        await gate.ask("$JS.API.STREAM.DELETE.LEDGER", b"", 5.0)
    assert [message.id for message in await gate.read(1, 10)] == ["stays"]


async def test_signal_may_answer_where_it_was_asked_and_nowhere_else(real: World) -> None:
    signal, gate = await real.connect(SIGNAL), await real.connect(GATE)
    with pytest.raises(DeniedError):
        await signal.ask(f"{GATE.inbox}.anything", b"a forged answer", 1.0)
    with pytest.raises(BusError):
        await gate.ask("in.acme.shop.scale", b"{}", 1.0)


async def test_a_reader_can_have_an_answer_of_the_server_written_but_no_decision(real: World) -> None:
    """The known hole: reply subjects are not checked. A fenced event carries its expectation and stays out."""
    gate, view = await real.connect(GATE), await real.connect(VIEW)
    await gate.append(out(FENCE, "decided", b'{"round":1}', expect=0))
    assert isinstance(view, NatsBus)
    await view._link.send("$JS.API.DIRECT.GET.LEDGER", b'{"seq":1}', FENCE)
    await view._link.send("$JS.API.STREAM.INFO.LEDGER", b"", FENCE)

    async def grown() -> bool:
        return await view.last() >= 2

    await eventually(grown)
    await asyncio.gather(*(view.last() for _ in range(5)))
    decided, noise = await view.read(1, 10)
    assert (decided.id, decided.payload) == ("decided", b'{"round":1}')
    # What came in that way has no id: this is how a reader knows it from an event.
    assert noise.id == ""
    assert b"stream_info_response" in noise.payload


async def test_what_a_reader_has_written_that_way_stops_nobody(real: World) -> None:
    gate, view = await real.connect(GATE), await real.connect(VIEW)
    assert isinstance(view, NatsBus)
    await view._link.send("$JS.API.STREAM.INFO.LEDGER", b"", FENCE)
    ledger = Ledger(await real.connect(GATE))
    following = asyncio.create_task(ledger.follow())
    await eventually(lambda: ledger.seq == 1)
    # It moved the fence, as the bus counts it; whoever decides next expects it and is not locked out.
    await gate.append(out(FENCE, "decided", b"{}", expect=ledger.noise_on(FENCE)))
    following.cancel()


async def test_whatever_a_reader_has_written_anywhere_is_read_by_everybody_alike_and_is_no_event(
    tmp_path: Path,
) -> None:
    async with a_world("nats", tmp_path, dedup_seconds=streams.SHORTEST_DEDUP_SECONDS) as world:
        notifier, view = await world.connect(NOTIFIER), await world.connect(VIEW)
        assert isinstance(view, NatsBus)
        genuine = erased("ada")
        await notifier.append(genuine)
        info, get = STREAM_INFO.format(LEDGER).encode(), DIRECT_GET.format(LEDGER).encode()

        for to, body in ((genuine.subject.encode(), b'{"seq":1}'), (b"vs.x.y", b'{"seq":1,"batch":1}')):

            async def copied(to: bytes = to, body: bytes = body) -> bool:
                assert isinstance(view, NatsBus)
                before = await view.last()
                await said(view, get, to, body)
                stored = await view.read(before + 1, await view.last() + 10)
                return any(one.payload == genuine.payload for one in stored)

            await eventually(copied, why="the bus never forgets that it knows the id")
        for elsewhere in ("vs.\u00e9.a".encode(), b"vs.\xff.a", b"vs.\xfe.a"):
            await said(view, info, elsewhere, b"")
        await eventually(lambda: everywhere(view))
        end = await view.last()
        noise = (await Follower(view, 1).reach(end))[: end - 1]
        assert noise == await view.read(2, end) == await view.read_ahead(2, end)
        assert {one.id for one in noise} == {""}
        assert len({one.subject for one in noise}) == 5
        assert [parse(entry(one)) for one in noise] == noise
        assert await view.last_on(genuine.subject) == next(
            one for one in reversed(noise) if one.subject == genuine.subject
        )
        ledger = Ledger(await world.connect(VIEW))
        following = asyncio.create_task(ledger.follow())
        await eventually(lambda: ledger.seq >= end or following.done())
        assert not following.done()
        following.cancel()


async def said(bus: NatsBus, subject: bytes, reply: bytes, body: bytes) -> None:
    """A message is on its way whose answer is to go where no text leads."""
    await bus._link._client.put([b"PUB %s %s %d\r\n%s\r\n" % (subject, reply, len(body), body)])


def erased(person: str) -> Outgoing:
    """Any event that needs no decision."""
    key = derive(person)
    fact = PersonErased(org="acme", person=person, existed=True, erased_at=NOW)
    event = address(fact, writer="notifier", id=key, time=NOW, cause=None, correlation=key)
    return out(event.subject, event.id, event.payload)


async def everywhere(bus: NatsBus) -> bool:
    return sum(one.subject.endswith(".a") for one in await bus.read(1, 1000)) == 3


async def test_an_answer_that_is_longer_than_an_entry_may_be_is_not_written(real: World) -> None:
    gate, view = await real.connect(GATE), await real.connect(VIEW)
    assert isinstance(view, NatsBus)
    for batch in range(2):
        names = [f"vm-with-a-long-name-{batch}-{number}" for number in range(1000)]
        await gate.append_batch([out(OVERDUE.format(name), name) for name in names])
    every = b'{"subjects_filter":">"}'
    assert len(await view.ask(STREAM_INFO.format(LEDGER), every, 5.0)) > MOST_MESSAGE_BYTES
    await view._link.send(STREAM_INFO.format(LEDGER), every, FENCE)
    await view._link.send(STREAM_INFO.format(LEDGER), b"", FENCE)

    async def grown() -> bool:
        return await view.last() > 2000

    await eventually(grown)
    await asyncio.gather(*(view.last() for _ in range(5)))
    (noise,) = await view.read(2001, 2100)
    assert len(noise.payload) < MOST_MESSAGE_BYTES


async def test_an_answer_is_given_to_an_inbox_and_never_to_the_ledger(real: World) -> None:
    signal, shop = await real.connect(SIGNAL), await real.connect(SHOP)
    assert isinstance(shop, NatsBus)

    async def answer(_: str, payload: bytes) -> bytes:
        return payload

    await signal.serve("in.>", "signal", answer)
    await shop._link.send("in.acme.shop.scale", b"{}", FENCE)
    await eventually(lambda: any("no inbox" in fault for fault in real.faults))
    assert await shop.ask("in.acme.shop.scale", b"asked", 5.0) == b"asked"
    assert await signal.last() == 0
