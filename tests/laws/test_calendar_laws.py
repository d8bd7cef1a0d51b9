"""Windows of maintenance in every time zone: what is chosen starts inside, fits wholly, keeps the notice, and nothing earlier does.

The reader of clocks that judges here walks through the minutes of a zone and looks at what its clock shows; it knows nothing of
folds, gaps and offsets.
"""

import datetime as dt
from functools import cache
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.maintenance import WEEKDAYS, Slot, Window
from schemas.objection import Objection
from schemas.zones import ZoneError, zone
from services.steward.calendar import next_window, windows
from tests.laws.strength import STRENGTH, examples

MINUTE: Final = dt.timedelta(minutes=1)
DAY: Final = dt.timedelta(days=1)
YEARS: Final = (2025, 2026, 2027)
PARTICULAR: Final = (
    "Europe/Berlin",
    "Africa/Cairo",
    "America/Havana",
    "America/Santiago",
    "Asia/Beirut",
    "Atlantic/Azores",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
    "Pacific/Apia",
    "Africa/Casablanca",
    "Antarctica/Troll",
)
"""Zones that change at midnight, by half an hour, by two hours, against the seasons, or that were ahead of all others."""

NIGHT: Final = Window()
SHAPES: Final = (
    Window(),
    Window(start="00:00", end="04:00"),
    Window(start="20:00", end="00:00"),
    Window(start="02:30", end="05:00"),
    Window(start="22:00", end="02:30"),
    Window(start="02:00", end="03:00"),
    Window(start="23:30", end="00:30"),
    Window(start="09:00", end="08:30"),
    Window(start="22:00", end="05:00", weekdays=("sat",)),
)


def utc(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> dt.datetime:
    return dt.datetime(year, month, day, hour, minute, tzinfo=dt.UTC)


def is_zone(name: str) -> bool:
    try:
        zone(name)
    except ZoneError:
        return False
    return True


ZONES: Final = tuple(sorted(filter(is_zone, available_timezones())))


@cache
def changes(name: str) -> tuple[dt.datetime, ...]:
    """The instants of the three years at which the zone's clock jumps, to the minute."""
    place = ZoneInfo(name)

    def offset(at: dt.datetime) -> dt.timedelta | None:
        return at.astimezone(place).utcoffset()

    found: list[dt.datetime] = []
    marks = [utc(YEARS[0], 1, 1) + 7 * DAY * week for week in range(53 * len(YEARS))]
    for before, after in pairwise(marks):
        if offset(before) != offset(after):
            low, high = before, after
            while high - low > MINUTE:
                middle = low + (high - low) // 2 // MINUTE * MINUTE
                low, high = (middle, high) if offset(middle) == offset(before) else (low, middle)
            found.append(high)
    return tuple(found)


def seen(window: Window, evening: dt.date) -> tuple[dt.datetime, dt.datetime]:
    """From and until of one night, by walking through its minutes and looking at the clock."""
    place = ZoneInfo(window.zone)
    begin = dt.datetime.combine(evening, dt.time.fromisoformat(window.start))
    end = dt.datetime.combine(
        evening + DAY if window.end <= window.start else evening, dt.time.fromisoformat(window.end)
    )
    at, until = (
        (reads + hours * 60 * MINUTE).replace(tzinfo=dt.UTC) for reads, hours in ((begin, -15), (end, 15))
    )
    clock: list[tuple[dt.datetime, dt.datetime]] = []
    while at < until:
        clock.append((at, at.astimezone(place).replace(tzinfo=None)))
        at += MINUTE
    opens = max(instant for instant, reads in clock if reads < begin) + MINUTE
    closes = min(instant for instant, reads in clock if reads >= end)
    return opens, closes


def shows_inside(window: Window, instant: dt.datetime) -> bool:
    reads = instant.astimezone(ZoneInfo(window.zone)).strftime("%H:%M")
    if window.end <= window.start:
        return reads >= window.start or reads < window.end
    return window.start <= reads < window.end


def keeps_its_promises(
    window: Window, now: dt.datetime, notice: int, estimate: int, slot: Slot | Objection
) -> Slot:
    assert isinstance(slot, Slot), (window, now, slot)
    assert slot.opens <= slot.start < slot.end <= slot.closes
    assert slot.end - slot.start == dt.timedelta(seconds=estimate)
    assert slot.start - now >= dt.timedelta(seconds=notice)
    assert shows_inside(window, slot.start)
    assert shows_inside(window, slot.end - MINUTE)
    assert slot.start.second == slot.start.microsecond == 0
    assert slot.start.tzinfo is dt.UTC
    return slot


def test_every_zone_of_the_database_that_is_a_place_can_be_used() -> None:
    assert available_timezones() - set(ZONES) <= {"localtime", "posixrules", "Factory"}
    assert len(ZONES) > 500


@pytest.mark.parametrize("year", YEARS)
def test_in_every_zone_work_starts_inside_fits_wholly_and_keeps_its_notice(year: int) -> None:
    """Around each change of clocks of the year, where there is one, and at two days of the year where there is none."""
    step = 1 if STRENGTH == "many" else 3
    for number, name in enumerate(ZONES):
        if (number + year) % step:
            continue
        around = [at for at in changes(name) if at.year == year] or [utc(year, 2, 28), utc(year, 12, 31)]
        for at in around if STRENGTH == "many" else around[:2]:
            shape = SHAPES[(number + at.month) % len(SHAPES)]
            for window in SHAPES if STRENGTH == "many" else (NIGHT, shape):
                there = Window(name, window.start, window.end, window.weekdays)
                for hours, notice, share in ((37, 12, 1), (20, 12, 3), (13, 24, 2), (3, 0, 4)):
                    now = at - dt.timedelta(hours=hours, seconds=17)
                    estimate = there.usual_seconds // share // 60 * 60
                    slot = next_window(now, there, notice * 3600, estimate)
                    keeps_its_promises(there, now, notice * 3600, estimate, slot)


@st.composite
def questions(draw: st.DrawFn) -> tuple[Window, dt.datetime, int, int]:
    """A window, an instant near a change of clocks more often than not, a notice, and work that the window usually holds."""
    name = draw(st.sampled_from(PARTICULAR) | st.sampled_from(ZONES))
    minutes = st.sampled_from((0, 30, 59)) | st.integers(0, 59)
    hours = st.sampled_from((0, 1, 2, 3, 22, 23)) | st.integers(0, 23)
    start, end = (f"{draw(hours):02}:{draw(minutes):02}" for _ in range(2))
    if start == end:
        end = "12:34" if start != "12:34" else "12:35"
    days = draw(st.just(()) | st.sets(st.sampled_from(WEEKDAYS), min_size=1).map(tuple))
    window = Window(name, start, end, tuple(day for day in WEEKDAYS if day in days))
    near = [at - draw(st.integers(-200, 3000)) * MINUTE for at in changes(name)]
    anywhere = st.datetimes(dt.datetime(2025, 1, 1), dt.datetime(2027, 12, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001 - hypothesis adds the zone
    now = draw(st.sampled_from(near) if near and draw(st.integers(0, 3)) else anywhere)
    return (
        window,
        now + dt.timedelta(seconds=draw(st.integers(0, 59))),
        draw(st.sampled_from((0, 12 * 3600, 24 * 3600)) | st.integers(0, 48 * 3600)),
        draw(st.integers(1, window.usual_seconds // 60)) * 60,
    )


@given(questions())
@examples(20)
def test_the_first_window_that_fits_is_taken_as_one_sees_who_looks_at_the_clock_each_minute(
    asked: tuple[Window, dt.datetime, int, int],
) -> None:
    window, now, notice, estimate = asked
    slot = keeps_its_promises(window, now, notice, estimate, next_window(now, window, notice, estimate))
    earliest = now + dt.timedelta(seconds=notice)
    evening = (earliest.astimezone(ZoneInfo(window.zone)) - 2 * DAY).date()
    length = dt.timedelta(seconds=estimate)
    while True:
        if not window.weekdays or WEEKDAYS[evening.weekday()] in window.weekdays:
            opens, closes = seen(window, evening)
            start = max(opens, earliest)
            start += -(start - opens) % MINUTE
            if start + length <= closes:
                break
        evening += DAY
    assert (slot.opens, slot.closes, slot.start) == (opens, closes, start)


@given(questions())
@examples(30)
def test_windows_come_in_order_never_overlap_and_show_the_window_from_their_first_to_their_last_minute(
    asked: tuple[Window, dt.datetime, int, int],
) -> None:
    window, now, _, _ = asked
    found = [occurrence for occurrence, _ in zip(windows(window, now), range(5), strict=False)]
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(found))
    for opens, closes in found:
        assert now < closes
        step = max(MINUTE, (closes - opens) // 97 // MINUTE * MINUTE)
        at = opens
        while at < closes:
            assert shows_inside(window, at), (window, at)
            at += step
        assert shows_inside(window, closes - MINUTE)


@given(questions(), st.lists(st.tuples(st.integers(0, 4000), st.integers(1, 300)), max_size=8))
@examples(30)
def test_work_never_lies_in_a_closed_interval_and_without_them_would_not_come_later(
    asked: tuple[Window, dt.datetime, int, int], marks: list[tuple[int, int]]
) -> None:
    window, now, notice, estimate = asked
    closed: list[tuple[dt.datetime, dt.datetime]] = []
    for begin, length in sorted(marks):
        at = now + begin * MINUTE
        if not closed or closed[-1][1] < at:
            closed.append((at, at + length * MINUTE))
    free = next_window(now, window, notice, estimate)
    slot = keeps_its_promises(
        window, now, notice, estimate, next_window(now, window, notice, estimate, closed=closed)
    )
    assert isinstance(free, Slot)
    assert free.start <= slot.start
    assert all(slot.end <= begin or until <= slot.start for begin, until in closed)


NIGHTS: Final = (
    ("Europe/Berlin", "2026-03-27", "22:00", "05:00", 7.0),
    ("Europe/Berlin", "2026-03-28", "22:00", "05:00", 6.0),
    ("Europe/Berlin", "2026-10-24", "22:00", "05:00", 8.0),
    ("Europe/Berlin", "2026-03-29", "02:15", "04:00", 1.0),
    ("Europe/Berlin", "2026-10-25", "02:15", "04:00", 1.75),
    ("Europe/Berlin", "2026-10-25", "02:00", "04:00", 3.0),
    ("Europe/Berlin", "2026-10-24", "22:00", "02:15", 4.25),
    ("Africa/Cairo", "2026-04-24", "00:00", "04:00", 3.0),
    ("Africa/Cairo", "2026-10-29", "22:00", "00:00", 3.0),
    ("America/Havana", "2026-03-08", "00:00", "04:00", 3.0),
    ("America/Havana", "2026-11-01", "00:00", "04:00", 5.0),
    ("America/Santiago", "2026-09-06", "00:00", "04:00", 3.0),
    ("America/Santiago", "2026-04-04", "22:00", "05:00", 8.0),
    ("Asia/Beirut", "2026-03-29", "00:00", "04:00", 3.0),
    ("Atlantic/Azores", "2026-03-29", "00:00", "04:00", 3.0),
    ("Atlantic/Azores", "2026-10-25", "00:00", "04:00", 5.0),
    ("Australia/Lord_Howe", "2026-04-04", "22:00", "05:00", 7.5),
    ("Australia/Lord_Howe", "2026-10-03", "22:00", "05:00", 6.5),
    ("Antarctica/Troll", "2026-03-28", "22:00", "05:00", 5.0),
    ("Pacific/Kiritimati", "2026-03-28", "22:00", "05:00", 7.0),
    ("Pacific/Apia", "2026-03-28", "22:00", "05:00", 7.0),
    ("Pacific/Apia", "2011-12-29", "22:00", "05:00", 2.0),
    ("Pacific/Apia", "2011-12-30", "22:00", "05:00", 5.0),
)


@pytest.mark.parametrize(("where", "evening", "start", "end", "hours"), NIGHTS)
def test_a_night_in_which_the_clocks_change_has_the_length_that_it_has(
    where: str, evening: str, start: str, end: str, hours: float
) -> None:
    window = Window(where, start, end)
    opens, closes = seen(window, dt.date.fromisoformat(evening))
    assert (closes - opens) / dt.timedelta(hours=1) == hours
    assert next(windows(window, opens)) == (opens, closes)
    whole = next_window(opens, window, 0, int((closes - opens).total_seconds()))
    if hours * 3600 <= window.usual_seconds:
        assert isinstance(whole, Slot)
        assert (whole.start, whole.end) == (opens, closes)
