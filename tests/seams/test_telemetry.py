"""The telemetry: the same promises for the real bus and for its twin in memory."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from events.bus import permissions, streams
from events.bus.permissions import INTAKE, TELEMETRY_OF
from events.bus.port import Bus, DeniedError, Outgoing, UnansweredError
from events.bus.store import Fading
from events.bus.telemetry import DROPPED, UNREADABLE, Heard, Page, Telemetry, tick_of
from events.ids import derive
from schemas.telemetry import MOST_POOLS, PoolTold, Told
from tests.seams.bus_worlds import ADMIN, GATE, SHOP, SIGNAL, VIEW, NatsWorld, World, a_world
from tests.support import eventually

FORECASTER = permissions.worker("forecaster")
KINDS = ("memory", "nats")


@pytest.fixture(params=KINDS)
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(request.param, tmp_path) as made:
        yield made


def told(tick: int, milli_vms: int = 3400, *pools: str) -> Told:
    return Told(
        tick, tuple(PoolTold(pool, milli_vms, 3, tick * 15_000 + 14_900) for pool in pools or ("web",))
    )


async def everything(reader: Telemetry, org: str = "*") -> list[Heard]:
    found: list[Heard] = []
    page = await reader.after(0, org)
    while not page.end:
        found += page.heard
        page = await reader.after(page.seq, org)
    return found


async def stored(reader: Telemetry, count: int) -> list[Heard]:
    """What is there, once it is so much: the stream acknowledges before it writes."""
    found: list[Heard] = []

    async def all_there() -> bool:
        found[:] = await everything(reader)
        return len(found) >= count

    await eventually(all_there, 5.0, why="the telemetry does not arrive")
    return found


async def test_what_signal_tells_is_heard_in_order_and_whole(world: World) -> None:
    teller, reader = Telemetry(await world.connect(SIGNAL)), Telemetry(await world.connect(FORECASTER))
    assert (await reader.after(0)).end
    for tick in range(600):
        await teller.tell("acme" if tick % 2 else "globex", told(tick))
    heard = await stored(reader, 600)
    assert [(one.org, one.told) for one in heard] == [
        ("acme" if tick % 2 else "globex", told(tick)) for tick in range(600)
    ]
    assert [one.told.tick for one in await everything(reader, "acme")] == list(range(1, 600, 2))
    assert [one.stored_ns for one in heard] == sorted(one.stored_ns for one in heard)


async def test_reading_goes_on_behind_a_place_and_begins_at_an_instant(world: World) -> None:
    teller, reader = Telemetry(await world.connect(SIGNAL)), Telemetry(await world.connect(FORECASTER))
    for tick in range(10):
        await teller.tell("acme", told(tick))
    heard = await stored(reader, 10)
    page: Page = await reader.after(7)
    assert [one.told.tick for one in page.heard] == [7, 8, 9]
    again = await reader.after(page.seq)
    assert (again.heard, again.seq, again.end) == ((), page.seq, True)
    instant = dt.datetime.fromtimestamp(heard[0].stored_ns // 1_000_000_000, dt.UTC)
    assert (await reader.since(instant)).heard[0].told.tick == 0
    assert (await reader.since(instant + dt.timedelta(hours=1))).end
    await teller.tell("acme", told(10))
    await stored(reader, 11)
    assert [one.told.tick for one in (await reader.after(page.seq)).heard] == [10]


async def test_more_pools_than_one_message_holds_come_in_several(world: World) -> None:
    teller, reader = Telemetry(await world.connect(SIGNAL)), Telemetry(await world.connect(FORECASTER))
    pools = [f"pool-{number}" for number in range(2 * MOST_POOLS + 1)]
    await teller.tell("acme", told(1, 1000, *pools))
    heard = await stored(reader, 3)
    assert [pool.pool for one in heard for pool in one.told.pools] == pools


async def test_the_same_tick_told_by_two_is_there_twice_unless_it_says_the_same_at_once(world: World) -> None:
    teller, reader = Telemetry(await world.connect(SIGNAL)), Telemetry(await world.connect(FORECASTER))
    await teller.tell("acme", told(1, 1000))
    await teller.tell("acme", told(1, 1001))
    assert [one.told.pools[0].milli_vms for one in await stored(reader, 2)] == [1000, 1001]


async def test_what_is_no_telemetry_is_left_out_and_counted(world: World) -> None:
    signal, reader = await world.connect(SIGNAL), Telemetry(await world.connect(FORECASTER))
    before = UNREADABLE._value.get()
    for number, payload in enumerate((b"{}", b"\xff\xfe", b'{"tick":1,"pools":[["web",-1,1,1]]}')):
        await signal.append(Outgoing(TELEMETRY_OF.format("acme"), f"rubbish-{number}", payload))
    await signal.append(Outgoing(TELEMETRY_OF.format("acme"), "", msgspec.json.encode(told(1))))
    await Telemetry(signal).tell("acme", told(2))
    assert [one.told.tick for one in await stored(reader, 1)] == [2]
    assert UNREADABLE._value.get() - before >= 4


async def test_nobody_but_signal_tells_and_an_org_cannot_even_read(world: World) -> None:
    for permit in (FORECASTER, GATE, SHOP, VIEW):
        with pytest.raises(DeniedError):
            await Telemetry(await world.connect(permit)).tell("acme", told(1))
    for permit in (SHOP, GATE):
        with pytest.raises(DeniedError):
            await Telemetry(await world.connect(permit)).after(0)
    assert (await Telemetry(await world.connect(VIEW)).after(0)).end


async def test_a_bus_that_is_away_costs_the_tick_and_nothing_else(world: World) -> None:
    signal = await world.connect(SIGNAL, timeout_seconds=0.5)
    forecaster = await world.connect(FORECASTER, timeout_seconds=0.5)
    teller, reader = Telemetry(signal), Telemetry(forecaster)
    await teller.tell("acme", told(1))
    await stored(reader, 1)
    await world.kill_server()
    before = DROPPED._value.get()
    await asyncio.gather(*(teller.tell("acme", told(tick)) for tick in (2, 3)))
    assert DROPPED._value.get() - before == 2
    with pytest.raises(UnansweredError):
        await reader.after(0)
    await world.start_server()

    async def told_again() -> bool:
        await teller.tell("acme", told(4))
        try:
            return any(one.told.tick == 4 for one in await everything(reader))
        except UnansweredError:
            return False

    await eventually(told_again, 10.0, why="the telemetry does not come back")


async def test_the_forecaster_asks_at_the_intake_under_its_own_name_for_every_org(world: World) -> None:
    signal, forecaster = await world.connect(SIGNAL), await world.connect(FORECASTER)
    shop = await world.connect(SHOP)

    async def answer(subject: str, payload: bytes) -> bytes:
        return subject.encode() + payload

    await signal.serve(INTAKE, "signal", answer)
    for org in ("acme", "globex"):
        said = await forecaster.ask(f"in.{org}.forecast.scale", b"!", 5.0)
        assert said == f"in.{org}.forecast.scale!".encode()
    for bus, subject in ((forecaster, "in.acme.operator.scale"), (shop, "in.acme.forecast.scale")):
        with pytest.raises(DeniedError):
            await bus.ask(subject, b"!", 1.0)


async def test_the_oldest_telemetry_goes_when_newer_needs_its_room(tmp_path: Path) -> None:
    """Not in the twin's suite: when a block of the file store goes is the server's own affair."""
    async with a_world("nats", tmp_path) as world:
        assert isinstance(world, NatsWorld)
        admin: Bus = await world.connect(ADMIN)
        small = msgspec.json.encode(streams.telemetry(max_bytes=4096))
        assert b'"error"' not in await admin.ask("$JS.API.STREAM.UPDATE.TELEMETRY", small, 5.0)
        teller, reader = Telemetry(await world.connect(SIGNAL)), Telemetry(await world.connect(FORECASTER))
        for tick in range(100):
            await teller.tell("acme", told(tick))

        async def faded() -> bool:
            ticks = [one.told.tick for one in await everything(reader)]
            return bool(ticks) and ticks[-1] == 99 and ticks[0] > 0 and ticks == list(range(ticks[0], 100))

        await eventually(faded, 5.0, why="nothing fades")


async def test_telemetry_outlives_a_server_that_is_restarted(tmp_path: Path) -> None:
    async with a_world("nats", tmp_path) as world:
        assert isinstance(world, NatsWorld)
        bus = await world.connect(SIGNAL)
        for tick in range(20):
            await Telemetry(bus).tell("acme", told(tick))
        await world.server.stop()
        await world.start_server()
        assert len(await stored(Telemetry(await world.connect(FORECASTER)), 20)) == 20


def test_a_tick_is_a_number_since_1970_in_utc_whatever_the_wall_shows() -> None:
    assert tick_of(dt.datetime(1970, 1, 1, 0, 0, 14, 999999, dt.UTC)) == 0
    assert tick_of(dt.datetime(2026, 10, 25, 2, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))) == tick_of(
        dt.datetime(2026, 10, 25, 0, 30, tzinfo=dt.UTC)
    )


def test_the_twin_fades_by_age_and_by_bytes() -> None:
    stream = Fading(dedup_seconds=0.1, age_seconds=100, most_bytes=2000)
    payload = msgspec.json.encode(told(1))
    for second in range(10):
        stream.append(Outgoing("telemetry.acme", derive(second), payload), second * 10**9)
    kept = len(stream.messages)
    assert 0 < kept < 20
    assert stream.last == 10
    assert stream.next("telemetry.*", 0, 0, 99)[-1].seq == 10
    stream.fade(105 * 10**9)
    assert stream.messages[0].stored_ns > 5 * 10**9
    stream.fade(1000 * 10**9)
    assert stream.messages == []
    assert (stream.bytes, stream.first, stream.last) == (0, 11, 10)
