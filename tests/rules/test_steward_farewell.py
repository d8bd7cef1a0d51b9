"""A VM that is to be deleted: its day stands in the calendar, and no work is done on it from then on."""

import datetime as dt

from events.maintenance import (
    MaintenanceCancelled,
    MaintenanceDeclined,
    MaintenanceEnded,
    MaintenanceRescheduled,
    MaintenanceScheduled,
    notice_of,
)
from schemas.activity import Maintenance
from tests.given import ORG
from tests.keeping import TWO
from tests.rules.endings import Endings
from tests.rules.windows import DAY, MINUTE

SOON = dt.date(2026, 11, 25)
"""Three days after the morning on which the house begins, so that its preparation is at once."""


def house_that_deletes(day: dt.date = dt.date(2026, 12, 1)) -> Endings:
    house = Endings().house()
    assert house.delete(day=day).code == "Done"
    return house


def notice(house: Endings) -> Maintenance:
    found = house.steward.calendar.get(notice_of(house.all_ids()[0]))
    assert found is not None
    return found.entry


def test_the_day_is_in_the_calendar_once_the_preparation_has_begun() -> None:
    house = house_that_deletes()
    assert house.look() == []
    house.to(house.at("prepare"))
    house.deletes()
    house.gates()
    (said,) = house.look()
    assert isinstance(said, MaintenanceScheduled)
    assert (said.entry.slot.start, said.entry.stage) == (house.at("soft"), "announced")
    assert [step.kind for step in said.steps] == ["deletion-notice"]
    assert house.look() == []


def test_the_notice_is_over_when_the_day_has_come_and_nothing_is_run_for_it() -> None:
    house = house_that_deletes()
    house.to(house.at("prepare")).works()
    house.to(house.at("soft") - MINUTE).works()
    assert notice(house).stage == "announced"
    house.to(house.at("soft"))
    (said,) = house.look()
    assert isinstance(said, MaintenanceEnded)
    assert said.entry.result == "done"
    house.works()
    assert house.look() == []


def test_the_notice_goes_with_the_deletion_and_another_deletion_has_its_own() -> None:
    house = house_that_deletes(SOON)
    house.works()
    first = notice(house)
    house.undelete()
    (said,) = house.look()
    assert isinstance(said, MaintenanceCancelled)
    assert (said.entry.id, said.code) == (first.id, "DeletionCancelled")
    assert house.delete(day=SOON).code == "Done"
    house.works()
    entries = [one.entry for one in house.entries()]
    assert [entry.stage for entry in entries] == ["cancelled", "announced"]
    assert entries[0].id != entries[1].id


def test_nobody_moves_or_cancels_the_notice_by_itself() -> None:
    house = house_that_deletes(SOON)
    house.works()
    for change in ("postpone", "cancel"):
        house.please(change, entry=notice(house).id)
        (said,) = house.look()
        assert isinstance(said, MaintenanceDeclined)
        assert said.code == "NoticeOfDeletion"
    assert notice(house).stage == "announced"


def test_work_after_the_day_is_declined_and_work_before_it_is_done() -> None:
    house = house_that_deletes(dt.date(2026, 11, 24))
    house.works()
    house.reboot()
    (said,) = house.look()
    assert isinstance(said, MaintenanceScheduled)
    assert said.entry.slot.end <= house.at("soft")
    house.please("postpone", house.at("soft") + DAY, entry=said.entry.id)
    (declined,) = house.look()
    assert isinstance(declined, MaintenanceDeclined)
    assert (declined.code, "virtscale vm undelete acme/db" in declined.text) == ("DeletionStands", True)
    house.to(said.entry.slot.start).look()
    _, order = house.gate()
    assert order is not None
    house.rebooted(order)
    house.works()
    house.to(house.at("soft") - 60 * MINUTE)
    house.reboot()
    (declined,) = house.look()
    assert isinstance(declined, MaintenanceDeclined)
    assert declined.code == "DeletionStands"
    assert house.look() == []


def test_work_that_was_planned_for_later_is_cancelled_when_the_deletion_is_scheduled() -> None:
    house = Endings().house()
    house.reboot()
    house.look()
    house.please("postpone", house.now + 5 * DAY)
    (moved,) = house.look()
    assert isinstance(moved, MaintenanceRescheduled)
    house.delete(day=SOON)
    house.works()
    planned = house.steward.calendar.get(moved.entry.id)
    assert planned is not None
    assert (planned.entry.stage, planned.code) == ("cancelled", "DeletionStands")


def test_a_resize_waits_while_the_vm_is_to_be_deleted_and_is_planned_when_it_is_not() -> None:
    house = house_that_deletes(dt.date(2026, 11, 23))
    house.to(house.at("soft") - 60 * MINUTE).works()
    house.wants(TWO)
    assert house.look() == []
    house.undelete()
    said = house.look()
    assert [type(fact) for fact in said] == [MaintenanceCancelled, MaintenanceScheduled]
    assert house.look() == []


def test_a_notice_of_what_has_begun_already_is_not_made() -> None:
    house = house_that_deletes()
    house.to(house.at("recycle") + DAY).works()
    assert house.entries() == []
    assert house.completed()[-1] == "recycle"


def test_two_stewards_say_the_same_of_a_deletion() -> None:
    house = house_that_deletes(SOON)
    house.deletes()
    house.gates()
    (one,), (other,) = house.says(), house.says()
    assert one == other
    assert one.cause in {line.id for line in house.lines}
    house.happened(one.fact, one.id)
    house.happened(one.fact, one.id)
    assert house.look() == []
    assert house.steward.deletions.of(ORG, "db") is not None


def test_what_waits_for_a_vm_that_went_while_the_steward_was_off_is_cancelled_and_comes_upon_no_other() -> (
    None
):
    house = Endings().house()
    house.reboot()
    house.look()
    house.please("postpone", house.now + 5 * DAY)
    (moved,) = house.look()
    house.delete(day=SOON)
    house.reboot()
    house.to(house.at("hard"))
    house.works(steward=False)
    assert house.completed() == ["prepare", "soft", "hard"]
    gone, declined = house.look()
    assert isinstance(gone, MaintenanceCancelled)
    assert isinstance(declined, MaintenanceDeclined)
    assert (gone.entry.id, gone.code, declined.code) == (moved.entry.id, "VmUnknown", "VmUnknown")  # type: ignore[attr-defined]
    assert house.steward.desk.reboots == {}
    house.to(house.now + 2 * DAY)
    assert house.look() == []
