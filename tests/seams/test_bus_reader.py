"""Reading far: the same messages as `read` gives, from the real bus and its twin, whatever happens meanwhile."""

import asyncio
import base64
import datetime as dt
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import nkeys
import pytest

from events import keys
from events.bus.ledger import Ledger
from events.bus.limits import GROUP_MESSAGES
from events.bus.port import Bus, DeniedError, Stored, UnansweredError
from events.envelope import Recorded, address
from events.ids import derive
from events.person import PersonErased
from tests.seams.bus_worlds import GATE, NOTIFIER, OVERDUE, SHOP, VIEW, NatsWorld, World, a_world, out
from tests.support import eventually

KINDS = ("memory", "nats")
LONG = b"x" * 400
HEADERS = (
    b"NATS/1.0 204 EOB\r\n\r\n",
    b"NATS/1.0\r\nNats-Msg-Id: first\r\nNats-Msg-Id: second\r\n\r\n",
    b"NATS/1.0\r\nNats-Msg-Id: x\r\n\r\nNats-Expected: y\r\n\r\n",
    b"NATS/1.0\r\nNats-Msg-Id:\ttab\r\n\r\n",
    b"NATS/1.0\r\nNats-Msg-Id: \xff\xfe\r\n\r\n",
    b"NATS/1.0\r\nFoo: bar\nNats-Msg-Id: y\r\n\r\n",
    b"NATS/1.0\r\nNats-Msg-Id: forger\r\nNats-Sequence: 99\r\nNats-Subject: vs.x\r\nNats-Stream: LEDGER\r\n\r\n",
    b"NATS/1.0\r\nNats-Subject: vs.x\r\n\r\n",
)


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(request.param, tmp_path) as made:
        yield made


@pytest.fixture
async def real(tmp_path: Path) -> AsyncIterator[NatsWorld]:
    async with a_world("nats", tmp_path) as made:
        assert isinstance(made, NatsWorld)
        yield made


async def fill(bus: Bus, messages: int) -> None:
    for first in range(0, messages, 1000):
        numbers = range(first, min(first + 1000, messages))
        await bus.append_batch(
            [out(OVERDUE.format(f"vm-{n % 7}"), f"m{n}", LONG + b"%d" % n) for n in numbers]
        )


async def far(bus: Bus, first: int, last: int) -> list[Stored]:
    found: list[Stored] = []
    while first <= last:
        try:
            group = await bus.read_ahead(first, last)
        except UnansweredError:
            continue
        found += group
        first = group[-1].seq + 1
    return found


async def test_what_is_read_far_is_what_is_read(world: World) -> None:
    gate, view = await world.connect(GATE), await world.connect(VIEW)
    await fill(gate, 3000)
    await gate.append(out(OVERDUE.format("large"), "large", b"z" * 59_000))
    assert await far(view, 1, 3001) == await view.read(1, 3001)
    assert await far(view, 2999, 3001) == await view.read(2999, 3001)
    with pytest.raises(UnansweredError, match="no sequence 3002 yet"):
        await view.read_ahead(3002, 3009)
    assert world.faults == []


async def test_a_server_that_dies_in_mid_read_is_read_on_when_it_is_back(world: World) -> None:
    gate, view = await world.connect(GATE), await world.connect(VIEW, timeout_seconds=20)
    await fill(gate, 6000)
    found = await view.read_ahead(1, 6000)
    for _ in range(2):
        await world.kill_server()
        await world.start_server()
        for _ in range(5):
            found += await view.read_ahead(found[-1].seq + 1, 6000)
    found += await far(view, found[-1].seq + 1, 6000)
    assert [one.payload for one in found] == [LONG + b"%d" % n for n in range(6000)]


async def test_who_may_not_read_is_told_so(world: World) -> None:
    await fill(await world.connect(GATE), 2)
    shop = await world.connect(SHOP)
    with pytest.raises(DeniedError, match=r"\.LEDGER"):
        await shop.read_ahead(1, 2)


async def test_a_bus_that_is_closed_reads_no_more(world: World) -> None:
    view = await world.connect(VIEW)
    await view.close()
    with pytest.raises(UnansweredError, match="left the bus"):
        await view.read_ahead(1, 2)


async def test_headers_of_any_kind_are_read_as_the_client_reads_them(real: NatsWorld) -> None:
    view = await real.connect(VIEW)
    pair = cast("Any", nkeys).from_seed(bytearray(keys.read(keys.path_of(real._keys, "gate"))))
    reader, writer = await asyncio.open_connection("127.0.0.1", real.server.port)
    nonce = json.loads((await reader.readline()).removeprefix(b"INFO "))["nonce"]
    signed = base64.b64encode(pair.sign(nonce.encode())).decode()
    options = {"verbose": False, "headers": True, "nkey": pair.public_key.decode(), "sig": signed}
    writer.write(b"CONNECT %b\r\n" % json.dumps(options).encode())
    for block in HEADERS:
        sizes = (len(block), len(block) + 3)
        writer.write(b"HPUB %b %d %d\r\n%bpay\r\n" % (OVERDUE.format("z").encode(), *sizes, block))

    async def all_stored() -> bool:
        return await view.last() == len(HEADERS)

    await eventually(all_stored)
    writer.close()
    assert await far(view, 1, len(HEADERS)) == await view.read(1, len(HEADERS))


class Count:
    """A fold that keeps what it was given."""

    def __init__(self) -> None:
        self.seqs: list[int] = []

    def apply(self, recorded: Recorded) -> None:
        self.seqs.append(recorded.seq)


async def tell(bus: Bus, first: int, events: int) -> None:
    """So many events are in the ledger."""
    at = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
    for start in range(first, first + events, 1000):
        batch = [
            address(
                PersonErased(org="acme", person="p", existed=True, erased_at=at),
                writer="notifier",
                id=derive("test", number),
                time=at,
                cause=None,
                correlation=derive("test", number),
            )
            for number in range(start, min(start + 1000, first + events))
        ]
        await bus.append_batch([out(event.subject, event.id, event.payload) for event in batch])


async def test_a_ledger_that_falls_far_behind_its_tail_catches_up_and_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier, view = await world.connect(NOTIFIER), await world.connect(VIEW)
    far_reads: list[int] = []
    tails: list[int] = []
    go_on = asyncio.Event()
    read_ahead, tail = view.read_ahead, view.tail

    async def noted(first: int, last: int) -> list[Stored]:
        far_reads.append(first)
        return await read_ahead(first, last)

    async def held(after: int) -> AsyncGenerator[list[Stored]]:
        tails.append(after)
        async with aclosing(tail(after)) as groups:
            async for group in groups:
                await go_on.wait()
                yield group

    monkeypatch.setattr(view, "read_ahead", noted)
    monkeypatch.setattr(view, "tail", held)
    await tell(notifier, 0, 1500)
    ledger = Ledger(view)
    count = ledger.fold(Count)
    following = asyncio.create_task(ledger.follow())
    await asyncio.wait_for(ledger.live.wait(), 10)
    assert (ledger.seq, far_reads[0]) == (1500, 1)
    await eventually(lambda: tails == [1499])
    far_reads.clear()
    # The tail has messages and the ledger does not take them; meanwhile much more is stored.
    await tell(notifier, 1500, 7000)
    go_on.set()
    await asyncio.wait_for(ledger.reach(8500), 10)
    assert far_reads
    await eventually(lambda: len(tails) == 2)
    await tell(notifier, 8500, 2)
    await asyncio.wait_for(ledger.reach(8502), 10)
    assert count.seqs == list(range(1, 8503))
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_others_have_their_turn_while_a_ledger_catches_up(world: World) -> None:
    notifier, view = await world.connect(NOTIFIER), await world.connect(VIEW)
    await tell(notifier, 0, 4000)
    ledger = Ledger(view)
    following = asyncio.create_task(ledger.follow())
    seen: set[int] = set()

    def look() -> None:
        seen.add(ledger.seq)
        if not ledger.live.is_set():
            asyncio.get_running_loop().call_soon(look)

    look()
    await asyncio.wait_for(ledger.live.wait(), 10)
    # At most a group at a time, and a turn of the loop behind each.
    assert len(seen) >= 4000 / GROUP_MESSAGES
    assert max(later - sooner for sooner, later in pairwise(sorted(seen))) <= GROUP_MESSAGES
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
