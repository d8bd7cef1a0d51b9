"""Where work is placed in the calendar, and what contacts hear of it."""

import datetime as dt
from typing import get_args

import pytest

from schemas.activity import MOST_ACTIVITIES, Maintenance
from schemas.maintenance import AtOnce, Window
from schemas.objection import Objection
from services.steward.plan import (
    Target,
    announce,
    begun,
    cancel,
    ended,
    fallen_due,
    notice_of_deletion,
    postpone,
    postponed,
    replan,
)
from services.steward.stages import TABLE, StageError, Step, after
from tests.rules.steward_desk import HOUR, MINUTE, MORNING, TOMORROW, TONIGHT, Desk, key, resize, wish

NOON = TONIGHT - 11 * HOUR
"""Too late for tonight with twelve hours' notice, until 23:00 at night."""


def entry(found: Maintenance | Objection) -> Maintenance:
    assert isinstance(found, Maintenance), found
    return found


def test_work_is_planned_for_the_first_window_that_keeps_the_notice() -> None:
    placed = Desk().placed(wish(1, "reboot"))
    assert (placed.outcome, placed.maintenance.stage) == ("new", "planned")
    assert (placed.maintenance.slot.start, placed.maintenance.slot.end) == (TONIGHT, TONIGHT + 20 * MINUTE)


def test_the_older_policy_plans_a_day_later() -> None:
    desk = Desk("maintenance-24h")
    placed = desk.placed(wish(1, "reboot")).maintenance
    assert (placed.slot.start, placed.policy) == (TOMORROW, "maintenance-24h")


def test_a_request_that_comes_twice_is_answered_as_it_was() -> None:
    desk = Desk()
    first = desk.announced(wish(1, "reboot"))
    again = desk.placed(wish(1, "reboot"), NOON)
    assert (again.outcome, again.maintenance) == ("unchanged", first)


def test_work_of_one_vm_in_one_window_is_one_entry() -> None:
    desk = Desk()
    first = desk.placed(wish(1, "reboot")).maintenance
    second = desk.placed(wish(2, "other"))
    assert (second.maintenance.id, len(desk.entries)) == (first.id, 1)
    assert [activity.id for activity in second.maintenance.asked] == [key(1), key(2)]


def test_another_vm_has_an_entry_of_its_own() -> None:
    desk = Desk()
    desk.placed(wish(1, "reboot"))
    assert desk.placed(wish(2, "reboot"), vm="web-2").outcome == "new"


def test_a_reboot_beside_an_announced_resize_changes_nothing_that_contacts_know() -> None:
    desk = Desk()
    known = desk.announced(resize(1))
    placed = desk.placed(wish(2, "reboot"), NOON)
    assert placed.outcome == "unchanged"
    assert placed.maintenance.slot == known.slot
    assert placed.maintenance.revision == known.revision


def test_small_work_joins_what_is_announced_and_is_only_told() -> None:
    desk = Desk()
    known = desk.announced(wish(1, "reboot"))
    placed = desk.placed(wish(2, "other", estimate_seconds=1200), NOON)
    assert (placed.outcome, placed.maintenance.stage) == ("joined", "announced")
    assert placed.maintenance.slot.start == known.slot.start
    assert placed.maintenance.slot.end == TONIGHT + 30 * MINUTE
    assert placed.maintenance.revision == known.revision + 1


def test_many_small_additions_are_no_small_change() -> None:
    desk = Desk()
    desk.announced(wish(1, "other", estimate_seconds=900))
    outcomes = [desk.placed(wish(2 + n, "other", estimate_seconds=900), NOON).outcome for n in range(3)]
    assert outcomes == ["joined", "joined", "changed"]


def test_a_resize_that_was_taken_back_and_is_wanted_again_is_announced_again() -> None:
    desk = Desk()
    desk.placed(wish(1, "reboot"))
    desk.announced(resize(2, before=2, after=4))
    assert desk.placed(resize(3, before=4, after=2), NOON).outcome == "joined"
    assert desk.placed(resize(4, before=2, after=4), NOON).outcome == "changed"


def test_a_cold_reboot_where_a_warm_one_was_announced_restores_the_full_notice() -> None:
    desk = Desk()
    known = desk.announced(wish(1, "reboot"))
    placed = desk.placed(wish(2, "cold-reboot"), NOON)
    changed = placed.maintenance
    assert (placed.outcome, changed.id, changed.stage) == ("changed", known.id, "planned")
    assert changed.slot.start == NOON + 12 * HOUR == TONIGHT + HOUR
    assert (changed.announced_at, changed.told, changed.moves) == (None, True, 1)
    assert changed.revision == known.revision + 1


def test_a_significant_change_that_comes_a_notice_before_the_start_is_announced_anew_and_not_moved() -> None:
    desk = Desk()
    desk.announced(wish(1, "reboot"))
    changed = desk.placed(resize(2), MORNING + MINUTE).maintenance
    assert (changed.slot.start, changed.stage, changed.moves) == (TONIGHT, "planned", 0)


def test_the_announced_reboot_comes_along_to_the_later_night() -> None:
    desk = Desk()
    desk.announced(wish(1, "reboot"))
    placed = desk.placed(resize(2), TONIGHT - MINUTE)
    assert (placed.outcome, len(desk.entries)) == ("changed", 1)
    assert placed.maintenance.slot.start == TOMORROW


def test_announced_work_is_not_taken_along_for_ever() -> None:
    desk = Desk()
    known = desk.announced(wish(1, "reboot"))
    desk.alter(known, moves=desk.terms.policy.most_moves)
    assert desk.placed(resize(2), TONIGHT - MINUTE).outcome == "new"
    assert len(desk.entries) == 2


def test_significant_work_that_no_guest_feels_leaves_announced_work_where_it_is() -> None:
    desk = Desk()
    known = desk.announced(wish(1, "reboot"))
    placed = desk.placed(wish(2, "other", significant=True), TONIGHT - MINUTE)
    assert (placed.outcome, placed.maintenance.slot.start) == ("new", TOMORROW)
    assert desk.entries[known.id] == known


def test_work_that_no_longer_fits_into_the_window_beside_the_other_gets_another_night() -> None:
    desk = Desk()
    desk.placed(wish(1, "other", estimate_seconds=4 * 3600))
    placed = desk.placed(wish(2, "other", estimate_seconds=4 * 3600))
    assert placed.maintenance.slot.start == TOMORROW


def test_a_resize_taken_back_before_the_window_withdraws_the_entry() -> None:
    desk = Desk()
    known = desk.announced(resize(1, before=2, after=4))
    placed = desk.placed(resize(2, before=4, after=2), NOON)
    assert (placed.outcome, placed.maintenance.stage, placed.maintenance.told) == (
        "withdrawn",
        "cancelled",
        True,
    )
    assert placed.maintenance.revision == known.revision + 1


def test_what_is_taken_back_leaves_the_other_work_announced_where_it_was() -> None:
    desk = Desk()
    desk.placed(resize(1, before=2, after=4))
    desk.announced(wish(2, "reboot"))
    placed = desk.placed(resize(3, before=4, after=2), NOON)
    assert (placed.outcome, placed.maintenance.stage) == ("joined", "announced")
    assert placed.maintenance.slot.start == TONIGHT


def test_the_last_word_on_a_size_goes_where_the_first_is_even_if_that_is_later() -> None:
    desk = Desk()
    known = desk.announced(resize(1, before=2, after=4))
    later = entry(
        postpone(MORNING, known, [known], desk.terms, not_before=TOMORROW + 48 * HOUR, reason="release")
    )
    desk.keep(later)
    placed = desk.placed(resize(2, before=4, after=8), MORNING)
    assert len(desk.entries) == 1
    assert placed.maintenance.slot.start == later.slot.start


def test_a_reboot_does_not_wait_for_work_that_is_planned_for_a_later_night() -> None:
    desk = Desk()
    known = desk.announced(resize(1))
    desk.keep(entry(postpone(MORNING, known, [known], desk.terms, not_before=TOMORROW)))
    placed = desk.placed(wish(2, "reboot"))
    assert (placed.outcome, placed.maintenance.slot.start) == ("new", TONIGHT)


def test_a_change_to_what_already_is_plans_nothing() -> None:
    found = Desk().ask(resize(1, before=2, after=2))
    assert isinstance(found, Objection)
    assert (found.code, "acme/web-1" in found.text) == ("AlreadyDone", True)


def test_work_longer_than_the_window_is_refused_and_nothing_is_planned() -> None:
    desk = Desk(window=Window(start="03:00", end="03:15"))
    found = desk.ask(wish(1, "reboot"))
    assert isinstance(found, Objection)
    assert (found.code, desk.entries) == ("WindowTooShort", {})


def test_vms_of_one_pool_are_worked_on_one_after_the_other_and_of_one_org_by_fours() -> None:
    desk = Desk(at_once=AtOnce(pool=1, org=4))
    web = [desk.placed(wish(n, "reboot"), vm=f"web-{n}").maintenance.slot.start for n in range(3)]
    assert web == [TONIGHT, TONIGHT + 20 * MINUTE, TONIGHT + 40 * MINUTE]
    single = [desk.placed(wish(9 + n, "reboot"), vm=f"db-{n}", pool=None).maintenance.slot for n in range(4)]
    assert [slot.start for slot in single] == [TONIGHT, TONIGHT, TONIGHT, TONIGHT + 20 * MINUTE]


def test_a_pool_too_large_for_one_night_goes_on_in_the_next() -> None:
    desk = Desk(at_once=AtOnce(pool=1, org=4))
    starts = [desk.placed(wish(n, "reboot"), vm=f"web-{n}").maintenance.slot.start for n in range(22)]
    assert starts[20] == TONIGHT + 400 * MINUTE
    assert starts[21] == TOMORROW


def test_an_announcement_that_comes_late_chooses_a_later_slot_first() -> None:
    desk = Desk()
    planned = desk.placed(wish(1, "reboot")).maintenance
    told = entry(announce(NOON, planned, [planned], desk.terms))
    assert (told.stage, told.slot.start) == ("announced", NOON + 12 * HOUR)
    assert (told.announced_at, told.revision) == (NOON, planned.revision + 1)


def test_what_is_postponed_is_planned_for_the_next_window_with_the_full_notice() -> None:
    desk = Desk()
    known = desk.announced(wish(1, "reboot"))
    later = entry(postpone(MORNING, known, [known], desk.terms, reason="release"))
    assert (later.stage, later.slot.start, later.reason) == ("planned", TOMORROW, "release")
    assert (later.moves, later.revision, later.announced_at) == (1, known.revision + 1, None)


def test_a_date_in_the_past_postpones_nothing() -> None:
    desk = Desk()
    known = desk.announced(wish(1, "reboot"))
    found = postpone(NOON, known, [known], desk.terms, not_before=MORNING)
    assert isinstance(found, Objection)
    assert found.code == "DateInPast"


def test_work_that_runs_or_is_over_is_neither_postponed_nor_cancelled() -> None:
    desk = Desk()
    running = begun(TONIGHT, fallen_due(desk.announced(wish(1, "reboot"))))
    over = ended(TONIGHT + 5 * MINUTE, running, "done")
    for found, code in ((running, "MaintenanceBegun"), (over, "MaintenanceOver")):
        for objection in (postpone(TONIGHT, found, [found], desk.terms), cancel(found, "no")):
            assert isinstance(objection, Objection)
            assert objection.code == code
    assert (over.result, over.begun_at, over.ended_at) == ("done", TONIGHT, TONIGHT + 5 * MINUTE)


def test_what_waits_can_be_cancelled_and_contacts_who_heard_of_it_are_known() -> None:
    desk = Desk()
    known = desk.announced(wish(1, "reboot"))
    for waiting in (known, fallen_due(known), postponed(known, "")):
        gone = entry(cancel(waiting, "not needed"))
        assert (gone.stage, gone.told, gone.revision) == ("cancelled", True, known.revision + 1)


def test_nothing_begins_early_or_when_it_cannot_end_in_its_window() -> None:
    due = fallen_due(Desk().announced(wish(1, "reboot")))
    for now in (due.slot.start - MINUTE, due.slot.closes - 19 * MINUTE):
        with pytest.raises(AssertionError):
            begun(now, due)
    assert begun(due.slot.closes - 20 * MINUTE, due).stage == "running"


def test_announced_work_that_no_longer_fits_before_the_window_closes_is_not_just_made_longer() -> None:
    desk = Desk()
    desk.announced(wish(1, "other", estimate_seconds=6 * 3600 + 30 * 60))
    placed = desk.placed(wish(2, "other", estimate_seconds=1800), NOON)
    assert (placed.outcome, placed.maintenance.slot.start) == ("new", TOMORROW)


def test_announced_work_is_not_made_longer_into_the_time_of_another_of_its_pool() -> None:
    desk = Desk(at_once=AtOnce(pool=1, org=4))
    desk.announced(wish(1, "reboot"))
    desk.announced(wish(2, "reboot"), vm="web-2")
    placed = desk.placed(wish(3, "other", estimate_seconds=1200), NOON)
    assert placed.outcome != "joined"
    assert placed.maintenance.slot.start >= TONIGHT + 40 * MINUTE


def test_nothing_joins_work_whose_start_has_passed_unseen() -> None:
    desk = Desk()
    desk.announced(wish(1, "reboot"))
    placed = desk.placed(wish(2, "other", estimate_seconds=1200), TONIGHT + MINUTE)
    assert (placed.outcome, placed.maintenance.slot.start) == ("new", TOMORROW)


def test_an_entry_holds_a_bounded_number_of_requests() -> None:
    desk = Desk()
    full = [desk.placed(resize(n, before=2, after=3 + n)).maintenance for n in range(MOST_ACTIVITIES)][-1]
    assert len(full.asked) == MOST_ACTIVITIES
    found = desk.ask(resize(99, before=4, after=16))
    assert isinstance(found, Objection)
    assert (found.code, "32 requests" in found.text) == ("MaintenanceFull", True)
    assert desk.placed(wish(100, "reboot")).outcome == "new"


def test_a_notice_of_deletion_has_its_day_and_is_never_moved_merged_or_in_the_way() -> None:
    desk = Desk(at_once=AtOnce(pool=1, org=1))
    at = dt.datetime(2026, 11, 22, 23, tzinfo=dt.UTC)
    notice = notice_of_deletion(
        wish(1, "deletion-notice"), Target("acme", "web-1", "web"), at, desk.terms, key=key(500)
    )
    desk.keep(notice)
    told = entry(announce(at - HOUR, notice, [notice], desk.terms))
    assert (told.slot.start, told.stage) == (at, "announced")
    found = postpone(MORNING, desk.keep(told), [told], desk.terms)
    assert isinstance(found, Objection)
    assert found.code == "NoticeOfDeletion"
    other = desk.placed(wish(2, "other", estimate_seconds=4 * 3600))
    assert (other.outcome, other.maintenance.slot.start) == ("new", TONIGHT)
    assert ended(at, told, "done").stage == "ended"


def test_every_stage_is_left_by_its_own_steps_alone_and_running_work_only_by_its_end() -> None:
    assert set(TABLE["running"]) == {"end"}
    assert TABLE["ended"] == TABLE["cancelled"] == {}
    for stage, steps in TABLE.items():
        for step in get_args(Step):
            if step in steps:
                assert after(stage, step) == steps[step]
            else:
                with pytest.raises(StageError, match=f"that is {stage} has no step"):
                    after(stage, step)


def test_what_is_not_postponed_is_not_planned_again() -> None:
    desk = Desk()
    known = desk.announced(wish(1, "reboot"))
    with pytest.raises(StageError):
        replan(MORNING, known, [known], desk.terms)
