"""The forecaster at work: every tick told once, through restarts, lost samples, clocks that jump and a bus that goes away."""

import datetime as dt
from collections.abc import Sequence

import pytest

from events.bus.faults import SMOOTH, NoFaults, Passage
from events.bus.port import Outgoing
from events.bus.telemetry import end_of, tick_of
from events.forecast import ForecastMade
from events.ids import derive
from events.signal import SignalFound, SignalLost
from schemas.intake import Quiesce, Scale
from schemas.pool import DemandQuery
from schemas.telemetry import TICK_SECONDS, PoolTold, Told
from services.forecaster.metrics import UNUSABLE
from services.forecaster.worker import KEPT_TICKS
from tests.rules.forecast_desk import EPOCH, FIRST, Life, climb, foreseen, scene, ticks_of, wave
from tests.simulation.clock import pause


def once(facts: Sequence[ForecastMade]) -> None:
    """No tick is told twice, and none between the first and the last is left out."""
    told = ticks_of(facts)
    assert told == list(range(told[0], told[-1] + 1))


def never_twice(facts: Sequence[ForecastMade]) -> None:
    """No tick is told twice; some may be missing, of which nothing is known any more."""
    told = ticks_of(facts)
    assert told == sorted(set(told))


def test_a_pool_is_foreseen_from_its_first_sample_and_asked_for_what_it_needs() -> None:
    async def story(life: Life) -> None:
        life.start()
        await pause(40)
        [first] = life.made()
        assert first.reason == "began"
        assert (first.mode, first.staying, first.capped) == ("on", 0, False)
        assert first.made_at == EPOCH + dt.timedelta(seconds=15)
        assert first.target >= 4
        assert first.reserve == 10
        assert first.want == first.target + 10
        assert first.history_seconds == TICK_SECONDS
        [(at, verb, request)] = life.asked
        assert at - first.made_at < dt.timedelta(seconds=3)
        assert verb == "scale"
        assert isinstance(request, Scale)
        assert (request.want, request.up_to) == (first.want, True)

    scene(story)


def test_ticks_that_change_nothing_are_told_together_once_an_hour() -> None:
    async def story(life: Life) -> None:
        life.start()
        await pause(2.2 * 3600)
        late = [fact for fact in life.made() if fact.made_at > EPOCH + dt.timedelta(minutes=30)]
        held = [fact for fact in late if fact.reason == "held"]
        assert 1 <= len(held) <= 2
        assert held[-1].ticks == 240
        once(life.made())

    scene(story)


def test_a_pool_that_is_only_foreseen_is_never_asked_for_and_one_that_is_off_never_foreseen() -> None:
    async def story(life: Life) -> None:
        life.demand |= {"api": wave, "old": wave}
        life.start()
        await pause(600)
        assert life.made("api")
        assert {fact.mode for fact in life.made("api")} == {"only"}
        assert life.made("old") == []
        assert {request.pool for _, _, request in life.asked} == {"web"}

    scene(story, foreseen(), foreseen("api", forecast="only"), foreseen("old", forecast="off"))


def test_a_pool_that_was_never_measured_is_never_told() -> None:
    async def story(life: Life) -> None:
        life.demand["web"] = lambda _: None
        life.start()
        await pause(4000)
        assert life.made() == []
        assert life.asked == []

    scene(story)


@pytest.mark.parametrize("seconds", [17.6, 301.0, 702.5])
def test_killed_at_any_time_it_goes_on_as_if_it_had_never_been(seconds: float) -> None:
    async def without(life: Life) -> None:
        life.demand["web"] = climb
        life.start()
        await pause(1200)
        whole.extend(life.made())

    async def with_kill(life: Life) -> None:
        life.demand["web"] = climb
        tasks = life.start()
        await pause(seconds)
        await life.kill(tasks)
        await pause(20.0)
        life.start()
        await pause(1200 - seconds - 20)
        again.extend(life.made())

    whole: list[ForecastMade] = []
    again: list[ForecastMade] = []
    scene(without)
    scene(with_kill)
    once(again)
    after = EPOCH + dt.timedelta(seconds=seconds + 60)
    if seconds >= KEPT_TICKS * TICK_SECONDS:
        seen = [
            (fact.made_at, fact.target, fact.outlook, fact.want) for fact in again if fact.made_at > after
        ]
        assert seen
        assert [(one.made_at, one.target, one.outlook, one.want) for one in whole if one.made_at > after][
            -20:
        ] == seen[-20:]


def test_without_what_was_kept_the_past_is_learnt_anew_from_the_telemetry() -> None:
    async def story(life: Life) -> None:
        life.demand["web"] = climb
        tasks = life.start()
        await pause(3600)
        await life.kill(tasks)
        life.drawer.data = None
        life.start()
        await pause(900)
        assert life.made()[-1].history_seconds > 4000
        never_twice(life.made())

    scene(story)


@pytest.mark.parametrize("broken", [b"", b"rubbish", b"cut"])
def test_what_was_kept_and_is_torn_is_noticed_and_learnt_anew(broken: bytes) -> None:
    async def story(life: Life) -> None:
        tasks = life.start()
        await pause(1000)
        await life.kill(tasks)
        assert life.drawer.data is not None
        life.drawer.data = life.drawer.data[:-100] if broken == b"cut" else broken
        before = UNUSABLE._value.get()
        life.start()
        life.demand["web"] = lambda _: 7400
        await pause(600)
        assert UNUSABLE._value.get() == before + 1
        assert life.made()[-1].history_seconds > 1000
        never_twice(life.made())

    scene(story)


def test_two_forecasters_tell_each_tick_once_and_ask_once() -> None:
    async def story(life: Life) -> None:
        life.demand["web"] = climb
        life.start()
        life.start()
        await pause(1800)
        once(life.made())
        keys = [(verb, request.key) for _, verb, request in life.asked]
        assert len(set(keys)) <= len(life.made())

    scene(story)


# ----------------------------------------------------------------------------------------------------------- bad input


def test_a_signal_that_goes_silent_holds_what_is_awake_and_reads_never_as_zero() -> None:
    async def story(life: Life) -> None:
        life.demand["web"] = lambda tick: 3400 if not FIRST + 40 <= tick < FIRST + 300 else None
        life.start()
        await pause(400 * TICK_SECONDS)
        reasons = [(fact.reason, tick_of(fact.made_at) - 1 - FIRST) for fact in life.made()]
        lost = [at for reason, at in reasons if reason == "signal-lost"]
        assert lost[0] == 43
        assert len(lost) == 2  # once, and once an hour
        assert ("signal-found", 300) in reasons
        assert all(fact.target >= 4 for fact in life.made())
        assert not [one for one in life.asked if isinstance(one[2], Quiesce)]
        once(life.made())

    scene(story)


@pytest.mark.parametrize(("every", "drifts"), [(4, True), (8, False), (8, True)])
def test_a_series_that_comes_seldom_is_no_lost_signal(every: int, *, drifts: bool) -> None:
    """A scrape a minute or seldomer, seen a tick later every other time."""

    async def story(life: Life) -> None:
        def seen(tick: int) -> int | None:
            turn, at = divmod(tick - FIRST, every)
            return 3400 if at == (turn % 2 if drifts else 0) else None

        life.demand["web"] = seen
        life.start()
        await pause(1200)
        assert not {"signal-lost", "signal-found"} & {fact.reason for fact in life.made()}

    scene(story)


def test_a_pool_of_which_nothing_more_comes_is_held_after_ten_minutes_though_others_are_measured() -> None:
    async def story(life: Life) -> None:
        life.demand["web"] = lambda tick: 3400 if tick < FIRST + 40 else None
        life.demand["api"] = lambda _: 2000
        life.start()
        await pause(100 * TICK_SECONDS)
        reasons = [(fact.reason, tick_of(fact.made_at) - 1 - FIRST) for fact in life.made()]
        assert [at for reason, at in reasons if reason == "signal-lost"] == [39 + 40]

    scene(story, foreseen(), foreseen("api"))


def test_what_signal_says_is_lost_is_lost_at_once() -> None:
    async def story(life: Life) -> None:
        life.start()
        await pause(60)
        query = derive("query", "load")
        life.desk.write(SignalLost("acme", "web", "demand", query, None, "stale", "old", EPOCH))
        await pause(15)
        assert life.made()[-1].reason == "signal-lost"
        life.desk.write(SignalFound("acme", "web", "demand", query, EPOCH, EPOCH))
        await pause(15)
        assert life.made()[-1].reason == "signal-found"

    scene(story, foreseen(demand=DemandQuery("load", 1.0)))


def test_telemetry_that_is_doubled_late_early_or_rubbish_changes_no_forecast() -> None:
    async def plain(life: Life) -> None:
        life.demand["web"] = wave
        life.start()
        await pause(1200)
        first.extend(life.made())

    async def noisy(life: Life) -> None:
        life.demand["web"] = wave
        life.start()
        await pause(60.1)  # what is told late of ticks that nobody told is their past
        for step in range(70):
            tick = tick_of(life.clock.now())
            await life.tell(tick - 3, {"web": 90_000})
            await life.tell(tick + 2, {"web": 90_000})
            await life.tell(tick + 10_000, {"web": 90_000})
            await life.tell(tick, {"nobody": 90_000})
            await life.signal.append(life.rubbish(b"rubbish %d" % step))
            await pause(end_of(tick).timestamp() + 1.0 - life.clock.now().timestamp())
            await life.tell(tick, {"web": 90_000})
            await pause(end_of(tick + 1).timestamp() - 14.5 - life.clock.now().timestamp())
        await pause(1200 - life.desk.clock.now().timestamp() + EPOCH.timestamp())
        second.extend(life.made())

    first: list[ForecastMade] = []
    second: list[ForecastMade] = []
    scene(plain)
    scene(noisy)
    assert [(one.made_at, one.target, one.outlook, one.input) for one in first] == [
        (one.made_at, one.target, one.outlook, one.input) for one in second
    ]


@pytest.mark.parametrize("step", [-3600.0, -20.0, 20.0, 3600.0])
def test_a_clock_that_is_set_never_makes_a_tick_told_twice(step: float) -> None:
    async def story(life: Life) -> None:
        life.demand["web"] = wave
        life.start()
        await pause(600)
        life.clock.off_seconds = step
        await pause(900)
        life.clock.off_seconds = 0.0
        await pause(max(step, 0) + 1200)
        never_twice(life.made())
        assert life.made()[-1].made_at > EPOCH + dt.timedelta(seconds=2000)

    scene(story)


def test_a_bus_that_goes_away_costs_no_tick_its_place() -> None:
    async def story(life: Life) -> None:
        life.demand["web"] = climb
        life.start()
        await pause(600)
        life.desk.server.stop()
        await pause(200)
        life.desk.server.start()
        await pause(600)
        once(life.made())
        assert life.made()[-1].made_at > EPOCH + dt.timedelta(seconds=1200)

    scene(story)


class Lossy(NoFaults):
    """Every third append of the forecaster is stored and nobody hears of it, or late, or never."""

    def __init__(self) -> None:
        self.count = 0

    def before(self, name: str, messages: Sequence[Outgoing]) -> Passage:
        if name != "forecaster":
            return SMOOTH
        self.count += 1
        if self.count % 3:
            return SMOOTH
        fate = ("ack-lost", "request-lost", "stored-late")[self.count // 3 % 3]
        return Passage(fate, late_seconds=20.0, patience_seconds=0.0)


def test_answers_that_are_lost_make_no_tick_told_twice() -> None:
    async def story(life: Life) -> None:
        life.demand["web"] = climb
        life.start()
        await pause(1800)
        never_twice(life.made())
        assert len(ticks_of(life.made())) >= 110

    scene(story, faults=Lossy())


def test_a_pool_that_is_redefined_is_foreseen_by_its_new_numbers_and_told_so() -> None:
    async def story(life: Life) -> None:
        life.start()
        await pause(60)
        life.define(foreseen(horizon_seconds=180, forecast="only"))
        await pause(16)
        newest = life.made()[-1]
        assert (newest.reason, newest.mode, newest.horizon_seconds) == ("redefined", "only", 180)
        life.define(foreseen(forecast="off"))
        before = len(life.made())
        await pause(600)
        assert len(life.made()) == before
        life.define(foreseen())
        await pause(60)
        assert life.made()[-1].mode == "on"
        never_twice(life.made())

    scene(story)


def test_a_horizon_beyond_ten_minutes_is_foreseen_as_ten_and_told_as_ten() -> None:
    async def story(life: Life) -> None:
        life.define(foreseen("api", horizon_seconds=86_400))
        life.define(foreseen(horizon_seconds=600))
        life.demand = dict.fromkeys(("web", "api"), climb)
        life.start()
        await pause(900)
        ten, longer = (
            [(one.made_at, one.target, one.outlook, one.horizon_seconds) for one in life.made(name)]
            for name in ("web", "api")
        )
        assert ten == longer
        assert max(target for _, target, _, _ in ten) > 6
        assert {horizon for *_, horizon in ten} == {600}

    scene(story)


def test_a_past_that_is_brought_in_later_is_learnt() -> None:
    async def story(life: Life) -> None:
        life.start()
        await pause(120)
        assert life.made()[-1].history_seconds < 200
        for tick in range(FIRST - 900, FIRST):
            await life.telemetry.tell("acme", Told(tick, (PoolTold("web", 3400, 1, tick * 15_000),)))
        life.demand["web"] = wave
        await pause(600)
        assert life.made()[-1].history_seconds > 900 * TICK_SECONDS
        once(life.made())

    scene(story)
