"""When a query counts as lost, and that the ledger is told of it once: as a rule, and at work in virtual time."""

import asyncio
import datetime as dt
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec
import pytest

from events.bus.faults import Fate, Faults
from events.bus.ledger import Ledger
from events.bus.telemetry import Telemetry
from events.ids import derive
from events.pool import PoolDefined, PoolObserved
from events.scale import ScaleRequested
from events.signal import SignalFound, SignalLost
from schemas.pool import DemandQuery, Pool, Trigger
from services.signal.port import Heard, Measurement
from services.signal.silence import (
    FIRST_PATIENCE_SECONDS,
    LONGEST_PATIENCE_SECONDS,
    PATIENCE_SECONDS,
    Silence,
)
from services.signal.worker import Signal
from tests.rules.desk import CONTRACT, Desk, play, pool
from tests.rules.test_signal_windows import Away
from tests.simulation.clock import EPOCH, pause

TRIGGER = Trigger(query="p99", above=250.0, samples=3, add=2, kind="p99")
QUEUE = Trigger(query="queue", above=10.0, samples=2, add=5)
POOL = msgspec.structs.replace(
    pool("web"), triggers=(TRIGGER, QUEUE), demand=DemandQuery("rate", 100.0), cooldown_seconds=90
)


def at(seconds: float) -> dt.datetime:
    return EPOCH + dt.timedelta(seconds=seconds)


def heard_every(*distances: float) -> Silence:
    silence = Silence(0.0)
    now = 0.0
    silence.hear(now)
    for distance in distances:
        now += distance
        silence.hear(now)
    return silence


@pytest.mark.parametrize(
    ("silence", "patience"),
    [
        (Silence(0.0), PATIENCE_SECONDS),
        (heard_every(), FIRST_PATIENCE_SECONDS),
        (heard_every(1, 1, 1), PATIENCE_SECONDS),
        (heard_every(60, 60), 150.0),
        (heard_every(1, 600), PATIENCE_SECONDS),
        (heard_every(600, 15), 37.5),
        (heard_every(300, 300), LONGEST_PATIENCE_SECONDS),
    ],
    ids=[
        "never heard",
        "heard once, and nobody knows when it is due again",
        "every second",
        "once a minute",
        "after a loss of ten minutes, which is no usual distance",
        "found again a sample ago",
        "as seldom as can be",
    ],
)
def test_how_long_a_query_may_be_silent_follows_from_how_often_it_speaks(
    silence: Silence, patience: float
) -> None:
    assert silence.patience_seconds == patience


def test_silence_is_counted_only_by_those_who_look() -> None:
    silence = Silence(0.0)
    assert not silence.is_lost(1000.0), "whoever stood still for so long has heard nothing, and knows nothing"
    for _ in range(3):
        silence.miss("vanished")
    assert silence.is_lost(1000.0)
    assert silence.why == "vanished"
    silence.hear(1000.0)
    assert not silence.is_lost(1001.0)
    assert silence.is_heard(1001.0)


# ------------------------------------------------------------------------------------------------------ at work


@dataclass
class Store:
    """A metrics store that samples every five seconds; each query has a value, a reason, or its own time."""

    clock: Callable[[], dt.datetime]
    answers: dict[str, Heard] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=lambda: {"p99": 100.0, "queue": 1.0, "rate": 250.0})

    async def query(self, expression: str, timeout_seconds: float) -> Heard:
        await pause(0.001)
        if expression in self.answers:
            return self.answers[expression]
        since = int((self.clock() - EPOCH).total_seconds()) // 5 * 5
        return Measurement(self.values[expression], at(since))


class Life:
    """Signal workers on one bus, each with a ledger and a metrics store of its own, until the scene ends."""

    def __init__(self, *pools: Pool, faults: Faults | None = None) -> None:
        self.desk = Desk(faults=faults, dedup_seconds=0.0)
        self.desk.contract(CONTRACT, *(pools or (POOL,)))
        self.tasks: list[asyncio.Task] = []

    def start(self) -> Store:
        bus = self.desk.worker_bus("signal")
        ledger = Ledger(bus)
        store = Store(self.desk.clock.now)
        signal = Signal(ledger, bus, self.desk.clock, store)
        self.signal = signal
        self.tasks += [asyncio.create_task(signal.work()), asyncio.create_task(ledger.follow())]
        return store

    async def kill(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()

    def lost(self) -> list[SignalLost]:
        return [one.fact for one in self.desk.facts(SignalLost) if isinstance(one.fact, SignalLost)]

    def found(self) -> list[SignalFound]:
        return [one.fact for one in self.desk.facts(SignalFound) if isinstance(one.fact, SignalFound)]

    def requests(self) -> list[ScaleRequested]:
        return [one.fact for one in self.desk.facts(ScaleRequested) if isinstance(one.fact, ScaleRequested)]

    async def ticks(self, name: str = "web") -> list[tuple[int, int, int]]:
        """Tick since the epoch, thousandths of a VM and samples, as the telemetry has them of the pool."""
        telemetry = Telemetry(self.desk.worker_bus("signal"))
        begin = int(EPOCH.timestamp()) // 15
        heard = (await telemetry.after(0)).heard
        return [
            (one.told.tick - begin, each.milli_vms, each.samples)
            for one in heard
            for each in one.told.pools
            if each.pool == name
        ]


def scene(story: Callable[[Life], Awaitable[None]], *pools: Pool, faults: Faults | None = None) -> None:
    async def whole() -> None:
        life = Life(*pools, faults=faults)
        await story(life)
        assert not any(task.done() for task in life.tasks), life.tasks
        await life.kill()

    play(whole)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (None, "silent"),
        ("vanished", "vanished"),
        ("many", "many"),
        ("no-number", "no-number"),
        (Measurement(math.nan, at(10_000)), "no-number"),
        (Measurement(math.inf, at(10_000)), "no-number"),
        (Measurement(-1.0, at(70)), "no-number"),
        (Measurement(250.0, at(55)), "stale"),
        (Measurement(250.0, at(20)), "stale"),
        (Measurement(250.0, at(10_000)), "future"),
    ],
)
def test_a_query_that_yields_nothing_new_is_told_once_with_the_reason_and_once_more_when_it_does(
    answer: Heard, code: str
) -> None:
    async def story(life: Life) -> None:
        store = life.start()
        await pause(61)
        assert life.lost() == []
        store.answers["rate"] = answer
        await pause(600)
        (lost,) = life.lost()
        assert (lost.source, lost.query, lost.code) == ("demand", derive("query", "rate"), code)
        assert 30 < (lost.lost_at - at(55)).total_seconds() < 50
        assert lost.last_sample_at is not None
        assert at(50) <= lost.last_sample_at <= at(70)
        assert "acme/web has yielded nothing new" in lost.text
        assert life.found() == []
        del store.answers["rate"]
        await pause(60)
        (found,) = life.found()
        assert (found.source, found.query, found.lost_at) == ("demand", lost.query, lost.lost_at)
        assert len(life.lost()) == 1
        ticks = await life.ticks()
        assert {milli for _, milli, _ in ticks} == {2500}, "silence is no zero"
        assert not [tick for tick, *_ in ticks if 6 <= tick <= 43], "and is not told"

    scene(story)


def test_a_metrics_store_that_is_away_from_the_start_is_told_for_every_query_after_thirty_seconds() -> None:
    async def story(life: Life) -> None:
        store = life.start()
        store.answers = {"rate": None, "p99": None, "queue": None}
        await pause(29)
        assert life.lost() == []
        await pause(30)
        assert {(one.source, one.code, one.last_sample_at) for one in life.lost()} == {
            ("demand", "silent", None),
            ("trigger", "silent", None),
        }
        assert len(life.lost()) == 3

    scene(story)


def test_a_worker_that_begins_anew_neither_tells_a_loss_again_nor_says_that_it_hears_what_it_does_not() -> (
    None
):
    async def story(life: Life) -> None:
        store = life.start()
        store.answers["rate"] = None
        await pause(60)
        await life.kill()
        store = life.start()
        store.answers["rate"] = None
        await pause(600)
        assert (len(life.lost()), len(life.found())) == (1, 0)
        await life.kill()
        life.start()
        await pause(20)
        assert (len(life.lost()), len(life.found())) == (1, 1)

    scene(story)


@pytest.mark.parametrize("fate", ["answered", "request-lost", "ack-lost", "stored-late"])
def test_two_workers_tell_one_loss_and_one_find(fate: Fate) -> None:
    async def story(life: Life) -> None:
        stores = [life.start(), life.start()]
        await pause(60)
        for store in stores:
            store.answers["rate"] = "vanished"
        await pause(300)
        assert len(life.lost()) == 1
        for store in stores:
            store.answers.clear()
        await pause(120)
        assert (len(life.lost()), len(life.found())) == (1, 1)

    scene(story, faults=Away(fate, 80, 120))


def test_of_two_workers_one_that_hears_nothing_does_not_quarrel_with_the_other_more_than_twice_a_minute() -> (
    None
):
    async def story(life: Life) -> None:
        life.start()
        deaf = life.start()
        await pause(60)
        deaf.answers = dict.fromkeys(("rate", "p99", "queue"), None)
        await pause(600)
        assert len([one for one in life.lost() if one.source == "demand"]) <= 20
        assert abs(len(life.lost()) - len(life.found())) <= 3

    scene(story)


def test_a_query_that_is_no_longer_the_pool_s_is_not_missed() -> None:
    async def story(life: Life) -> None:
        store = life.start()
        store.answers["rate"] = None
        await pause(20)
        plain = msgspec.structs.replace(POOL, demand=None)
        life.desk.write(PoolDefined(org="acme", pool="web", definition=plain))
        await pause(600)
        assert life.lost() == []

    scene(story)


def test_what_is_sampled_once_a_minute_is_not_lost_in_between() -> None:
    async def story(life: Life) -> None:
        store = life.start()
        for minute in range(10):
            store.answers["rate"] = Measurement(250.0, at(60.0 * minute))
            await pause(60)
        assert life.lost() == []

    scene(story)


def test_a_clock_that_is_set_forward_or_back_is_no_loss() -> None:
    async def story(life: Life) -> None:
        life.start()
        await pause(100)
        for step in (3600.0, -7200.0, 3600.0, 20.0, -20.0):
            life.desk.clock.off_seconds += step
            await pause(100)
            assert life.lost() == [], "the store's clock is the worker's here, as on one machine"

    scene(story)


# ------------------------------------------------------------------------------------------- several triggers, demand


def test_any_of_several_triggers_asks_and_they_share_the_cooldown_of_the_pool() -> None:
    async def story(life: Life) -> None:
        store = life.start()
        await pause(62)
        store.values["queue"] = 50.0
        await pause(20)
        (asked,) = life.requests()
        assert asked.sample is not None
        assert (asked.sample.query, asked.add) == ("queue", 5)
        store.values["p99"] = 300.0
        await pause(60)
        assert len(life.requests()) == 1, "the pool is cooling"
        store.values["queue"] = 1.0
        await pause(60)
        assert [one.add for one in life.requests()] == [5, 2]

    scene(story)


def test_of_two_triggers_that_are_due_together_the_one_that_wants_more_asks() -> None:
    slow = msgspec.structs.replace(POOL, triggers=(TRIGGER, msgspec.structs.replace(QUEUE, samples=3)))

    async def story(life: Life) -> None:
        store = life.start()
        store.values |= {"queue": 50.0, "p99": 300.0}
        await pause(20)
        assert [one.add for one in life.requests()] == [5]

    scene(story, slow)


def test_a_rise_asks_before_the_limit_is_passed() -> None:
    async def story(life: Life) -> None:
        store = life.start()
        await pause(1)
        for step in range(300):
            store.values["p99"] = 100.0 + step
            await pause(1)
            if life.requests():
                break
        (asked,) = life.requests()
        assert asked.sample is not None
        assert asked.sample.query == "p99"
        assert 150 < asked.sample.value < 200, "it will pass 250 within the horizon of 90 s"

    scene(story)


def test_the_telemetry_has_the_mean_demand_of_each_tick_in_thousandths_of_a_vm() -> None:
    async def story(life: Life) -> None:
        life.start()
        await pause(76)
        assert await life.ticks() == [(tick, 2500, 3) for tick in range(5)]

    scene(story)


def test_where_a_pool_has_a_demand_of_its_own_its_windows_say_it_beside_every_trigger() -> None:
    async def story(life: Life) -> None:
        life.start()
        await pause(400)
        (seen,) = [one.fact for one in life.desk.facts(PoolObserved) if isinstance(one.fact, PoolObserved)]
        assert [(one.source, one.above, one.samples) for one in seen.readings] == [
            ("trigger", 250.0, 60),
            ("trigger", 10.0, 60),
            ("demand", 100.0, 60),
        ]
        assert seen.demand is not None
        assert (seen.demand.mean, seen.demand.samples) == (2500, 60)

    scene(story)


def test_a_pushed_sample_counts_at_once_and_its_query_is_not_asked_meanwhile() -> None:
    async def story(life: Life) -> None:
        store = life.start()
        store.answers = {"queue": None}
        await pause(7)
        for second in range(7, 60):
            life.signal._triggers.pushed("queue", Measurement(50.0, at(second)))
            await pause(1)
            if second == 9:
                assert [one.add for one in life.requests()] == [5], "two samples, a second apart"
        assert life.lost() == []
        await pause(100)
        assert [one.code for one in life.lost()] == ["silent"], "pushes have ended, and nobody answers"

    scene(story)
