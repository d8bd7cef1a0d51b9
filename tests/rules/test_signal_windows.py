"""What signal says of a pool every five minutes: what it saw, and nothing that it did not see."""

import asyncio
import datetime as dt
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.bus.faults import SMOOTH, Fate, Faults, NoFaults, Passage
from events.bus.ledger import Ledger
from events.bus.port import Outgoing
from events.envelope import address, read
from events.fact import Fact
from events.gate import BootOrdered, GateDecided
from events.host import HostRegistered
from events.ids import derive
from events.pool import MOST_MILLI_VMS, PoolObserved, VmCounts
from projections.fleet.fold import Fleet
from schemas.pool import Trigger
from services.signal.port import Measurement
from services.signal.questions import Question, milli_vms
from services.signal.windows import Window, begin_of, counts, look, name, observed
from services.signal.worker import Signal
from tests.given import Past
from tests.rules.desk import CONTRACT, Desk, play, pool
from tests.simulation.clock import EPOCH, pause

TRIGGER = Trigger(query="p99_ms", above=250.0, samples=3, add=2)
FOUR = VmCounts(serving=4, awake=5, asleep=2, wanted=4)
NONE = VmCounts(serving=0, awake=0, asleep=6, wanted=0)
HOST = HostRegistered("platform", "h1", "test:///default", 9_000_000, "test", 16, 1 << 16, EPOCH)
BOOT = BootOrdered(
    id=derive("boot"),
    vm="web-1",
    pool="web",
    host="h1",
    size=pool().size,
    template="tiny",
    request=derive("request"),
    purpose="serve",
    begin_by=EPOCH + dt.timedelta(hours=1),
    ready_seconds=20,
)
DECIDED = GateDecided(
    org="acme",
    gate="g1",
    through=0,
    follows=0,
    state_seq=1,
    now=EPOCH,
    contract=None,
    rules="test",
    answers=(),
    orders=(BOOT,),
)


def at(seconds: float) -> dt.datetime:
    return EPOCH + dt.timedelta(seconds=seconds)


def seen(
    *samples: tuple[float, float] | None, trigger: Trigger | None = TRIGGER, vms: VmCounts = FOUR
) -> PoolObserved:
    """What is written of a window with a look every five seconds; each found a sample (taken at, value) or nothing."""
    window: Window | None = None
    for place, sample in enumerate(samples):
        measured = (
            {}
            if sample is None or trigger is None
            else {trigger.query: Measurement(sample[1], at(sample[0]))}
        )
        definition = pool("web", trigger)
        window = look(window, definition, measured, vms, state_seq=place + 1, now=at(5 * place + 1))
    assert window is not None
    return observed("acme", "web", window)


def test_a_window_says_what_was_seen_sample_by_sample_and_how_the_vms_stood_at_its_last_look() -> None:
    fact = seen((0, 100.0), (5, 300.0), (10, 200.0))
    assert (fact.window_from, fact.window_until) == (at(0), at(300))
    assert (fact.looked_from, fact.looked_until, fact.looks) == (at(1), at(11), 3)
    assert (fact.vms, fact.state_seq) == (FOUR, 3)
    reading = fact.readings[0]
    assert reading is not None
    assert (reading.query, reading.above) == (derive("query", "p99_ms"), 250.0)
    assert (reading.asked, reading.samples, reading.over) == (3, 3, 1)
    level = reading.level
    assert level is not None
    assert (level.minimum, level.mean, level.maximum, level.last) == (100.0, 200.0, 300.0, 200.0)


def test_demand_is_how_many_vms_would_bring_the_reading_to_its_limit_in_thousandths() -> None:
    reading = seen((0, 125.0), (5, 250.0), (10, 500.0)).readings[0]
    assert reading is not None
    demand = reading.demand
    assert demand is not None
    assert (demand.minimum, demand.mean, demand.maximum, demand.last) == (2000, 4667, 8000, 8000)
    assert demand.deviation == math.isqrt((2000**2 + 4000**2 + 8000**2) // 3 - (14_000**2) // 9)
    assert demand.samples == 3


@pytest.mark.parametrize(
    ("value", "limit", "serving", "needed"),
    [
        (250.0, 250.0, 4, 4000),
        (0.0, 250.0, 4, 0),
        (-10.0, 250.0, 4, 0),
        (1.0, 3.0, 1, 333),
        (1e300, 1e-300, 100_000, 100_000_000),
    ],
)
def test_a_demand_is_a_whole_number_of_thousandths_within_its_bounds(
    value: float, limit: float, serving: int, needed: int
) -> None:
    assert milli_vms(Question("trigger", "q", limit), value, serving, MOST_MILLI_VMS) == needed


def test_one_sample_read_often_is_one_and_one_of_another_window_is_none() -> None:
    reading = seen((-3, 900.0), (2, 100.0), (2, 100.0), (1, 100.0), (301, 900.0)).readings[0]
    assert reading is not None
    assert (reading.asked, reading.samples, reading.over) == (5, 1, 0)
    assert reading.level is not None
    assert reading.level.maximum == 100.0


def scraped(every: int, offset: int, until: int = 1800) -> list[int]:
    """Samples of each window, where the metrics store takes one every so many seconds and has it at hand 2 s later."""
    window: Window | None = None
    samples: list[int] = []
    for seconds in range(2, until + 5, 5):
        before = window
        if window is not None and begin_of(at(seconds)) > window.begins:
            reading = observed("acme", "web", window).readings[0]
            assert reading is not None
            samples.append(reading.samples)
            window = None
        measured = {"p99_ms": Measurement(5.0, at((seconds - 2 - offset) // every * every + offset))}
        definition = pool("web", TRIGGER)
        window = look(window, definition, measured, FOUR, state_seq=1, now=at(seconds), before=before)
    return samples


@pytest.mark.parametrize(
    ("every", "offset", "samples"), [(60, 59, [4, 5, 5, 5, 5, 5]), (300, 299, [0, 1, 1, 1, 1, 1])]
)
def test_a_sample_that_is_seen_in_the_next_window_counts_there(
    every: int, offset: int, samples: list[int]
) -> None:
    assert scraped(every, offset) == samples, "whoever begins to look does not know what was before"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1.1e300, -1.1e300])
def test_what_is_no_number_is_no_sample(value: float) -> None:
    reading = seen((0, value)).readings[0]
    assert reading is not None
    assert (reading.asked, reading.samples, reading.level, reading.demand) == (1, 0, None, None)


def test_silence_is_told_as_silence_and_never_as_zero() -> None:
    reading = seen(None, None).readings[0]
    assert reading is not None
    assert (reading.asked, reading.samples, reading.level, reading.demand) == (2, 0, None, None)


def test_a_pool_without_a_trigger_has_no_reading_and_its_vms_are_counted_all_the_same() -> None:
    fact = seen(None, None, trigger=None)
    assert (fact.readings, fact.vms, fact.looks) == ((), FOUR, 2)


def test_where_nothing_serves_or_the_limit_is_not_above_zero_there_is_a_level_and_no_demand() -> None:
    for fact in (seen((0, 9.0), vms=NONE), seen((0, 9.0), trigger=Trigger(query="q", above=0.0))):
        assert len(fact.readings) == 1
        assert fact.readings[0].level is not None
        assert fact.readings[0].demand is None


def test_a_redefined_trigger_begins_anew_within_the_window() -> None:
    window = look(
        None, pool("web", TRIGGER), {"p99_ms": Measurement(900.0, at(1))}, FOUR, state_seq=1, now=at(1)
    )
    other = pool("web", Trigger(query="queue", above=10.0))
    window = look(window, other, {"queue": Measurement(5.0, at(6))}, FOUR, state_seq=2, now=at(6))
    fact = observed("acme", "web", window)
    assert fact.looks == 2
    assert len(fact.readings) == 1
    assert (fact.readings[0].query, fact.readings[0].asked, fact.readings[0].samples) == (
        derive("query", "queue"),
        1,
        1,
    )
    window = look(window, pool("web"), {}, FOUR, state_seq=3, now=at(11))
    assert observed("acme", "web", window).readings == ()


def test_windows_begin_at_whole_five_minutes_utc() -> None:
    assert begin_of(at(0)) == at(0)
    assert begin_of(at(299.999)) == at(0)
    assert begin_of(at(300)) == at(300)
    elsewhere = at(301).astimezone(dt.timezone(dt.timedelta(hours=5, minutes=45)))
    assert begin_of(elsewhere) == at(300)


def test_a_window_has_one_name_whoever_saw_it() -> None:
    assert name(seen(None)) == name(seen((1, 5.0), (6, 7.0)))


def test_vms_are_counted_by_what_matters() -> None:
    past = Past().contract(vcpu=100).pool("web").host()
    past.serving("web", 3)
    past.asleep("web", 2)
    past.waking("web", 1)
    fleet: Fleet = past.fleet
    assert counts(fleet, "acme", "web") == VmCounts(serving=3, awake=4, asleep=2, wanted=4)


@given(
    st.floats(min_value=-1e300, max_value=1e300),
    st.lists(
        st.tuples(st.integers(-400, 400), st.floats(), st.integers(0, 100_000)), min_size=1, max_size=80
    ),
)
def test_whatever_a_metrics_store_says_the_event_can_be_read_and_claims_no_more_than_was_seen(
    limit: float, looks: list[tuple[int, float, int]]
) -> None:
    definition = pool("web", Trigger(query="q", above=limit))
    window: Window | None = None
    for place, (taken, value, serving) in enumerate(looks):
        vms = VmCounts(serving=serving, awake=serving, asleep=0, wanted=serving)
        window = look(
            window,
            definition,
            {"q": Measurement(value, at(taken))},
            vms,
            state_seq=place,
            now=at(3 * place + 1),
        )
    assert window is not None
    fact = observed("acme", "web", window)
    event = address(fact, writer="signal", id=name(fact), time=at(301), cause=None, correlation=name(fact))
    assert read(1, 1, event.payload, event.subject).fact == fact
    reading = fact.readings[0]
    assert reading is not None
    taken_within = {taken for taken, value, _ in looks if 0 <= taken < 300 and abs(value) <= 1e300}
    assert reading.over <= reading.samples <= len(taken_within) <= fact.looks == reading.asked
    assert (reading.level is None) == (reading.samples == 0)
    if reading.level is not None:
        level = reading.level
        assert level.minimum <= level.mean <= level.maximum
        assert level.minimum <= level.last <= level.maximum
    if reading.demand is not None:
        demand = reading.demand
        assert demand.samples <= reading.samples
        assert 0 <= demand.minimum <= demand.mean <= demand.maximum <= MOST_MILLI_VMS
        assert demand.deviation <= demand.maximum - demand.minimum


# ------------------------------------------------------------------------------------------------------ at work


@dataclass
class Gauge:
    """A metrics store that samples every five seconds."""

    clock: Callable[[], dt.datetime]
    value: float | None = 100.0
    asked: list[dt.datetime] = field(default_factory=list)

    async def query(self, expression: str, timeout_seconds: float) -> Measurement | None:
        del expression, timeout_seconds
        self.asked.append(self.clock())
        since = int((self.clock() - EPOCH).total_seconds()) // 5 * 5
        return None if self.value is None else Measurement(self.value, at(since))


class Life:
    """Signal workers on one bus, each with a ledger of its own, until the scene ends."""

    def __init__(self, faults: Faults | None = None, dedup_seconds: float = 600.0) -> None:
        self.desk = Desk(dedup_seconds=dedup_seconds, faults=faults)
        self.desk.contract(CONTRACT, pool("web", TRIGGER))
        self.gauge = Gauge(self.desk.clock.now)
        self.tasks: list[asyncio.Task] = []

    def start(self) -> list[asyncio.Task]:
        bus = self.desk.worker_bus("signal")
        ledger = Ledger(bus)
        signal = Signal(ledger, bus, self.desk.clock, self.gauge)
        begun = [asyncio.create_task(signal.work()), asyncio.create_task(ledger.follow())]
        self.tasks += begun
        return begun

    async def kill(self, tasks: list[asyncio.Task]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def told(self) -> list[PoolObserved]:
        return [one.fact for one in self.desk.facts(PoolObserved) if isinstance(one.fact, PoolObserved)]


def scene(
    story: Callable[[Life], Awaitable[None]], faults: Faults | None = None, dedup_seconds: float = 600.0
) -> None:
    async def whole() -> None:
        life = Life(faults, dedup_seconds)
        await story(life)
        await life.kill(life.tasks)

    play(whole)


def test_each_pool_has_one_event_in_five_minutes() -> None:
    async def story(life: Life) -> None:
        life.start()
        await pause(1000)
        first, second, third = life.told()
        assert [one.window_from for one in (first, second, third)] == [at(0), at(300), at(600)]
        assert (first.looks, second.looks, third.looks) == (60, 60, 60)
        assert len(first.readings) == 1
        assert (first.readings[0].samples, first.readings[0].over) == (60, 0)

    scene(story)


@pytest.mark.parametrize("dedup_seconds", [600.0, 0.0])
def test_two_signal_workers_write_one_event(dedup_seconds: float) -> None:
    async def story(life: Life) -> None:
        life.start()
        life.start()
        await pause(1000)
        assert [one.window_from for one in life.told()] == [at(0), at(300), at(600)]

    scene(story, dedup_seconds=dedup_seconds)


def test_a_window_in_which_signal_died_is_told_as_far_as_it_was_looked_at_and_one_without_it_not_at_all() -> (
    None
):
    async def story(life: Life) -> None:
        tasks = life.start()
        await pause(450)
        await life.kill(tasks)
        await pause(600)  # until 17:30; the windows at 5 and 10 minutes are nobody's
        life.start()
        await pause(200)
        assert [one.window_from for one in life.told()] == [at(0), at(900)]
        last = life.told()[-1]
        assert (last.looked_from, last.looks) == (at(1050), 30)

    scene(story)


@dataclass
class Away(NoFaults):
    """From `since` to `until` what is appended meets this fate, by the loop's time."""

    fate: Fate
    since: float
    until: float

    def before(self, name: str, messages: Sequence[Outgoing]) -> Passage:
        away = self.since <= asyncio.get_running_loop().time() < self.until
        return Passage(self.fate, late_seconds=7.0, patience_seconds=1.0) if away else SMOOTH


@pytest.mark.parametrize("fate", ["request-lost", "ack-lost", "stored-late"])
def test_an_event_whose_answer_stays_out_is_written_once(fate: Fate) -> None:
    async def story(life: Life) -> None:
        life.start()
        await pause(700)
        assert [one.window_from for one in life.told()] == [at(0), at(300)]

    scene(story, Away(fate, 299, 330), dedup_seconds=0.0)


def test_the_counts_are_those_of_the_ledger_up_to_the_sequence_that_is_named() -> None:
    async def story(life: Life) -> None:
        life.desk.write(HOST)
        life.start()
        await pause(150)
        life.desk.write(DECIDED)
        await pause(145)
        life.desk.write(HOST)
        await pause(50)
        (fact,) = life.told()
        assert (fact.vms.awake, fact.vms.wanted) == (1, 1)
        fleet = Fleet()
        for recorded in life.desk.facts(Fact):
            if recorded.seq <= fact.state_seq:
                fleet.apply(recorded)
        assert counts(fleet, "acme", "web") == fact.vms

    scene(story)
