"""The triggers' view of a real Prometheus: one number with its sample's time, or why there is none; and a week of it."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from events.clock import SystemClock
from lab.metrics import Metrics, Target
from lab.ports import LOOPBACK
from schemas.capacity import Size
from schemas.pool import Pool, Trigger
from services.signal.behind import LABEL
from services.signal.hearing import Hearing
from services.signal.port import Heard, Measurement
from services.signal.prometheus import Prometheus
from tests.support import eventually, free_port

QUERY_SECONDS = 2.0
METRICS = b"""\
# TYPE queue_depth gauge
queue_depth{pool="web"} 312.5
queue_depth{pool="db"} 7
not_a_number NaN
"""


async def _exporter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while (await reader.readline()).strip():
        pass
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n"
    writer.write(head + b"Content-Length: %d\r\n\r\n" % len(METRICS) + METRICS)
    await writer.drain()
    writer.close()


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    exporter = await asyncio.start_server(_exporter, LOOPBACK, 0)
    port = exporter.sockets[0].getsockname()[1]
    metrics = Metrics(tmp_path, free_port(), [Target("guests", f"{LOOPBACK}:{port}")])
    await metrics.start()
    yield metrics.url
    await metrics.stop()
    exporter.close()


async def test_a_query_yields_one_number_with_the_time_of_its_sample_or_nothing(url: str) -> None:
    prometheus = Prometheus(url)

    async def ask(expression: str) -> Heard:
        return await prometheus.query(expression, QUERY_SECONDS)

    async def number(expression: str) -> Measurement | None:
        heard = await ask(expression)
        return heard if isinstance(heard, Measurement) else None

    try:
        assert await ask('queue_depth{pool="web"}') == "vanished", (
            "nothing is scraped yet, and nothing is no zero"
        )
        first = await eventually(lambda: number('queue_depth{pool="web"}'), 15)
        assert first is not None
        assert first.value == 312.5
        age = SystemClock().now() - first.observed_at
        assert dt.timedelta(0) <= age < dt.timedelta(seconds=5)

        seen: dict[dt.datetime, int] = {}

        async def three_scrapes() -> bool:
            measured = await number('queue_depth{pool="web"}')
            assert measured is not None
            seen[measured.observed_at] = seen.get(measured.observed_at, 0) + 1
            return len(seen) > 3

        await eventually(three_scrapes, 15, every_seconds=0.1)
        assert max(seen.values()) > 1, "asked ten times within a scrape, the sample's time stays the same"

        computed = await number("sum(queue_depth) * 2")
        assert computed is not None
        assert computed.value == 639.0
        plain = 'queue_depth{pool="web"}'
        for same in (
            "scalar(sum(queue_depth)) # a remark",
            "sum(queue_depth) or vector(0)",
            "sum(queue_depth) # too",
        ):
            times = [await number(one) for one in (plain, same, plain)]
            assert all(one is not None for one in times)
            before, sampled, behind = (one.observed_at for one in times if one is not None)
            assert before <= sampled <= behind, "it has its samples' time"
        constant = await number("42")
        assert constant is not None
        assert constant.value == 42.0

        for nothing, why in {
            "queue_depth": "many",
            "no_such_metric": "vanished",
            "not_a_number": "no-number",
            "1/0": "no-number",
            "not promql ((": None,
            "": None,
        }.items():
            assert await ask(nothing) == why, nothing

        until = first.observed_at + dt.timedelta(seconds=3)
        week_ago = until - dt.timedelta(days=7)
        course = await prometheus.course('queue_depth{pool="web"}', week_ago, until, 15)
        assert course is not None, "a week in steps of 15 s is more than Prometheus gives at once"
        assert [one.value for one in course] == [312.5]
        assert await prometheus.course("no_such_metric", week_ago, until, 60) == []
        assert await prometheus.course("not promql ((", week_ago, until, 60) is None
    finally:
        await prometheus.close()


async def test_one_high_scrape_sets_no_trigger_off_however_its_query_is_computed(tmp_path: Path) -> None:
    scrapes = 0

    async def once_high(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal scrapes
        while (await reader.readline()).strip():
            pass
        scrapes += 1
        body = b'queue_depth{pool="web"} %d\n' % (1000 if scrapes == 2 else 10)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n"
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    exporter = await asyncio.start_server(once_high, LOOPBACK, 0)
    port = exporter.sockets[0].getsockname()[1]
    metrics = Metrics(tmp_path, free_port(), [Target("guests", f"{LOOPBACK}:{port}")])
    await metrics.start()
    prometheus = Prometheus(metrics.url)
    triggers = tuple(
        Trigger(query, 100.0, samples=2)
        for query in (
            'queue_depth{pool="web"}',
            'sum(queue_depth{pool="web"})',
            "max by (job) (queue_depth) * 2",
        )
    )
    pool = Pool("acme", "web", Size("small", 1, 512), "tiny", triggers=triggers)
    hearing = Hearing()
    highs = dict.fromkeys((one.query for one in triggers), 0)

    async def four_scrapes() -> bool:
        for query in highs:
            measured = await prometheus.query(query, QUERY_SECONDS)
            if not isinstance(measured, Measurement):
                continue
            for verdict in hearing.judge(pool, query, measured, SystemClock().now()):
                if verdict.why is None:
                    assert hearing.due(pool, verdict.question, measured) == []
                    highs[query] += measured.value > 100
        return scrapes > 3

    try:
        await eventually(four_scrapes, 20, every_seconds=0.1)
    finally:
        await prometheus.close()
        await metrics.stop()
        exporter.close()
    assert max(highs.values()) == 1, "asked ten times within the one high scrape, it is one sample"


async def test_a_prometheus_that_is_away_or_silent_yields_nothing_in_time() -> None:
    async def mute(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    away = Prometheus(f"http://{LOOPBACK}:{free_port()}")
    assert await away.query("up", QUERY_SECONDS) is None
    now = SystemClock().now()
    assert await away.course("up", now, now, 15) is None
    await away.close()

    server = await asyncio.start_server(mute, LOOPBACK, 0)
    silent = Prometheus(f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}")
    started = asyncio.get_running_loop().time()
    assert await silent.query("up", 0.3) is None
    assert asyncio.get_running_loop().time() - started < 2
    await silent.close()
    server.close()


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("hello", "1"),
        ("1e400", "1"),
        ("5", "hello"),
        ("5", "1e12"),
        ("5", "1e400"),
        ("5", "1e300"),
    ],
)
async def test_what_is_no_number_or_has_no_time_is_no_measurement(value: str, time: str) -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (await reader.readline()).strip():
            pass
        number = f'{{"metric":{{}},"value":[1,"{value}"]}}'
        sampled = f'{{"metric":{{"{LABEL}":"newest0"}},"value":[1,"{time}"]}}'
        body = f'{{"status":"success","data":{{"resultType":"vector","result":[{number},{sampled}]}}}}'
        writer.write(
            f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(odd, LOOPBACK, 0)
    store = Prometheus(f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}")
    assert await store.query("up", QUERY_SECONDS) == "no-number"
    await store.close()
    server.close()


async def test_a_proxy_of_the_environment_is_not_asked(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://{LOOPBACK}:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    store = Prometheus(url)
    measured = await store.query("42", QUERY_SECONDS)
    assert isinstance(measured, Measurement)
    assert measured.value == 42.0
    await store.close()
