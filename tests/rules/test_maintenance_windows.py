"""Windows, notices and policies: what can be said, what is refused in which words, and what a night comes to."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from schemas.dated import PolicyError
from schemas.maintenance import POLICIES, Slot, Window, WindowError, chosen, flaw, policy, window
from schemas.objection import Objection
from schemas.zones import ZoneError
from services.steward.calendar import next_window
from tests.rules.steward_desk import HOUR, MORNING, TONIGHT


def slot(found: Slot | Objection) -> Slot:
    assert isinstance(found, Slot), found
    return found


def objection(found: Slot | Objection) -> Objection:
    assert isinstance(found, Objection), found
    return found


def berlin(*when: int) -> dt.datetime:
    year, month, day, hour, minute = (*when, 0, 0)[:5]
    return dt.datetime(year, month, day, hour, minute, tzinfo=ZoneInfo("Europe/Berlin")).astimezone(dt.UTC)


def test_the_usual_window_is_ten_at_night_to_five_in_berlin() -> None:
    usual = window()
    assert usual == Window() == POLICIES[-1].window
    assert (str(usual), usual.usual_seconds) == ("22:00-05:00 Europe/Berlin", 7 * 3600)


@pytest.mark.parametrize(
    ("day", "hours"), [("2024-09-01", 24), ("2025-03-05", 24), ("2025-03-06", 12), ("2026-11-22", 12)]
)
def test_the_notice_is_the_one_of_its_day_and_each_can_be_chosen_by_name(day: str, hours: int) -> None:
    of_day = policy(dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC))
    assert of_day.notice_seconds == hours * 3600
    assert chosen(f"maintenance-{hours}h") == of_day


def test_a_policy_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(PolicyError, match="maintenance-24h, maintenance-12h"):
        chosen("maintenance-1h")


@pytest.mark.parametrize(
    "said",
    ["Europe/Neverland", "Europe", "../../etc/passwd", "right/Europe/Berlin", "localtime", "", "UTC\n"],
)
def test_a_zone_that_is_no_place_is_refused(said: str) -> None:
    with pytest.raises(ZoneError) as refused:
        window(said)
    assert refused.value.code == "ZoneUnknown"
    found = objection(next_window(MORNING, Window(zone=said), 0, 900))
    assert (found.code, found.text) == ("ZoneUnknown", str(refused.value))


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ({"start": "22"}, "WindowUnreadable", "write both times as 22:00"),
        ({"start": "24:00"}, "WindowUnreadable", "from '24:00' to '05:00'"),
        ({"end": "05:60"}, "WindowUnreadable", "cannot be read"),
        ({"end": "05:00\n"}, "WindowUnreadable", "cannot be read"),
        ({"weekdays": ["fri", "caturday"]}, "WindowUnreadable", "'caturday' is no weekday"),
        ({"end": "22:00"}, "WindowEmpty", "may mean all day or never"),
    ],
)
def test_a_window_that_cannot_be_is_refused_in_a_sentence(
    said: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(WindowError, match=words) as refused:
        window(**said)
    assert refused.value.code == code


def test_an_unusable_window_that_came_with_an_event_can_still_be_read_and_has_its_flaw() -> None:
    told = msgspec.json.encode({"zone": "Europe/Atlantis", "start": "22:00", "end": "05:00"})
    read = msgspec.json.decode(told, type=Window)
    found = flaw(read)
    assert found is not None
    assert found.code == "ZoneUnknown"
    empty = flaw(Window(start="05:00"))
    assert empty is not None
    assert empty.code == "WindowEmpty"


def test_weekdays_are_put_in_order_and_each_counts_once() -> None:
    assert window(weekdays=["sun", "fri", "fri"]).weekdays == ("fri", "sun")


def test_the_first_night_whose_start_is_a_notice_away_is_taken() -> None:
    assert slot(next_window(MORNING, Window(), 12 * 3600, 1200)).start == TONIGHT
    assert slot(next_window(MORNING, Window(), 24 * 3600, 1200)).start == TONIGHT + 24 * HOUR


def test_inside_a_window_work_starts_as_soon_as_the_notice_is_over_on_the_next_whole_minute() -> None:
    now = dt.datetime(2026, 11, 22, 12, 7, 33, 5, tzinfo=dt.UTC)
    found = slot(next_window(now, Window(), 12 * 3600, 1200))
    assert found.opens == TONIGHT
    assert found.start == dt.datetime(2026, 11, 23, 0, 8, tzinfo=dt.UTC)


def test_work_that_would_not_end_in_tonights_window_waits_for_tomorrows() -> None:
    now = TONIGHT - 6 * HOUR
    assert slot(next_window(now, Window(), 12 * 3600, 3600)).start == TONIGHT + 6 * HOUR
    assert slot(next_window(now, Window(), 12 * 3600, 3601)).start == TONIGHT + 24 * HOUR


def test_a_notice_is_counted_in_elapsed_hours_when_the_clocks_are_changed() -> None:
    """From 16:30 on, clocks on walls count twelve hours to 04:30; elapsed are eleven, as the hour after two is skipped."""
    now = berlin(2026, 3, 28, 16, 30)
    assert slot(next_window(now, Window(end="06:00"), 12 * 3600, 900)).start == berlin(2026, 3, 29, 5, 30)
    now = berlin(2026, 10, 24, 16, 30)
    assert slot(next_window(now, Window(), 12 * 3600, 900)).start == berlin(2026, 10, 25, 3, 30)


@pytest.mark.parametrize(
    ("evening", "hours"), [((2026, 3, 27), 7), ((2026, 3, 28), 6), ((2026, 10, 24), 8), ((2026, 10, 25), 7)]
)
def test_berlins_short_and_long_nights_hold_as_much_as_they_last(
    evening: tuple[int, ...], hours: int
) -> None:
    begins = berlin(*evening, 22)
    found = slot(next_window(begins, Window(), 0, 900))
    assert (found.opens, found.closes - found.opens) == (begins, hours * HOUR)
    most = min(hours, 7) * 3600
    assert slot(next_window(begins, Window(), 0, most)).start == begins


def test_seven_hours_of_work_skip_the_night_of_six() -> None:
    found = slot(next_window(berlin(2026, 3, 28, 12), Window(), 0, 7 * 3600))
    assert found.start == berlin(2026, 3, 29, 22)


def test_a_weekday_is_the_one_on_which_the_window_begins() -> None:
    """2026-11-27 is a Friday: its window goes on into Saturday, and its own small hours belong to Thursday."""
    fridays = Window(weekdays=("fri",))
    friday_at_one = berlin(2026, 11, 27, 1)
    assert slot(next_window(friday_at_one, fridays, 0, 900)).start == berlin(2026, 11, 27, 22)
    saturday_at_one = berlin(2026, 11, 28, 1)
    assert slot(next_window(saturday_at_one, fridays, 0, 900)).start == saturday_at_one


def test_a_window_in_the_hour_that_is_skipped_is_left_out_that_day() -> None:
    early = Window(start="02:00", end="03:00")
    assert slot(next_window(berlin(2026, 3, 28, 12), early, 0, 900)).start == berlin(2026, 3, 30, 2)


def test_work_that_is_longer_than_the_window_is_refused_even_before_the_night_that_is_longer() -> None:
    found = objection(next_window(berlin(2026, 10, 24, 12), Window(), 0, 7 * 3600 + 60))
    assert found == Objection(
        "WindowTooShort",
        "The work takes 7 h 1 min; the window 22:00-05:00 Europe/Berlin lasts 7 h 0 min. "
        "Choose a longer window, or less work.",
    )


def test_a_date_in_the_past_and_one_in_the_far_future_are_refused() -> None:
    past = objection(next_window(MORNING, Window(), 0, 900, not_before=MORNING - HOUR))
    assert past.code == "DateInPast"
    assert (
        past.text == "2026-11-22 07:00 UTC is in the past, it is 2026-11-22 08:00 UTC: choose a later date."
    )
    far = objection(next_window(MORNING, Window(), 0, 900, not_before=dt.datetime.max.replace(tzinfo=dt.UTC)))
    assert (far.code, "366 days" in far.text) == ("DateTooFar", True)


def test_a_later_date_is_waited_for() -> None:
    found = slot(next_window(MORNING, Window(), 3600, 900, not_before=TONIGHT + 30 * HOUR))
    assert found.start == TONIGHT + 30 * HOUR


def test_where_all_windows_are_taken_it_says_so() -> None:
    always = ((MORNING, MORNING + 500 * 24 * HOUR),)
    assert objection(next_window(MORNING, Window(), 0, 900, closed=always)).code == "WindowsFull"


def test_an_instant_that_does_not_say_its_zone_is_a_mistake_of_the_callers() -> None:
    naive = MORNING.replace(tzinfo=None)
    for now, not_before in ((naive, None), (MORNING, naive)):
        with pytest.raises(AssertionError, match="says its zone"):
            next_window(now, Window(), 0, 900, not_before=not_before)


def test_an_instant_in_another_zone_is_the_same_instant() -> None:
    auckland = MORNING.astimezone(ZoneInfo("Pacific/Auckland"))
    assert next_window(auckland, Window(), 3600, 900) == next_window(MORNING, Window(), 3600, 900)
