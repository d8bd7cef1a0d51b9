"""When the stages of a deletion come, on the calendars that bite."""

import datetime as dt
from zoneinfo import ZoneInfo

import msgspec
import pytest

from schemas.codes import MEANING
from schemas.dated import PolicyError
from schemas.deletion import (
    MOST_DAYS_AHEAD,
    POLICIES,
    STAGES,
    Schedule,
    chosen,
    earliest,
    objection,
    policy,
    said,
    scheduled,
    stages,
)
from schemas.zones import ZoneError, day_begins, zone

BERLIN = "Europe/Berlin"
OLD, NEW = POLICIES
NOW = dt.datetime(2026, 10, 1, 9, 0, tzinfo=dt.UTC)


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


# ------------------------------------------------------------------------------------------------------- policies


def test_backups_go_on_the_32nd_day_and_went_on_the_8th_before_2024_10_29() -> None:
    assert [policy(utc(text)) for text in ("2024-10-28T23:59:59", "2024-10-29", "2026-11-22")] == [
        OLD,
        NEW,
        NEW,
    ]
    assert OLD.days() == (-5, 0, 3, 8, 38)
    assert NEW.days() == (-5, 0, 3, 32, 38)


def test_a_policy_of_the_past_can_be_chosen_by_its_version() -> None:
    assert [chosen(one.version) for one in POLICIES] == list(POLICIES)
    with pytest.raises(
        PolicyError, match=r"'none' is no policy: choose deletion-2019-03, deletion-2024-10"
    ) as caught:
        chosen("none")
    assert caught.value.code == "PolicyUnknown"
    with pytest.raises(PolicyError, match="the oldest, deletion-2019-03, holds from 2019-03-28"):
        policy(utc("2019-03-27"))


def test_the_days_of_a_policy_are_in_the_order_of_the_stages() -> None:
    for one in POLICIES:
        assert list(one.days()) == sorted(set(one.days()))
        assert len(one.days()) == len(STAGES)


# ---------------------------------------------------------------------------------------------------- days and clocks


def test_stages_after_the_clocks_go_back_come_at_midnight_and_not_an_hour_before() -> None:
    found = stages(day("2026-10-22"), BERLIN, NEW)
    assert dict(found.instants()) == {
        "prepare": utc("2026-10-16T22:00"),
        "soft": utc("2026-10-21T22:00"),
        "hard": utc("2026-10-24T22:00"),
        "purge": utc("2026-11-22T23:00"),
        "recycle": utc("2026-11-28T23:00"),
    }
    assert found.purge - found.soft == dt.timedelta(days=32, hours=1)
    assert found.recycle - found.soft == dt.timedelta(days=38, hours=1)


def test_stages_after_the_clocks_go_forward_come_at_midnight_and_not_an_hour_after() -> None:
    found = stages(day("2026-03-28"), BERLIN, OLD)
    assert (found.hard, found.purge) == (utc("2026-03-30T22:00"), utc("2026-04-04T22:00"))
    assert found.purge - found.soft == dt.timedelta(days=8, hours=-1)


@pytest.mark.parametrize(
    ("place", "soft", "begins"),
    [
        ("Africa/Cairo", "2026-04-24", "2026-04-23T22:00"),
        ("America/Havana", "2026-03-08", "2026-03-08T05:00"),
        ("America/Santiago", "2026-09-06", "2026-09-06T04:00"),
        ("Asia/Beirut", "2026-03-29", "2026-03-28T22:00"),
        ("Atlantic/Azores", "2026-03-29", "2026-03-29T01:00"),
    ],
)
def test_a_day_whose_midnight_is_skipped_begins_when_the_clocks_jump(
    place: str, soft: str, begins: str
) -> None:
    found = stages(day(soft), place, NEW).soft
    assert found == utc(begins)
    local = found.astimezone(ZoneInfo(place))
    assert (local.date(), local.hour) == (day(soft), 1)
    assert (found - dt.timedelta(seconds=1)).astimezone(ZoneInfo(place)).date() < day(soft)


@pytest.mark.parametrize(
    ("place", "soft", "begins"),
    [
        ("America/Havana", "2026-11-01", "2026-11-01T05:00"),
        ("Atlantic/Azores", "2026-10-25", "2026-10-25T01:00"),
    ],
)
def test_of_two_midnights_the_later_one_counts(place: str, soft: str, begins: str) -> None:
    found = stages(day(soft), place, NEW).soft
    assert found == utc(begins)
    assert (found - dt.timedelta(hours=1)).astimezone(ZoneInfo(place)).hour == 0


def test_a_day_that_a_zone_skipped_whole_begins_as_the_next_one() -> None:
    apia = zone("Pacific/Apia")
    assert (
        day_begins(day("2011-12-30"), apia) == day_begins(day("2011-12-31"), apia) == utc("2011-12-30T10:00")
    )


def test_a_zone_of_half_hours_keeps_its_own_midnights() -> None:
    found = stages(day("2026-04-03"), "Australia/Lord_Howe", OLD)
    assert found.soft == utc("2026-04-02T13:00")
    assert found.hard == utc("2026-04-05T13:30")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Berlin",
        "europe/berlin",
        "Europe",
        "../etc/passwd",
        "/etc/localtime",
        "right/Europe/Berlin",
        "localtime",
        "Factory",
        "posix/UTC",
        "Europe/Berlin\n",
        "UTC+2:00",
        "a" * 65,
        "Europe/Berlin\0",
    ],
)
def test_what_is_no_time_zone_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(ZoneError, match="is no time zone: write its IANA name") as caught:
        stages(day("2026-12-01"), name, NEW)
    assert caught.value.code == "ZoneUnknown"
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------------------- scheduling


@pytest.mark.parametrize(
    ("now", "place", "expected"),
    [
        ("2026-10-21T21:59:59", BERLIN, "2026-10-22"),
        ("2026-10-21T22:00:00", BERLIN, "2026-10-23"),
        ("2026-10-21T21:59:59", "UTC", "2026-10-22"),
        ("2026-10-21T10:00:00", "Pacific/Kiritimati", "2026-10-23"),
        ("2026-12-31T23:30:00", BERLIN, "2027-01-02"),
    ],
)
def test_the_earliest_day_begins_at_the_next_local_midnight(now: str, place: str, expected: str) -> None:
    assert earliest(utc(now), place) == day(expected)


@pytest.mark.parametrize(
    ("asked", "code", "word"),
    [
        ("2026-09-30", "DeletionTooSoon", "in the past"),
        ("2026-10-01", "DeletionTooSoon", "today"),
        ("2026-10-02", None, ""),
        ("2027-10-02", None, ""),
        ("2027-10-03", "DeletionTooFar", f"{MOST_DAYS_AHEAD} days"),
        ("9999-12-31", "DeletionTooFar", "ahead"),
        ("0001-01-01", "DeletionTooSoon", "in the past"),
    ],
)
def test_a_deletion_is_from_tomorrow_on_and_at_most_a_year_ahead(
    asked: str, code: str | None, word: str
) -> None:
    refused = objection(day(asked), NOW)
    if code is None:
        assert refused is None
        return
    assert refused is not None
    assert (refused.code, word in refused.text) == (code, True)
    assert refused.code in MEANING


def test_a_refused_day_comes_with_the_earliest_one() -> None:
    refused = objection(day("2026-10-01"), NOW)
    assert refused is not None
    assert refused.text == (
        "A deletion on 2026-10-01 was asked for, and in Europe/Berlin that is today: the earliest is 2026-10-02, as soon as it "
        "begins there. Ask for 2026-10-02 or later."
    )


def test_a_preparation_whose_day_has_begun_is_due_at_once_and_the_schedule_says_so() -> None:
    found = scheduled(day("2026-10-03"), BERLIN, NEW, NOW)
    planned = stages(day("2026-10-03"), BERLIN, NEW)
    assert (found.prepare, found.prepared_at_once) == (NOW, True)
    assert list(found.instants())[1:] == list(planned.instants())[1:]
    assert said(found).endswith("Its preparation was due before it was scheduled, so that it begins at once.")


def test_a_preparation_ahead_comes_on_its_day() -> None:
    ahead = scheduled(day("2026-10-22"), BERLIN, NEW, NOW)
    assert ahead == stages(day("2026-10-22"), BERLIN, NEW)
    on_the_moment = scheduled(day("2026-10-22"), BERLIN, NEW, ahead.prepare)
    assert not on_the_moment.prepared_at_once
    assert "at once" not in said(ahead)


def test_a_schedule_is_said_in_the_persons_own_zone() -> None:
    found = stages(day("2026-10-22"), BERLIN, NEW)
    assert said(found) == (
        "prepare 2026-10-17 00:00, soft 2026-10-22 00:00, hard 2026-10-25 00:00, purge 2026-11-23 00:00, recycle 2026-11-29 00:00 "
        "(Europe/Berlin; policy deletion-2024-10)."
    )
    assert "soft 2026-10-22 07:00" in said(found, "Asia/Tokyo")


def test_a_schedule_keeps_all_that_it_was_computed_from() -> None:
    found = scheduled(day("2026-10-03"), "Atlantic/Azores", OLD, NOW)
    kept = msgspec.json.decode(msgspec.json.encode(found), type=Schedule)
    assert kept == found
    assert (kept.policy, kept.zone, kept.day) == (OLD.version, "Atlantic/Azores", day("2026-10-03"))
