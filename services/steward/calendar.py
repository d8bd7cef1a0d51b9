"""Which window work is done in: the first that opens late enough, lasts long enough and has room.

Pure: instants in UTC go in and come out, and the zone is the window's. Windows are computed as local dates and times, each of
which is then converted, so that a night has the length that it has: Berlin's 22:00-05:00 lasts seven hours, six on 2026-03-28
and eight on 2026-10-24.

Where clocks change, a window is what a clock on the wall shows, and always in one piece: it opens at the first instant from
which the clock no longer reads less than its start, and closes at the first at which it reads its end or more. So a start or
end that is skipped is the instant of the change; an end that comes twice is the first of the two, and a start that comes twice
the second, since the clock goes back behind the first (unless it goes back to just the start).
"""

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Final
from zoneinfo import ZoneInfo

from schemas.maintenance import WEEKDAYS, Slot, Window, flaw
from schemas.objection import Objection
from schemas.zones import zone

MOST_AHEAD_DAYS: Final = 366
"""Nobody plans further ahead: a later date is a slip of the finger."""

MOST_DAYS_SEARCHED: Final = 400
"""Evenings that are looked at, a year and a month: at least 57 windows even of one weekday."""

Interval = tuple[dt.datetime, dt.datetime]
"""From the first instant up to but without the second."""

_SECOND: Final = dt.timedelta(seconds=1)
_MINUTE: Final = dt.timedelta(minutes=1)
_DAY: Final = dt.timedelta(days=1)
_BEFORE_ANY_CHANGE: Final = 2
"""Days: a window over midnight may have begun yesterday, and a zone may skip a whole day (Apia, 2011-12-30)."""


def next_window(
    now: dt.datetime,
    window: Window,
    notice_seconds: int,
    estimate_seconds: int,
    *,
    not_before: dt.datetime | None = None,
    closed: Sequence[Interval] = (),
) -> Slot | Objection:
    """The earliest slot that keeps the notice in elapsed time and lies wholly in one window; or why there is none.

    It starts on a whole minute, at `not_before` at the earliest, and never in an interval of `closed`, which are sorted and apart.
    Work that is longer than the window usually is gets an objection even where a night of 25 hours would hold it: nobody means to
    wait for that.
    """
    assert estimate_seconds > 0, estimate_seconds
    assert all(at is None or at.utcoffset() is not None for at in (now, not_before)), (
        "an instant says its zone"
    )
    objection = flaw(window) or _misfit(window, estimate_seconds) or _misdated(now, not_before)
    if objection is not None:
        return objection
    earliest = now + dt.timedelta(seconds=notice_seconds)
    if not_before is not None:
        earliest = max(earliest, not_before)
    earliest = _whole_minute(earliest)
    length = dt.timedelta(seconds=estimate_seconds)
    for opens, closes in windows(window, earliest):
        start = _free(max(opens, earliest), length, closed)
        if start + length <= closes:
            return Slot(opens, closes, start, start + length)
    return Objection(
        "WindowsFull",
        f"No window {window} of the next {MOST_DAYS_SEARCHED} days has room for {_spoken(estimate_seconds)} of work: "
        "raise how many VMs may be worked on at once, or choose a longer window.",
    )


def windows(window: Window, since: dt.datetime) -> Iterator[Interval]:
    """Each occurrence of the window that closes after an instant, in order; those of which a change of clocks leaves nothing are left
    out. `ZoneError` when the zone is unknown.
    """
    place = zone(window.zone)
    start, end = dt.time.fromisoformat(window.start), dt.time.fromisoformat(window.end)
    days = {WEEKDAYS.index(day) for day in window.weekdays} or set(range(7))
    evening = since.astimezone(place).date() - _BEFORE_ANY_CHANGE * _DAY
    for _ in range(MOST_DAYS_SEARCHED + _BEFORE_ANY_CHANGE):
        morning = evening + _DAY if window.over_midnight else evening
        if evening.weekday() in days:
            opens = _opening(dt.datetime.combine(evening, start), place)
            closes = _closing(dt.datetime.combine(morning, end), place)
            if max(opens, since) < closes:
                yield opens, closes
        evening += _DAY


def _opening(wall: dt.datetime, place: ZoneInfo) -> dt.datetime:
    """The first instant from which the clock no longer reads less than this."""
    first, second = _both(wall, place)
    if first > second:
        return _change(second, first, place)
    if first < second and _offset(second - _SECOND, place) != _offset(second, place):
        return first  # the clock goes back to just this reading, and never below it
    return second


def _closing(wall: dt.datetime, place: ZoneInfo) -> dt.datetime:
    """The first instant at which the clock reads this or more."""
    first, second = _both(wall, place)
    return _change(second, first, place) if first > second else first


def _both(wall: dt.datetime, place: ZoneInfo) -> Interval:
    """The reading by the offset before a change of clocks and by the one after it (PEP 495).

    They are one instant where the reading exists once, in order where it comes twice, and the wrong way round where it is skipped.
    """
    return (
        wall.replace(tzinfo=place, fold=0).astimezone(dt.UTC),
        wall.replace(tzinfo=place, fold=1).astimezone(dt.UTC),
    )


def _change(before: dt.datetime, after: dt.datetime, place: ZoneInfo) -> dt.datetime:
    """The instant at which the offset changes, to the second: later than `before`, at `after` at the latest."""
    old = _offset(before, place)
    low, high = 0, (after - before) // _SECOND
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(before + middle * _SECOND, place) == old:
            low = middle
        else:
            high = middle
    return before + high * _SECOND


def _offset(instant: dt.datetime, place: ZoneInfo) -> dt.timedelta | None:
    return instant.astimezone(place).utcoffset()


def _free(start: dt.datetime, length: dt.timedelta, closed: Sequence[Interval]) -> dt.datetime:
    """The first whole minute from `start` on at which as much time is free."""
    place = bisect_right(closed, start, key=itemgetter(1))
    while place < len(closed) and closed[place][0] < start + length:
        start = max(start, _whole_minute(closed[place][1]))
        place += 1
    return start


def _whole_minute(instant: dt.datetime) -> dt.datetime:
    """The next whole minute, or this one: people read it in a mail."""
    instant = instant.astimezone(dt.UTC)
    whole = instant.replace(second=0, microsecond=0)
    return whole if whole == instant else whole + _MINUTE


def _misfit(window: Window, estimate_seconds: int) -> Objection | None:
    if estimate_seconds <= window.usual_seconds:
        return None
    return Objection(
        "WindowTooShort",
        f"The work takes {_spoken(estimate_seconds)}; the window {window} lasts {_spoken(window.usual_seconds)}. "
        "Choose a longer window, or less work.",
    )


def _misdated(now: dt.datetime, not_before: dt.datetime | None) -> Objection | None:
    if not_before is None:
        return None
    if not_before < now:
        return Objection(
            "DateInPast",
            f"{_instant(not_before)} is in the past, it is {_instant(now)}: choose a later date.",
        )
    if not_before > now + MOST_AHEAD_DAYS * _DAY:
        return Objection(
            "DateTooFar",
            f"{_instant(not_before)} is more than {MOST_AHEAD_DAYS} days ahead: choose an earlier date.",
        )
    return None


def _instant(instant: dt.datetime) -> str:
    return instant.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M UTC")


def _spoken(seconds: int) -> str:
    hours, minutes = divmod(-(-seconds // 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
