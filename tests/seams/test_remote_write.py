"""A real Prometheus pushes what it scrapes, and what is no push is refused by the door that takes them."""

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from events.clock import SystemClock
from lab.metrics import Metrics, Push, Target
from lab.ports import LOOPBACK
from services.signal import receiver
from services.signal.port import Measurement
from services.signal.receiver import Receiver
from services.signal.remote_write import Pushed
from services.signal.series import Groups
from tests.rules.pushes import packed, request, series
from tests.support import eventually, free_port

QUERY = 'queue_depth{pool="web"}'
BOTH = "sum(queue_depth)"


class Door:
    """A receiver with what it heard."""

    def __init__(self) -> None:
        self.port = free_port()
        self.heard: list[tuple[str, Measurement, dt.datetime]] = []
        self.portions: list[tuple[int, int]] = []
        self.groups = Groups(dt.timedelta(seconds=2))
        self.groups.keep([QUERY, BOTH])
        self.clock = SystemClock()
        self.receiver = Receiver(f"{LOOPBACK}:{self.port}", lambda: self.groups.names, self.take)

    def take(self, pushed: list[Pushed]) -> None:
        now = self.clock.now()
        self.portions.append((len(pushed), sum(len(one.samples) for one in pushed)))
        found, _ = self.groups.take(pushed, now)
        self.heard += [(query, measured, now) for query, measured in found.items()]

    def of(self, query: str) -> list[tuple[Measurement, dt.datetime]]:
        return [(measured, at) for asked, measured, at in self.heard if asked == query]

    async def say(self, *said: bytes) -> list[int]:
        """The statuses that these requests are answered with, one after another on one connection, until it ends."""
        reader, writer = await asyncio.open_connection(LOOPBACK, self.port)
        found: list[int] = []
        for one in said:
            writer.write(one)
            line = await asyncio.wait_for(reader.readline(), 5)
            if not line:
                break
            found.append(int(line.split()[1]))
            length = 0
            while (header := await reader.readline()).strip():
                if header.lower().startswith(b"content-length:"):
                    length = int(header.split(b":")[1])
            await reader.readexactly(length)
        writer.close()
        return found


@asynccontextmanager
async def a_door() -> AsyncGenerator[Door]:
    door = Door()
    work = asyncio.create_task(door.receiver.work())

    async def is_open() -> bool:
        try:
            _, writer = await asyncio.open_connection(LOOPBACK, door.port)
        except OSError:
            return False
        writer.close()
        return True

    try:
        await eventually(is_open, 5)
        yield door
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def test_what_prometheus_scrapes_is_heard_within_its_deadline(tmp_path: Path) -> None:
    depth = {"web": 7.0, "db": 3.0}

    async def exporter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (await reader.readline()).strip():
            pass
        body = "".join(f'queue_depth{{pool="{pool}"}} {value}\n' for pool, value in depth.items())
        head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(exporter, LOOPBACK, 0)
    target = Target("guests", f"{LOOPBACK}:{server.sockets[0].getsockname()[1]}")
    async with a_door() as door:
        push = Push(f"http://{LOOPBACK}:{door.port}/api/v1/write", "queue_.*")
        metrics = Metrics(tmp_path, free_port(), [target], push=push)
        await metrics.start()
        try:
            await eventually(lambda: len(door.of(QUERY)) >= 2 and door.of(BOTH), 20)
            depth["web"] = 300.0
            await eventually(lambda: door.of(QUERY)[-1][0].value == 300.0, 5)
            del depth["web"]
            scrapes = len(door.of(BOTH))
            await eventually(lambda: len(door.of(BOTH)) > scrapes + 1, 5)
        finally:
            await metrics.stop()
            server.close()
        assert door.of(QUERY)[0][0].value == 7.0
        assert door.of(BOTH)[0][0].value == 10.0
        assert door.of(BOTH)[-1][0].value == 3.0, "a series that has ended is no part of the sum"
        delays = sorted((at - measured.observed_at).total_seconds() for measured, at in door.of(QUERY))
        assert delays[len(delays) // 2] < 1.0, delays
        moments = [measured.observed_at for measured, _ in door.of(QUERY)]
        assert moments == sorted(set(moments)), "each scrape is heard once"


async def test_requests_that_are_no_push_are_refused_each_with_its_own_status() -> None:
    async with a_door() as door:
        now_ms = int(door.clock.now().timestamp() * 1000)
        good = packed(series("queue_depth", [(now_ms, 5.0)], pool="web"))
        assert await door.say(request(b"rubbish"), request(good), request(b""), request(good)) == [
            400,
            204,
            400,
            204,
        ]
        assert [measured.value for measured, _ in door.of(QUERY)] == [5.0], (
            "and the second of them is a duplicate"
        )
        for wrong, status in {
            request(good, path="/other"): 404,
            request(good).replace(b"POST", b"GET"): 405,
            request(good, more={"Content-Type": "text/plain"}): 415,
            request(
                good, more={"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"}
            ): 415,
            request(good, more={"Content-Encoding": "zstd"}): 415,
            request(good, more={"Content-Length": "x"}): 411,
            request(good, more={"Content-Length": "-1"}): 411,
            request(good, more={"Content-Length": "5000000"}): 413,
            request(good, more={"Content-Length": "9" * 5000}): 413,
            request(good, more={"X": "y" * 20_000}): 431,
            b"\x16\x03\x01\x02\r\n\r\n": 404,
        }.items():
            assert await door.say(wrong, request(good)) == [status], status


async def test_more_than_there_is_room_for_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "MOST_WAITING", 0)
    monkeypatch.setattr(receiver, "LARGE", 10)
    monkeypatch.setattr(receiver, "MOST_CONNECTIONS", 2)
    async with a_door() as door:
        good = packed(series("queue_depth", [(1, 5.0)], pool="web"))
        small = packed(b"\x0f")
        assert await door.say(request(good), request(small)) == [429, 400]
        idle = [await asyncio.open_connection(LOOPBACK, door.port) for _ in range(2)]
        assert await door.say(request(small)) == [503]
        for _, writer in idle:
            writer.close()

        async def again() -> bool:
            return await door.say(request(small)) == [400]

        await eventually(again, 5)


async def test_a_large_push_is_read_beside_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "LARGE", 10)
    async with a_door() as door:
        now_ms = int(door.clock.now().timestamp() * 1000)
        many = [series("queue_depth", [(now_ms, 1.0)], pool="web")]
        many += [series("other", [(now_ms, 1.0)], vm=f"{number}") for number in range(3000)]
        assert await door.say(request(packed(*many)), request(packed(b"\x0f"))) == [204, 400]
        assert len(door.of(QUERY)) == 1


@pytest.mark.parametrize(("size", "count"), [(800_000, 2), (16_000, 48)], ids=["large", "small"])
async def test_pushes_that_hold_nothing_but_unknown_fields_do_not_stop_the_loop(
    size: int, count: int
) -> None:
    async with a_door() as door:
        body = packed(b"\x18\x00" * (size // 2))
        assert len(body) < 64 * 1024, "packed it looks like nothing"
        senders = [asyncio.create_task(door.say(request(body))) for _ in range(count)]
        turns = 0
        while not all(sender.done() for sender in senders):
            await asyncio.wait(senders, timeout=0.001)
            turns += 1
        assert {status for sender in senders for status in sender.result()} == {204}
        assert turns >= 20, "others have their turn all the while"


async def test_many_series_are_handed_on_in_portions_between_which_others_have_their_turn() -> None:
    async with a_door() as door:
        now_ms = int(door.clock.now().timestamp() * 1000)
        many = [series("queue_depth", [(now_ms, 1.0)], vm=f"{number}") for number in range(60)]
        many += [series("queue_depth", [(now_ms + at, 1.0) for at in range(600)], vm=vm) for vm in "ab"]
        many += [series("queue_depth", [(now_ms + at, 1.0) for at in range(1500)], pool="web")]
        assert await door.say(request(packed(*many))) == [204]
        assert door.portions == [(25, 25), (25, 25), (11, 610), (1, 600), (1, 1000), (1, 500)]


async def test_an_address_that_is_taken_is_waited_for() -> None:
    async with a_door() as first:
        second = Receiver(f"{LOOPBACK}:{first.port}", lambda: first.groups.names, first.take)
        waiting = asyncio.create_task(second.work())
        await asyncio.wait([waiting], timeout=0.1)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
