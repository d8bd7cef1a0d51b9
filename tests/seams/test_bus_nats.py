"""What only the real bus can do wrong: versions, keys, connections closed for good, damaged or foreign streams."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import nats as client
import nkeys
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from events import keys
from events.bus import nats, permissions, streams
from events.bus.outsiders import Tally
from events.bus.port import BusError, DeniedError, UnansweredError
from events.bus.steady import StrictParser
from tests.seams.bus_worlds import ADMIN, FENCE, GATE, SHOP, SIGNAL, VIEW, Follower, NatsWorld, a_world, out
from tests.support import eventually, free_port


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[NatsWorld]:
    async with a_world("nats", tmp_path) as made:
        assert isinstance(made, NatsWorld)
        yield made


async def test_a_server_that_is_too_old_is_refused_in_one_sentence() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = {"server_id": "X", "version": "2.9.10", "max_payload": 1_048_576, "headers": True}
        writer.write(f"INFO {json.dumps(info)}\r\n".encode())
        async for line in reader:
            if line.startswith(b"PING"):
                writer.write(b"PONG\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", free_port())
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(BusError, match=r"nats-server 2\.9\.10; the ledger needs at least 2\.15\.1"):
        await nats.connect(
            f"nats://127.0.0.1:{port}", "gate", seed=None, inbox="_INBOX_gate", on_fault=lambda _: None
        )
    server.close()
    await server.wait_closed()


async def test_a_key_that_the_server_does_not_know_is_denied_at_once(
    world: NatsWorld, tmp_path: Path
) -> None:
    keys.create(tmp_path / "stranger.nk")
    async with asyncio.timeout(3):
        with pytest.raises(DeniedError, match="key of gate"):
            await nats.connect(
                world.server.url,
                "gate",
                seed=keys.read(tmp_path / "stranger.nk"),
                inbox=GATE.inbox,
                on_fault=world.faults.append,
                timeout_seconds=20.0,
            )


async def test_a_bus_that_is_not_there_is_said_so_in_time() -> None:
    async with asyncio.timeout(3):
        with pytest.raises(UnansweredError, match="is it running"):
            await nats.connect(
                f"nats://127.0.0.1:{free_port()}",
                "gate",
                seed=None,
                inbox="_INBOX_gate",
                on_fault=lambda _: None,
                timeout_seconds=0.5,
            )


async def test_an_inbox_that_is_not_ones_own_is_refused_when_connecting(world: NatsWorld) -> None:
    with pytest.raises(DeniedError, match="inbox"):
        await nats.connect(
            world.server.url,
            "gate",
            seed=keys.read(keys.path_of(world.server.directory / "keys", "gate")),
            inbox=SIGNAL.inbox,
            on_fault=world.faults.append,
        )


async def test_a_connection_that_the_server_closed_for_good_comes_back(world: NatsWorld) -> None:
    gate, view = await world.connect(GATE, timeout_seconds=20.0), await world.connect(VIEW)
    follower = Follower(view)
    await gate.append(out(FENCE, "before"))
    await follower.reach(1)
    users = world.server.users
    await world.server.reload([user for user in users if user.name not in ("gate", "view")])
    await eventually(lambda: any("does not know the key of gate" in fault for fault in world.faults))
    await world.server.reload(users)
    await gate.append(out(FENCE, "after"))
    seen = await follower.reach(2)
    assert [message.id for message in seen] == ["before", "after"]
    await follower.end()


async def test_a_tail_outlives_its_consumer(world: NatsWorld) -> None:
    gate, view, admin = await world.connect(GATE), await world.connect(VIEW), await world.connect(ADMIN)
    follower = Follower(view)
    await gate.append(out(FENCE, "1"))
    await follower.reach(1)
    for number in range(2, 5):
        names = json.loads(await admin.ask("$JS.API.CONSUMER.NAMES.LEDGER", b"", 5.0))["consumers"]
        for name in names:
            await admin.ask(f"$JS.API.CONSUMER.DELETE.LEDGER.{name}", b"", 5.0)
        await gate.append(out(FENCE, f"{number}"))
        await follower.reach(number)
    assert follower.seen == await view.read(1, 4)
    await follower.end()


async def test_establishing_twice_changes_nothing(world: NatsWorld) -> None:
    gate, admin = await world.connect(GATE), await world.connect(ADMIN)
    await gate.append(out(FENCE, "kept"))
    await streams.establish(admin, ledger_bytes=1024**3, dedup_seconds=5.0)
    assert [message.id for message in await gate.read(1, 10)] == ["kept"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("deny_delete", False),
        ("deny_purge", False),
        ("max_age", 3600 * 10**9),
        ("discard", "old"),
        ("allow_direct", False),
        ("allow_atomic", False),
    ],
)
async def test_a_ledger_without_its_guards_is_not_used(
    world: NatsWorld, key: str, value: object, tmp_path: Path
) -> None:
    admin = await world.connect(ADMIN)
    await admin.ask("$JS.API.STREAM.DELETE.LEDGER", b"", 5.0)
    made = await admin.ask(
        "$JS.API.STREAM.CREATE.LEDGER",
        msgspec.json.encode(streams.ledger(max_bytes=10**6) | {key: value}),
        5.0,
    )
    assert b'"error"' not in made
    with pytest.raises(streams.UnguardedError, match=key):
        await streams.establish(admin)


async def test_dead_letters_push_out_only_those_of_the_same_publisher(world: NatsWorld) -> None:
    signal, admin = await world.connect(SIGNAL), await world.connect(ADMIN)
    await signal.append(out("dead.beta.till", "kept"))
    for number in range(streams.DEAD_OF_ONE + 5):
        await signal.append(out("dead.acme.shop", f"{number}"))
    info = json.loads(
        await admin.ask("$JS.API.STREAM.INFO.DEAD", b'{"subjects_filter":">"}', 5.0),
    )
    assert info["state"]["subjects"] == {"dead.beta.till": 1, "dead.acme.shop": streams.DEAD_OF_ONE}


async def test_a_hole_in_the_ledger_is_never_read_over(world: NatsWorld) -> None:
    admin = await world.connect(ADMIN)
    await admin.ask("$JS.API.STREAM.DELETE.LEDGER", b"", 5.0)
    unguarded = streams.ledger(max_bytes=10**6) | {"deny_delete": False}
    await admin.ask("$JS.API.STREAM.CREATE.LEDGER", msgspec.json.encode(unguarded), 5.0)
    for number in range(1, 6):
        await admin.append(out(FENCE, f"{number}"))
    await admin.ask("$JS.API.STREAM.MSG.DELETE.LEDGER", b'{"seq":3}', 5.0)
    with pytest.raises(BusError, match="holds no sequence 3"):
        await admin.read(1, 5)
    assert [message.seq for message in await admin.read(1, 2)] == [1, 2]
    assert [message.seq for message in await admin.read(4, 5)] == [4, 5]


async def test_with_acks_a_message_that_failed_once_comes_after_its_successors(world: NatsWorld) -> None:
    """Why the tail has no acks: redelivery mends a loss and breaks the order."""
    gate = await world.connect(GATE)
    for number in range(1, 5):
        await gate.append(out(FENCE, f"{number}"))
    admin = await client.connect(
        world.server.url,
        nkeys_seed_str=keys.read(keys.path_of(world.server.directory / "keys", "admin")).decode(),
    )
    config = {"durable_name": "acking", "ack_policy": "explicit", "ack_wait": 300_000_000}
    await admin.request(
        f"$JS.API.CONSUMER.DURABLE.CREATE.{permissions.LEDGER}.acking",
        json.dumps({"stream_name": permissions.LEDGER, "config": config}).encode(),
    )
    failed: list[int] = []
    done: list[int] = []
    inbox = admin.new_inbox()

    async def work(message: Msg) -> None:
        seq = int(message.reply.split(".")[5])
        if seq == 1 and not failed:
            failed.append(seq)
            return
        done.append(seq)
        await admin.publish(message.reply, b"+ACK")

    await admin.subscribe(inbox, cb=work)
    await admin.publish(
        f"$JS.API.CONSUMER.MSG.NEXT.{permissions.LEDGER}.acking",
        b'{"batch":5,"expires":5000000000}',
        reply=inbox,
    )
    await eventually(lambda: len(done) >= 4)
    assert done == [2, 3, 4, 1]
    await admin.close()


async def _raw(world: NatsWorld, permit: permissions.Permit, what: bytes) -> None:
    """These bytes reached the server on a connection of this user, and nothing of a client is in their way."""
    reader, writer = await asyncio.open_connection("127.0.0.1", world.server.port)
    greeting = json.loads((await reader.readline()).removeprefix(b"INFO "))
    pair: Any = nkeys.from_seed(keys.read(keys.path_of(world.server.directory / "keys", permit.name)))
    sig = base64.urlsafe_b64encode(pair.sign(greeting["nonce"].encode())).rstrip(b"=").decode()
    hello = {"verbose": False, "headers": True, "nkey": pair.public_key.decode(), "sig": sig}
    writer.write(b"CONNECT " + json.dumps(hello).encode() + b"\r\n" + what + b"PING\r\n")
    async with asyncio.timeout(5):
        assert await reader.readline() == b"PONG\r\n"
    writer.close()


@pytest.mark.parametrize(
    "what",
    [
        b"HPUB in.acme.shop.scale 7 9\r\ngarbagezz\r\n",
        b"HPUB in.acme.shop.scale 8 10\r\nNATS/1.0zz\r\n",
        b"HPUB in.acme.shop.scale 10 12\r\nNATS/1.0 \xffzz\r\n",
        b"PUB in.acme.shop.\xff 2\r\nzz\r\n",
        b"PUB in.acme.shop.scale \xff\xfe 2\r\nzz\r\n",
        b"PUB in.acme.shop.\x0bq 2\r\nzz\r\n",
        b"PUB in.acme.shop.scale a\x0bb 2\r\nzz\r\n",
        b"HPUB in.acme.shop.7\x0b1 0 2\r\nzz\r\n",
    ],
)
async def test_whatever_bytes_a_publisher_sends_the_next_request_of_another_is_answered_at_once(
    world: NatsWorld, what: bytes
) -> None:
    signal, operator = await world.connect(SIGNAL), await world.connect(permissions.operator())
    assert isinstance(signal, nats.NatsBus)

    async def answer(_: str, payload: bytes) -> bytes:
        return payload

    await signal.serve("in.>", "signal", answer)
    await _raw(world, SHOP, what)
    async with asyncio.timeout(1):
        assert await operator.ask("in.acme.operator.scale", b"asked", 5.0) == b"asked"
    assert signal._link.returns == 1, "the connection never broke"


async def test_a_publisher_cannot_choose_which_subscription_its_message_reaches() -> None:
    """The client's own parser takes the vertical tab for a space, and what follows it for the subscription."""
    taken: list[tuple[object, ...]] = []

    def take(*message: object) -> None:
        taken.append(message)

    parser = StrictParser(take, Client())
    await parser.parse(b"MSG in.acme.shop.7\x0b1 3 2\r\nzz\r\nHMSG a 4 r 12 13\r\nNATS/1.0")
    await parser.parse(b"\r\n\r\nx\r\nMSG b 5 0\r\n\r\n")
    assert taken == [
        (3, b"in.acme.shop.7\x0b1", b"", b"zz", b""),
        (4, b"a", b"r", b"x", b"NATS/1.0\r\n\r\n"),
        (5, b"b", b"", b"", b""),
    ]


async def test_a_reader_that_dies_is_noticed_at_once(
    world: NatsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = await world.connect(GATE)

    async def broken(*_: object) -> None:
        monkeypatch.undo()
        raise ValueError("unheard of")

    monkeypatch.setattr(StrictParser, "parse", broken)
    async with asyncio.timeout(2):
        with pytest.raises(UnansweredError, match="broke"):
            await gate.append(out(FENCE, "unheard"))
        await gate.append(out(FENCE, "heard"))


async def test_a_dial_that_fails_in_an_unknown_way_is_said_and_tried_again(
    world: NatsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = await world.connect(GATE)
    assert isinstance(gate, nats.NatsBus)
    connect, failures = Client.connect, iter(range(3))

    async def odd(self: Client, *args: object, **named: object) -> None:
        if next(failures, None) is not None:
            raise ValueError("unheard of")
        await connect(self, *args, **named)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Client, "connect", odd)
    await gate._link._client.close()
    await eventually(lambda: any("unheard of" in fault for fault in world.faults))
    await gate.append(out(FENCE, "after"))


async def test_an_outsider_cannot_fill_the_log_nor_write_in_it_nor_be_answered_for_another(
    world: NatsWorld,
) -> None:
    signal, view = await world.connect(SIGNAL), await world.connect(VIEW)
    assert isinstance(view, nats.NatsBus)
    served: list[bytes] = []

    async def answer(_: str, payload: bytes) -> bytes:
        served.append(payload)
        return payload

    await signal.serve("in.>", "signal", answer)
    await _raw(world, SHOP, b"PUB in.acme.shop.scale evil.\x1b[31m" + b"X" * 900 + b" 2\r\nzz\r\n")
    await _raw(world, SHOP, b"PUB in.acme.shop.scale _INBOX_view.x.1 2\r\nzz\r\n" * 500)
    await eventually(lambda: len(served) == 501)
    (fault,) = [fault for fault in world.faults if "asked for" in fault]
    assert "\x1b" not in fault
    assert len(fault) < 300


async def test_a_tally_says_a_kind_once_a_minute_with_how_many_there_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    tally = Tally(said.append)
    for number in range(1000):
        tally.add("astray", f"{number}.")
    tally.add("failed", "Another kind.")
    assert said == ["0.", "Another kind."]
    monkeypatch.setattr("events.bus.outsiders.SILENCE_SECONDS", 0.0)
    tally.add("astray", "1000.")
    assert said[2] == "1000. There were 999 more like it since this was last said."
