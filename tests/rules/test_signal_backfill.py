"""A pool's past becomes ticks once: in order, without what is no sample, and whole although the worker is killed in between."""

import asyncio
import datetime as dt
import math
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from events.bus.ledger import Ledger
from events.bus.telemetry import Heard, Telemetry
from events.pool import PoolDefined
from schemas.pool import DemandQuery, Pool
from schemas.telemetry import PoolTold
from services.signal import backfill as module
from services.signal.backfill import LATEST, REACH, Backfill, filled, ticks_of
from services.signal.port import Measurement
from tests.rules.desk import CONTRACT, Desk, play, pool
from tests.simulation.clock import EPOCH, pause

RATE = DemandQuery("rate", 100.0)
WEEK = 7 * 240


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker's week has seven hours."""
    monkeypatch.setattr(module, "REACH", dt.timedelta(hours=7))
    monkeypatch.setattr(module, "PIECE", dt.timedelta(hours=1))


def at(seconds: float) -> dt.datetime:
    return EPOCH + dt.timedelta(seconds=seconds)


def demanding(name: str = "web", query: str = "rate") -> Pool:
    return msgspec.structs.replace(pool(name), demand=DemandQuery(query, 100.0))


@dataclass
class Store:
    """A metrics store that kept everything since a week ago; None while it is away."""

    asked: list[tuple[str, dt.datetime, dt.datetime, int]] = field(default_factory=list)
    away: bool = False

    async def course(
        self, expression: str, since: dt.datetime, until: dt.datetime, step_seconds: int
    ) -> list[Measurement] | None:
        await pause(0.1)
        self.asked.append((expression, since, until, step_seconds))
        if self.away:
            return None
        steps = (until - since) // dt.timedelta(seconds=step_seconds) + 1
        moments = (since + number * dt.timedelta(seconds=step_seconds) for number in range(steps))
        return [Measurement(250.0, moment) for moment in moments]


@asynccontextmanager
async def backfill(desk: Desk, store: Store, marks: Path) -> AsyncGenerator[None]:
    bus = desk.worker_bus("signal")
    ledger = Ledger(bus)
    worker = Backfill(ledger, desk.clock, store, Telemetry(bus), marks)
    tasks = [asyncio.create_task(worker.work()), asyncio.create_task(ledger.follow())]
    try:
        yield
        assert not any(task.done() for task in tasks), tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def told(desk: Desk) -> list[Heard]:
    telemetry = Telemetry(desk.worker_bus("signal"))
    found: list[Heard] = []
    page = await telemetry.after(0)
    while not page.end:
        found += page.heard
        page = await telemetry.after(page.seq)
    return found


def test_a_week_of_a_demand_becomes_its_ticks_in_order_once(tmp_path: Path) -> None:
    async def scene() -> None:
        desk, store = Desk(), Store()
        desk.contract(CONTRACT, demanding(), demanding("db", "other"), pool("plain"))
        marks = tmp_path / "signal" / "backfill.json"
        async with backfill(desk, store, marks):
            await pause(300)
            ticks = [heard.told.tick for heard in await told(desk)]
            assert ticks == sorted(set(ticks))
            assert WEEK - 2 <= len(ticks) <= WEEK
            last = EPOCH.timestamp() - LATEST.total_seconds()
            assert last - 15 <= (ticks[-1] + 1) * 15 <= last
            first = (await told(desk))[0].told
            assert [(one.pool, one.milli_vms, one.samples) for one in first.pools] == [
                ("web", 2500, 1),
                ("db", 2500, 1),
            ]
            assert {step for *_, step in store.asked} == {15}
            asked = len(store.asked)
            desk.write(PoolDefined(org="acme", pool="new", definition=demanding("new", "third")))
            await pause(400)
            assert {query for query, *_ in store.asked[asked:]} == {"third"}
            asked = len(store.asked)
        async with backfill(desk, store, marks):
            await pause(300)
            assert len(store.asked) == asked, "after a restart nothing is told again"

    play(scene)


def test_whoever_is_killed_in_between_goes_on_where_the_mark_stands(tmp_path: Path) -> None:
    async def scene() -> None:
        desk, store = Desk(), Store()
        desk.contract(CONTRACT, demanding())
        marks = tmp_path / "backfill.json"
        for _ in range(5):
            async with backfill(desk, store, marks):
                await pause(0.45)
        async with backfill(desk, store, marks):
            await pause(300)
        times = Counter(heard.told.tick for heard in await told(desk))
        assert WEEK - 2 <= len(times) <= WEEK, "no tick is left out"
        assert max(times.values()) <= 6
        again = sum(count - 1 for count in times.values())
        assert again <= 5 * 240, "at most a day for each kill"

    play(scene)


def test_a_metrics_store_that_is_away_is_asked_again_a_minute_later(tmp_path: Path) -> None:
    async def scene() -> None:
        desk, store = Desk(), Store(away=True)
        desk.contract(CONTRACT, demanding())
        async with backfill(desk, store, tmp_path / "backfill.json"):
            await pause(130)
            assert await told(desk) == []
            assert len(store.asked) == 3
            store.away = False
            await pause(300)
            assert len(await told(desk)) >= WEEK - 2

    play(scene)


def test_what_the_telemetry_already_holds_is_not_told_again_where_the_mark_was_lost(tmp_path: Path) -> None:
    async def scene() -> None:
        desk, store = Desk(), Store()
        desk.contract(CONTRACT, demanding())
        marks = tmp_path / "backfill.json"
        async with backfill(desk, store, marks):
            await pause(300)
        for damage in (b"", b"{", b'{"a": 1}'):
            marks.write_bytes(damage)
            asked = len(store.asked)
            async with backfill(desk, store, marks):
                await pause(300)
            assert len(store.asked) == asked

    play(scene)


def test_a_tick_is_what_was_measured_up_to_its_end_and_what_is_no_sample_makes_none() -> None:
    course = [
        Measurement(value, at(seconds))
        for seconds, value in [
            (0.001, 100.0),
            (15, 300.0),
            (15.001, math.nan),
            (31, -5.0),
            (46, 1e301),
            (75, 0.0),
            (75.001, 1e290),
        ]
    ]
    begin = int(EPOCH.timestamp()) // 15
    found = [(tick - begin, one.milli_vms, one.samples) for tick, one in ticks_of(demanding(), RATE, course)]
    assert found == [(0, 2000, 2), (4, 0, 1), (5, 100_000_000, 1)]


def test_where_many_orgs_are_told_of_a_step_of_a_minute_stands_for_its_four_ticks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MANY_ORGS", 0)

    async def scene(most: int, apart: int) -> None:
        monkeypatch.setattr(module, "MOST_FILLED_ORGS", most)
        desk, store = Desk(), Store()
        desk.contract(CONTRACT, demanding())
        async with backfill(desk, store, tmp_path / f"{most}.json"):
            await pause(300)
            ticks = [heard.told.tick for heard in await told(desk)]
            assert {step for *_, step in store.asked} == {60}
            assert {later - sooner for sooner, later in pairwise(ticks)} == {apart}
            assert WEEK - 8 <= apart * len(ticks) <= WEEK + 4
            assert (ticks[-1] + 1) * 15 <= EPOCH.timestamp() - LATEST.total_seconds() + 1

    play(lambda: scene(most=1, apart=1))
    play(lambda: scene(most=0, apart=4))


def test_a_step_is_repeated_up_to_the_next_and_a_step_without_a_sample_stays_silent() -> None:
    first, second, third = (PoolTold("web", needed, 1, 1) for needed in (1000, 2000, 3000))
    course = [(10, first), (12, second), (20, third)]
    assert [(tick, one.milli_vms) for tick, one in filled(course, 4)] == [
        (10, 1000),
        (11, 1000),
        *((tick, 2000) for tick in range(12, 16)),
        *((tick, 3000) for tick in range(20, 24)),
    ]
    assert list(filled(course, 1)) == course
    assert list(filled([], 4)) == []


def test_the_past_reaches_a_week_back_whatever_the_clock_says_of_the_time_of_day() -> None:
    assert dt.timedelta(days=7) == REACH, (
        "in UTC: a day on which clocks are put forward has 24 hours like all"
    )
