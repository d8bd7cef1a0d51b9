"""No stage of a deletion comes early, in any zone, over three years, by any policy."""

import datetime as dt
from collections.abc import Iterator
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

from hypothesis import example, given
from hypothesis import strategies as st

from schemas.deletion import POLICIES, Policy, Schedule, earliest, objection, scheduled, stages
from schemas.zones import ZoneError, zone
from tests.laws.strength import STRENGTH, examples

FIRST, LAST = dt.date(2025, 1, 1), dt.date(2027, 12, 31)
DAY, HOUR = dt.timedelta(days=1), dt.timedelta(hours=1)
WHOLE = STRENGTH == "many"
LATEST_HOUR = 2
"""A day begins before two o'clock, whatever the clocks do at midnight."""


def usable(name: str) -> bool:
    try:
        return zone(name) is not None
    except ZoneError:
        return False


ZONES = sorted(filter(usable, available_timezones()))
EVERY_DAY = [FIRST + DAY * number for number in range((LAST - FIRST).days + 1)]


def offset(place: ZoneInfo, day: dt.date) -> dt.timedelta | None:
    return dt.datetime.combine(day, dt.time(12), place).utcoffset()


def clocks() -> Iterator[tuple[str, list[dt.date]]]:
    """Each zone with the days around which its clocks change; of zones whose clocks agree week by week only the first."""
    known: set[tuple[dt.timedelta | None, ...]] = set()
    for name in ZONES:
        place = ZoneInfo(name)
        found = tuple(offset(place, day) for day in EVERY_DAY[::7])
        if found in known:
            continue
        known.add(found)
        weeks = [7 * week for week, (one, other) in enumerate(pairwise(found)) if one != other]
        near = [pair for start in weeks for pair in pairwise(EVERY_DAY[start : start + 8])]
        changes = [pair for pair in near if offset(place, pair[0]) != offset(place, pair[1])]
        yield name, [day for pair in changes for day in pair] or [FIRST]


def repeats(instant: dt.datetime, place: ZoneInfo) -> bool:
    """Whether the clock on the wall comes by the same time, or the day before, once more."""
    local, later = (each.astimezone(place).replace(tzinfo=None) for each in (instant, instant + HOUR))
    return later <= local


def kept(found: Schedule, by: Policy) -> None:
    """The order is strict, and each stage comes on its own local day, as soon as that has surely begun."""
    place = ZoneInfo(found.zone)
    instants = [instant for _, instant in found.instants()]
    assert instants == sorted(set(instants)), found
    for days, instant in zip(by.days(), instants, strict=True):
        promised = found.day + DAY * days
        local = instant.astimezone(place)
        assert local.date() == promised, (found, days)
        assert local.hour < LATEST_HOUR, (found, days)
        assert not repeats(instant, place), (found, days)
        before = (instant - dt.timedelta(microseconds=1)).astimezone(place)
        assert before.date() < promised or before.fold == 0 != local.fold, (found, days)


def test_no_stage_is_early_nor_out_of_order_in_any_zone_around_any_change_of_clocks() -> None:
    seen = 0
    for name, days in clocks():
        for by in POLICIES:
            for day in days:
                for stage in by.days():
                    kept(stages(day - DAY * stage, name, by), by)
                    seen += 1
    assert seen > 1000


def test_every_zone_has_every_stage_on_its_own_day() -> None:
    """All of three years at full strength; each zone on some days of them, other ones for each zone, at the usual one."""
    step = 1 if WHOLE else 331
    for number, name in enumerate(ZONES):
        for day in EVERY_DAY[number % step :: step]:
            for by in POLICIES:
                kept(stages(day, name, by), by)


MINUTES = int((LAST - FIRST) / dt.timedelta(minutes=1))
NOWS = st.integers(0, MINUTES).map(
    lambda minutes: dt.datetime(2025, 1, 1, tzinfo=dt.UTC) + dt.timedelta(minutes=minutes)
)


@given(NOWS, st.sampled_from(ZONES), st.sampled_from(POLICIES), st.integers(0, 366))
@example(dt.datetime(2026, 11, 1, 4, 30, tzinfo=dt.UTC), "America/Havana", POLICIES[1], 0)
@example(dt.datetime(2026, 10, 31, 4, 30, tzinfo=dt.UTC), "America/Havana", POLICIES[1], 0)
@example(dt.datetime(2026, 10, 24, 21, 30, tzinfo=dt.UTC), "Asia/Beirut", POLICIES[1], 0)
@example(dt.datetime(2026, 4, 23, 21, 59, 59, tzinfo=dt.UTC), "Africa/Cairo", POLICIES[0], 1)
@examples(150)
def test_the_earliest_deletion_is_ahead_and_nothing_sooner_is_taken(
    now: dt.datetime, name: str, by: Policy, more: int
) -> None:
    first = earliest(now, name)
    assert objection(first, now, name) is None
    assert objection(first - DAY, now, name) is not None
    assert now < stages(first, name, by).soft <= now + dt.timedelta(hours=26)
    found = scheduled(first + DAY * more, name, by, now)
    instants = [instant for _, instant in found.instants()]
    assert instants == sorted(set(instants))
    assert instants[0] >= now
    assert found.prepared_at_once == (instants[0] == now != stages(found.day, name, by).prepare)
