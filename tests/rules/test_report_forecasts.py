"""Ticks that were forecast, by what they might move, and those of them without a signal."""

import datetime as dt
from typing import Literal

from msgspec.structs import replace

from events.forecast import ForecastMade
from events.ids import derive
from events.signal import SignalLost
from replay.figures.foresight import Foresight
from replay.figures.span import Span
from schemas.pool import DemandQuery
from tests.given import Past
from tests.papers import NOW

HOUR_NS = 3600 * 10**9
ALWAYS = Span(0, 1 << 62)


def foreseen(
    past: Past, ticks: int, mode: Literal["only", "on"] = "on", reason: str = "held", pool: str = "web"
) -> None:
    fact = ForecastMade(
        org=past.org,
        pool=pool,
        mode=mode,
        reason=reason,
        since=NOW,
        made_at=NOW,
        ticks=ticks,
        target=2,
        target_min=2,
        target_max=2,
        reserve=1,
        want=3,
        staying=3,
        capped=False,
        outlook=None,
        horizon_seconds=90,
        coverage_bp=9900,
        history_seconds=0,
        parameters="0" * 32,
        input="0" * 32,
        state_seq=1,
    )
    past.happened(fact)


def test_forecasts_are_counted_in_ticks_by_whether_they_may_move_anything() -> None:
    past, foresight = Past().contract().pool("web"), Foresight(ALWAYS)
    foreseen(past, 4)
    foreseen(past, 236)
    foreseen(past, 20)
    foreseen(past, 7, mode="only", pool="jobs")
    for recorded in past.lines:
        foresight.apply(recorded)
    assert (foresight.moving_ticks, foresight.watching_ticks, foresight.lost_ticks) == (260, 7, 0)
    assert (foresight.moving, foresight.watching) == ({("acme", "web")}, {("acme", "jobs")})
    nothing = Foresight(Span(0, 1))
    nothing.apply(past.lines[-1])
    assert nothing.watching_ticks == 0


def test_ticks_without_a_signal_are_those_of_the_loss_and_not_those_before_it() -> None:
    past, foresight = Past().contract().pool("web"), Foresight(ALWAYS)
    foreseen(past, 204, reason="signal-lost")  # measured for fifty minutes, and then for a minute no more
    foreseen(past, 240, reason="signal-lost")  # an hour of it
    foreseen(past, 9, reason="signal-found")  # eight more, and one with a sample again
    foreseen(past, 240)
    for recorded in past.lines:
        foresight.apply(recorded)
    assert foresight.lost_ticks == 4 + 240 + 8


def test_where_signal_says_since_when_a_loss_is_counted_from_there() -> None:
    past, foresight = Past().contract().pool("web", demand=DemandQuery("load", 1.0)), Foresight(ALWAYS)
    heard_at = NOW - dt.timedelta(seconds=150)
    query = derive("query", "load")
    past.happened(SignalLost(past.org, "web", "demand", query, heard_at, "stale", "old", NOW))
    foreseen(past, 204, reason="signal-lost")
    foreseen(past, 9, reason="signal-found")
    for recorded in past.lines:
        foresight.apply(recorded)
    assert foresight.lost_ticks == 10 + 8


def test_a_loss_that_began_before_the_span_is_known_in_it() -> None:
    past = Past().contract().pool("web")
    foreseen(past, 4, reason="signal-lost")
    foreseen(past, 9, reason="signal-found")
    foresight = Foresight(Span(HOUR_NS, 2 * HOUR_NS))
    for hours_on, recorded in zip((0, 2), past.lines[-2:], strict=True):
        foresight.apply(replace(recorded, stored_ns=hours_on * HOUR_NS))
    assert foresight.lost_ticks == 8
