"""When a trigger asks, as a rule and at work in virtual time."""

import asyncio
import datetime as dt
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from events.bus.ledger import Ledger
from events.scale import ScaleRequested
from schemas.pool import Trigger
from services.signal.decide import Streak, due, lengthen
from services.signal.port import Measurement
from services.signal.worker import Signal
from tests.rules.desk import CONTRACT, Desk, play, pool
from tests.simulation.clock import EPOCH, pause

TRIGGER = Trigger(query="p99_ms", above=250.0, samples=3, add=2)


def at(seconds: float) -> dt.datetime:
    return EPOCH + dt.timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("samples", "asks"),
    [
        ([(0, 300.0), (5, 300.0), (10, 300.0)], True),
        ([(0, 300.0), (5, 300.0)], False),
        ([(0, 300.0), (5, 250.0), (10, 300.0), (15, 300.0)], False),
        ([(0, 300.0), (0, 300.0), (0, 300.0)], False),
        ([(10, 300.0), (5, 300.0), (0, 300.0)], False),
        ([(0, 300.0), (5, math.nan), (10, 300.0), (15, 300.0)], True),
        ([(0, math.inf), (5, math.inf), (10, math.inf)], False),
        ([(0, 300.0), (5, 300.0), (400, 300.0)], False),
        ([(0, 300.0), (5, 300.0), (400, 300.0), (405, 300.0), (410, 300.0)], True),
    ],
    ids=[
        "three in a row",
        "two are not enough",
        "exactly at the limit is not above",
        "one sample seen three times is one",
        "older samples do not count",
        "what is not a number says nothing",
        "infinity is no number either",
        "not successive after a gap",
        "and then three in a row",
    ],
)
def test_a_trigger_is_due_after_enough_successive_samples(
    samples: list[tuple[float, float]],
    asks: bool,  # noqa: FBT001 - a column of the table
) -> None:
    streak = Streak()
    for seconds, value in samples:
        streak = lengthen(streak, TRIGGER, value, at(seconds))
    assert due(streak, TRIGGER) is asks


@dataclass
class Gauge:
    """A metrics store with one value, sampled every `scrape_seconds`; None while it yields nothing."""

    clock: Callable[[], dt.datetime]
    value: float | None = 300.0
    scrape_seconds: int = 5
    asked: list[dt.datetime] = field(default_factory=list)

    async def query(self, expression: str, timeout_seconds: float) -> Measurement | None:
        del expression, timeout_seconds
        now = self.clock()
        self.asked.append(now)
        since = int((now - EPOCH).total_seconds()) // self.scrape_seconds * self.scrape_seconds
        return None if self.value is None else Measurement(self.value, at(since))


def scene_with(gauge_of: Callable[[Desk], Gauge], story: Callable[[Desk, Gauge], Awaitable[None]]) -> None:
    async def scene() -> None:
        desk = Desk()
        desk.contract(CONTRACT, pool("web", TRIGGER))
        bus = desk.worker_bus("signal")
        ledger = Ledger(bus)
        gauge = gauge_of(desk)
        signal = Signal(ledger, bus, desk.clock, gauge)
        tasks = [asyncio.create_task(signal.work()), asyncio.create_task(ledger.follow())]
        await story(desk, gauge)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    play(scene)


def requests(desk: Desk) -> list[ScaleRequested]:
    return [one.fact for one in desk.facts(ScaleRequested) if isinstance(one.fact, ScaleRequested)]


def test_a_trigger_asks_after_three_samples_and_then_once_per_cooldown() -> None:
    async def story(desk: Desk, gauge: Gauge) -> None:
        await pause(60)
        (first,) = requests(desk)
        assert first.sample is not None
        assert (first.publisher, first.add, first.sample.value) == ("signal", 2, 300.0)
        assert first.sample.observed_at == at(10)
        assert (first.received_at - at(10)).total_seconds() < 5
        await pause(60)
        assert len(requests(desk)) == 2
        await pause(300)
        assert 5 <= len(requests(desk)) <= 6

    scene_with(lambda desk: Gauge(desk.clock.now), story)


def test_slow_samples_are_not_counted_twice() -> None:
    async def story(desk: Desk, gauge: Gauge) -> None:
        await pause(59)
        assert requests(desk) == []
        await pause(10)
        assert len(requests(desk)) == 1

    scene_with(lambda desk: Gauge(desk.clock.now, scrape_seconds=30), story)


def test_silence_is_neither_zero_nor_load() -> None:
    async def story(desk: Desk, gauge: Gauge) -> None:
        await pause(9)  # two samples
        gauge.value = None
        await pause(100)
        assert requests(desk) == []
        gauge.value = 300.0
        await pause(6)
        assert len(requests(desk)) == 1, "the third sample; the silence between was not a low one"

    scene_with(lambda desk: Gauge(desk.clock.now), story)


def test_a_quiet_pool_asks_for_nothing() -> None:
    async def story(desk: Desk, gauge: Gauge) -> None:
        await pause(1000)
        assert requests(desk) == []
        assert len(gauge.asked) > 150

    scene_with(lambda desk: Gauge(desk.clock.now, value=249.9), story)
