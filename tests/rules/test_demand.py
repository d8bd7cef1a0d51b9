"""The view of what pools needed and had: a day of it, whatever the ledger says twice, late or not at all."""

import datetime as dt
import random

from events.envelope import Recorded
from events.ids import derive
from events.pool import Demand as Needed
from events.pool import Level, PoolObserved, Reading, VmCounts
from projections.demand.fold import Demand
from projections.demand.table import TABLES

DAY = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
WINDOW = dt.timedelta(minutes=5)


def told(
    number: int, *, pool: str = "web", serving: int = 4, mean: int | None = 3500, seq: int = 0
) -> Recorded:
    begin = DAY + number * WINDOW
    needed = None if mean is None else Needed(60, mean, mean, 0, mean + 500, mean)
    level = None if mean is None else Level(1.0, 1.0, 1.0, 1.0)
    reading = Reading("trigger", derive("query", "q"), 10.0, 60, 0 if mean is None else 60, 0, level, needed)
    fact = PoolObserved(
        org="acme",
        pool=pool,
        window_from=begin,
        window_until=begin + WINDOW,
        looked_from=begin,
        looked_until=begin + WINDOW,
        looks=60,
        readings=(reading,),
        demand=needed,
        vms=VmCounts(serving, serving + 1, 3, serving),
        state_seq=1,
    )
    id_ = derive("pool.observed", pool, number)
    return Recorded(seq or number + 1, 1, id_, "signal", begin, None, id_, "pool.observed.v2", fact)


def view_of(*events: Recorded) -> Demand:
    view = Demand()
    for event in events:
        view.apply(event)
    return view


def test_the_points_of_a_pool_are_those_of_its_last_24_hours_in_order() -> None:
    view = view_of(*(told(number) for number in range(300)))
    points = view.points("acme", "web")
    assert len(points) == 288
    assert points[0].window_from == DAY + 12 * WINDOW
    assert points[-1].window_until == DAY + 300 * WINDOW


def test_a_window_that_nobody_saw_is_no_point_and_what_is_older_than_a_day_is_none_either() -> None:
    view = view_of(told(0), told(1), told(280), told(289, mean=None))
    points = view.points("acme", "web")
    assert [(point.window_from - DAY) // WINDOW for point in points] == [280, 289]
    assert (points[0].mean_milli_vms, points[0].most_milli_vms, points[0].samples) == (3500, 4000, 60)
    assert (points[1].mean_milli_vms, points[1].most_milli_vms, points[1].samples) == (None, None, 0)
    assert (points[1].serving, points[1].awake, points[1].asleep, points[1].wanted) == (4, 5, 3, 4)
    assert view.points("acme", "other") == []


def test_what_is_told_twice_or_after_a_later_window_changes_nothing() -> None:
    once = view_of(told(0), told(1), told(2))
    again = view_of(told(0), told(1), told(1, serving=9), told(2), told(0, serving=9))
    assert once.points("acme", "web") == again.points("acme", "web")


def rows(view: Demand, keys: list[tuple[str, ...]]) -> list[object]:
    (table,) = TABLES
    return [table.row(view, key) for key in keys]


def test_a_row_that_no_event_touched_is_as_it_was() -> None:
    chance = random.Random(7)
    (table,) = TABLES
    view, kept = Demand(), {}
    number = 0
    for seq in range(1, 6000):
        number += chance.choice((0, 1, 1, 1, 2, 40))
        event = told(number, pool=chance.choice(("web", "jobs")), serving=chance.randrange(9), seq=seq)
        view.apply(event)
        for key in table.touched(event):
            kept[key] = table.row(view, key)
    assert len(kept) == 2 * 288
    assert list(kept.values()) == rows(view, list(kept))
    assert kept["acme", "web", "00:05"][:3] == ("acme", "web", "00:05")
