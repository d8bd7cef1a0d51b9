"""What is seen of forecasts afterwards: the newest of each pool, and the one of any instant."""

import datetime as dt
from typing import Any

from msgspec.structs import replace

from events.forecast import ForecastMade, Outlook
from projections.forecasts.fold import Forecasts
from projections.forecasts.table import TABLES
from replay.why.foresight import foresight, sentences
from replay.why.story import Story
from tests.given import Past
from tests.rules.test_forecaster_rules import NOW, told

SECOND = dt.timedelta(seconds=1)


def tick(number: int, ticks: int = 1, **terms: Any) -> ForecastMade:
    """What was told of ticks up to the one that ended so many times 15 s after NOW."""
    at = NOW + 15 * number * SECOND
    return told(made_at=at, since=at - 15 * (ticks - 1) * SECOND, ticks=ticks, **terms)


def story_of(*facts: ForecastMade) -> Story:
    past, story = Past(), Story("acme", "web")
    for fact in facts:
        story.apply(past.happened(fact))
    return story


NOTHING_MORE = Story("acme", "web", follows=True)


def test_an_instant_has_the_forecast_of_its_tick() -> None:
    story = story_of(tick(0, target=3), tick(1, target=4))
    for seconds, target in ((-15, 3), (-1, 3), (0, 4), (14.9, 4)):
        then = foresight(story, NOTHING_MORE, NOW + seconds * SECOND)
        assert then is not None
        assert (then.made.target, then.complete) == (target, True)


def test_an_instant_within_ticks_that_were_told_together_later_has_those() -> None:
    story, ahead = story_of(tick(0, target=3)), story_of(tick(10, 10, target=5, target_min=3, target_max=5))
    then = foresight(story, ahead, NOW + 60 * SECOND)
    assert then is not None
    assert (then.made.ticks, then.made.target_min, then.made.target_max, then.complete) == (10, 3, 5, True)
    [said] = sentences(story, ahead, NOW + 60 * SECOND)
    assert "10 ticks since 09:00:15 between 3 and 5" in said


def test_an_instant_that_nothing_was_told_of_yet_has_the_last_one_and_says_so() -> None:
    story = story_of(tick(0, target=3))
    then = foresight(story, NOTHING_MORE, NOW + 600 * SECOND)
    assert then is not None
    assert (then.made.target, then.complete) == (3, False)
    [said] = sentences(story, NOTHING_MORE, NOW + 600 * SECOND)
    assert "the last forecast before was told at 2026-11-22 09:00:00 UTC, and this tick is not told" in said


def test_the_evidence_is_worded_as_what_it_is_and_a_level_is_no_summand() -> None:
    outlook = Outlook(level=6600, slope=-30, seasonal=6581, margin=70, peak=None)
    [said] = sentences(story_of(tick(0, target=7, outlook=outlook)), NOTHING_MORE, NOW - SECOND)
    assert (
        "(demand 6.60 VMs; by then its slope adds -0.03, the week's pattern says 6.58; margin 0.07 on what is expected next; "
        "0.0 of 7 days known)"
    ) in said


def test_a_pool_that_was_never_foreseen_has_no_forecast() -> None:
    assert foresight(story_of(), NOTHING_MORE, NOW) is None
    assert list(sentences(story_of(), NOTHING_MORE, NOW)) == []


def test_the_view_has_the_newest_forecast_of_each_pool_and_one_told_again_changes_nothing() -> None:
    past, view = Past(), Forecasts()
    [table] = TABLES
    first, second = tick(0, target=3), tick(4, 4, target=6, capped=True)
    for fact in (first, second, first, replace(second, pool="api", outlook=None)):
        recorded = past.happened(fact)
        view.apply(recorded)
        assert list(table.touched(recorded)) == [("acme", fact.pool)]
    assert view.newest("acme", "web") == second
    assert view.last_seq("acme", "web") == 3
    row = table.row(view, ("acme", "web"))
    assert row is not None
    assert dict(zip(table.columns, row, strict=True))["target"] == 6
    assert table.row(view, ("acme", "nobody")) is None
    assert sorted(view.pools()) == [("acme", "api"), ("acme", "web")]
    row = table.row(view, ("acme", "api"))
    assert row is not None
    assert dict(zip(table.columns, row, strict=True))["level_milli_vms"] is None
