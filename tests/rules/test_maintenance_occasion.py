"""What contacts read of a maintenance."""

import datetime as dt

from schemas.activity import Activity, Maintenance
from schemas.maintenance import Slot, Window
from schemas.occasion import appointment, lines, title, when
from services.steward.plan import Target, cancel, notice_of_deletion, postpone
from services.steward.work import combine
from tests.rules.steward_desk import HOUR, MINUTE, MORNING, TONIGHT, Desk, key, resize, wish


def steps(entry: Maintenance) -> tuple[Activity, ...]:
    return combine(entry.asked).steps


def test_a_mail_says_when_what_and_what_the_guest_feels() -> None:
    desk = Desk()
    desk.placed(wish(1, "other", summary="The host's kernel is looked after."))
    entry = desk.announced(resize(2, before=2, after=4))
    assert title(entry, steps(entry)) == "acme/web-1: maintenance work, resize"
    assert list(lines(entry, steps(entry))) == [
        "Sunday 2026-11-22 22:00 to 22:25 in Europe/Berlin (UTC+01:00).",
        "- maintenance work. The host's kernel is looked after.",
        "- resize: vcpu 2 to 4.",
        "The VM is switched off and on again once, at the end.",
    ]


def test_in_the_night_when_the_clocks_go_back_the_offset_tells_the_hours_apart() -> None:
    desk = Desk()
    entry = desk.announced(wish(1, "reboot"))
    start = dt.datetime(2026, 10, 25, 0, 50, tzinfo=dt.UTC)
    twice = desk.alter(entry, slot=Slot(start - 5 * HOUR, start + 5 * HOUR, start, start + 20 * MINUTE))
    assert when(twice) == "Sunday 2026-10-25 02:50 to 02:10 in Europe/Berlin (UTC+02:00, then UTC+01:00)."
    late = desk.alter(entry, slot=Slot(TONIGHT, TONIGHT + 7 * HOUR, TONIGHT + HOUR, TONIGHT + 3 * HOUR))
    assert when(late) == "Sunday 2026-11-22 23:00 to 2026-11-23 01:00 in Europe/Berlin (UTC+01:00)."


def test_a_zone_that_is_no_longer_known_is_told_in_utc() -> None:
    desk = Desk()
    entry = desk.alter(desk.announced(wish(1, "reboot")), window=Window(zone="Europe/Atlantis"))
    assert when(entry) == "Sunday 2026-11-22 21:00 to 21:20 in UTC (UTC+00:00)."


def test_the_appointment_is_the_same_through_moves_and_each_has_a_higher_sequence() -> None:
    desk = Desk()
    first = desk.announced(wish(1, "reboot"))
    later = postpone(MORNING, first, [first], desk.terms, reason="There is a release tonight.")
    assert isinstance(later, Maintenance)
    gone = cancel(later, "It is not needed.")
    assert isinstance(gone, Maintenance)
    told = [appointment(entry, steps(entry), "ledger.example", MORNING) for entry in (first, later, gone)]
    assert {each.uid for each in told} == {f"{first.id}@ledger.example"}
    assert [each.revision for each in told] == sorted({each.revision for each in told})
    assert [(each.tentative, each.cancelled) for each in told] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    assert told[1].description.endswith("There is a release tonight.")
    assert told[2].description.startswith("Cancelled: nothing of this is done.")


def test_what_was_taken_back_is_told_by_what_was_asked() -> None:
    desk = Desk()
    desk.announced(resize(1, before=2, after=4))
    gone = desk.placed(resize(2, before=4, after=2)).maintenance
    assert steps(gone) == ()
    assert title(gone, ()) == "acme/web-1: resize"
    assert "What was asked for was taken back." in list(lines(gone, ()))


def test_a_deletion_is_told_by_its_instant() -> None:
    notice = notice_of_deletion(
        wish(1, "deletion-notice"), Target("acme", "web-1"), TONIGHT + 2 * HOUR, Desk().terms, key=key(9)
    )
    assert list(lines(notice, steps(notice)))[-1] == "The VM is shut down at this time, to be deleted."
    assert title(notice, steps(notice)) == "acme/web-1: deletion"


def test_a_long_story_is_shortened() -> None:
    desk = Desk()
    for number in range(9):
        desk.placed(wish(number, "other", summary="x" * 300))
    (entry,) = desk.entries.values()
    found = appointment(entry, steps(entry), "o.example", MORNING).description
    assert (len(found), found[-1]) == (1000, "…")
