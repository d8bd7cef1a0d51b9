"""What time it is for the forecaster and for signal's ticks, where clocks are set."""

import asyncio
import datetime as dt

import pytest

from events.envelope import Recorded
from events.ids import derive
from projections.forecasts.fold import Forecasts
from schemas.pool import DemandQuery
from services.forecaster.absence import FIRST_SECONDS, LEAST_SECONDS, away
from services.forecaster.roster import Roster
from services.forecaster.timing import OFF, BusTime
from services.signal.port import Measurement
from services.signal.questions import questions
from services.signal.ticks import Ticks
from tests.rules.desk import play, pool
from tests.rules.forecast_desk import FIRST, foreseen
from tests.rules.test_forecaster_rules import NOW, told
from tests.simulation.clock import EPOCH, VirtualClock, pause

WEB, API = ("acme", "web"), ("acme", "api")
DAY = dt.timedelta(days=1)


def stored(at: dt.datetime) -> int:
    return int(at.timestamp()) * 10**9


def test_a_clock_within_a_minute_of_the_bus_is_gone_by_and_another_is_not() -> None:
    async def story() -> None:
        clock = VirtualClock(asyncio.get_running_loop())
        time = BusTime(clock)
        assert time.known() == EPOCH  # the bus holds nothing
        time.hear(stored(EPOCH - dt.timedelta(seconds=59)), fresh=False)
        assert time.known() == EPOCH
        clock.off_seconds = 3600.0
        assert time.known() is None  # the bus may have been still, or the clock is wrong
        await pause(10)
        time.hear(stored(EPOCH + dt.timedelta(seconds=10)), fresh=True)
        assert time.known() == EPOCH + dt.timedelta(seconds=10)
        await pause(3000)
        assert time.known() == EPOCH + dt.timedelta(seconds=3010)  # the loop's time goes on
        clock.off_seconds = -OFF.total_seconds()
        assert time.known() == EPOCH + dt.timedelta(seconds=3010) - OFF

    play(story)


def test_a_message_that_is_looked_at_late_sets_the_time_back_no_second() -> None:
    async def story() -> None:
        time = BusTime(VirtualClock(asyncio.get_running_loop()))
        time.hear(stored(EPOCH), fresh=True)
        await pause(14)
        time.hear(stored(EPOCH + dt.timedelta(seconds=1)), fresh=True)
        assert time.bus() == EPOCH + dt.timedelta(seconds=14)
        time.hear(stored(EPOCH - DAY), fresh=True)  # the bus's clock was set
        assert time.bus() == EPOCH - DAY

    play(story)


def test_a_forecast_from_the_future_gives_way_to_the_next_and_an_old_one_changes_nothing() -> None:
    view = Forecasts()
    lines = [told(6), told(9, since=NOW + DAY, made_at=NOW + DAY), told(7, since=NOW, made_at=NOW), told(5)]
    for seq, (fact, at) in enumerate(zip(lines, (NOW, NOW + DAY, NOW, NOW), strict=True), 1):
        name = derive("line", seq)
        kind = "forecast.made"
        view.apply(Recorded(seq, stored(at), name, "forecaster", at, None, name, kind, fact))
    newest = view.newest("acme", "web")
    assert newest is not None
    assert newest.target == 7
    assert view.last_seq("acme", "web") == 4


def roster(*ticks: int, last: int) -> Roster:
    """Of two pools, of which one was measured in these ticks."""
    made = Roster()
    made.seat({WEB: pool("web"), API: pool("api")})
    for tick in range(last + 1):
        made.tick(FIRST + tick, {WEB: 1000} if tick in ticks else {})
    return made


def test_telemetry_is_away_after_a_minute_or_longer_where_it_comes_seldom() -> None:
    minute = int(LEAST_SECONDS) // 15
    assert away(roster(0, 1, 2, last=2 + minute - 1)) == frozenset()
    assert away(roster(0, 1, 2, last=2 + minute)) == {"acme"}
    assert away(roster(0, 8, 16, last=16 + 19)) == frozenset()
    assert away(roster(0, 8, 16, last=16 + 20)) == {"acme"}
    assert away(roster(0, 80, 160, last=160 + 20)) == {"acme"}  # no longer than signal waits for anything
    assert away(roster(0, last=int(FIRST_SECONDS) // 15 - 1)) == frozenset()
    assert away(roster(0, last=int(FIRST_SECONDS) // 15)) == {"acme"}
    assert away(roster(last=50)) == frozenset()  # nobody ever was measured


@pytest.mark.long
def test_passing_over_days_of_silence_is_taking_them_in_for_what_is_needed() -> None:
    days = 5760 + 600
    whole, over = roster(*range(300), last=300), roster(*range(300), last=300)
    for tick in range(301, days):
        whole.tick(FIRST + tick, {})
        if tick >= days - 240:
            over.tick(FIRST + tick, {})
    mine, theirs = (made.see(made.tick(FIRST + days, {WEB: 5000})) for made in (whole, over))
    assert (mine.target, mine.number, mine.history_ticks) == (
        theirs.target,
        theirs.number,
        theirs.history_ticks,
    )


def test_a_clock_that_was_ahead_for_half_a_minute_leaves_signal_no_tick_untold() -> None:
    definition, ticks, now = foreseen(demand=DemandQuery("load", 1.0)), Ticks(), EPOCH
    [question] = questions(definition)

    def hear(at: dt.datetime) -> None:
        ticks.hear(WEB, question, Measurement(3.0, at), 1, at)

    hear(now)
    hear(now + DAY)
    assert ticks.over(now + DAY)
    now += dt.timedelta(seconds=30)
    hear(now)
    assert ticks.over(now) == {}
    told = ticks.over(now + dt.timedelta(seconds=15))["acme"]
    assert (told.tick, told.pools[0].milli_vms) == (FIRST + 2, 3000)
    assert ticks.over(now) == {}  # by some seconds: it lasts on
    assert ticks.over(now + dt.timedelta(seconds=29)) == {}
