"""What is to be done at an instant, of all that the calendar holds."""

import datetime as dt

from schemas.maintenance import AtOnce
from services.steward.plan import Target, begun, ended, fallen_due, notice_of_deletion, postponed
from tests.rules.steward_desk import HOUR, MINUTE, MORNING, TONIGHT, Desk, key, wish


def steps(desk: Desk, now: dt.datetime) -> list[str]:
    return [turn.step for turn in desk.turns(now)]


def test_what_is_planned_is_announced_and_then_waits_for_its_start() -> None:
    desk = Desk()
    planned = desk.placed(wish(1, "reboot")).maintenance
    assert [(turn.id, turn.step) for turn in desk.turns(MORNING)] == [(planned.id, "announce")]
    desk.announced(wish(2, "reboot"), vm="web-2")
    desk.tell(planned)
    assert steps(desk, TONIGHT - MINUTE) == []
    assert steps(desk, TONIGHT) == ["fall-due", "fall-due"]


def test_what_is_due_begins_once_and_is_left_alone_while_it_runs_and_afterwards() -> None:
    desk = Desk()
    due = desk.keep(fallen_due(desk.announced(wish(1, "reboot"))))
    assert steps(desk, TONIGHT) == ["begin"]
    running = desk.keep(begun(TONIGHT, due))
    assert steps(desk, TONIGHT + 5 * HOUR) == []
    desk.keep(ended(TONIGHT + HOUR, running, "failed"))
    assert steps(desk, TONIGHT + 5 * HOUR) == []


def test_what_has_not_begun_half_an_hour_after_its_start_is_postponed() -> None:
    desk = Desk()
    due = desk.keep(fallen_due(desk.announced(wish(1, "reboot"))))
    assert steps(desk, TONIGHT + 30 * MINUTE) == ["begin"]
    (turn,) = desk.turns(TONIGHT + 31 * MINUTE)
    assert turn.step == "postpone"
    assert turn.reason == "It had not begun 30 minutes after its start at 2026-11-22 21:00 UTC."
    desk.keep(postponed(due, turn.reason))
    assert steps(desk, TONIGHT + 31 * MINUTE) == ["replan"]


def test_what_can_no_longer_end_in_its_window_is_postponed_even_when_it_is_just_due() -> None:
    desk = Desk()
    known = desk.announced(wish(1, "other", estimate_seconds=6 * 3600 + 45 * 60))
    desk.keep(fallen_due(known))
    assert steps(desk, TONIGHT + 10 * MINUTE) == ["begin"]
    (turn,) = desk.turns(TONIGHT + 11 * MINUTE)
    assert (turn.step, turn.reason) == (
        "postpone",
        "It takes 410 minutes, and its window closes at 2026-11-23 04:00 UTC.",
    )


def test_no_more_begin_at_once_than_may_be_worked_on_and_the_others_wait() -> None:
    desk = Desk()
    for number in range(4):
        desk.keep(fallen_due(desk.announced(wish(number, "reboot"), vm=f"web-{number}")))
    for at_once, begin in ((AtOnce(1, 4), 1), (AtOnce(3, 4), 3), (AtOnce(4, 2), 2)):
        desk.terms = type(desk.terms)(desk.terms.policy, desk.terms.window, at_once)
        assert steps(desk, TONIGHT) == ["begin"] * begin


def test_a_vm_that_is_still_worked_on_is_not_worked_on_twice() -> None:
    desk = Desk()
    desk.keep(begun(TONIGHT, fallen_due(desk.announced(wish(1, "reboot")))))
    late = TONIGHT + 20 * MINUTE
    desk.keep(fallen_due(desk.announced(wish(2, "reboot"), late - 12 * HOUR)))
    assert steps(desk, late) == []


def test_nothing_begins_before_its_start_even_if_a_clock_went_back() -> None:
    desk = Desk()
    desk.keep(fallen_due(desk.announced(wish(1, "reboot"))))
    assert steps(desk, TONIGHT - MINUTE) == []


def test_a_notice_of_deletion_only_lapses() -> None:
    desk = Desk()
    notice = notice_of_deletion(
        wish(1, "deletion-notice"), Target("acme", "web-1", "web"), TONIGHT, desk.terms, key=key(1)
    )
    desk.tell(notice)
    assert steps(desk, TONIGHT - MINUTE) == []
    assert steps(desk, TONIGHT + 50 * HOUR) == ["lapse"]
