"""What people ask of the calendar: work of their own, later, or not at all."""

import datetime as dt

import pytest

from events.maintenance import (
    MaintenanceCancelled,
    MaintenanceDeclined,
    MaintenanceEnded,
    MaintenanceRescheduled,
    MaintenanceScheduled,
)
from tests.keeping import TWO
from tests.rules.windows import DAY, MINUTE, MORNING, TONIGHT, Windows, later


def test_peoples_own_work_has_its_time_in_the_calendar_and_nothing_is_ordered_for_it() -> None:
    house = Windows().house()
    house.maintain("other", estimate_seconds=3600)
    (said,) = house.look()
    assert isinstance(said, MaintenanceScheduled)
    assert said.entry.slot.end - said.entry.slot.start == 65 * MINUTE
    house.to(TONIGHT).look()
    assert house.gate()[0].code == "Done"
    assert house.gates() == []
    assert house.look() == []
    house.to(said.entry.slot.end)
    (ended,) = house.look()
    assert isinstance(ended, MaintenanceEnded)
    assert ended.entry.result == "done"
    assert house.look() == []


def test_a_reboot_that_somebody_asked_the_calendar_for_is_ordered_and_joins_what_is_planned() -> None:
    house = Windows().house()
    house.maintain("other")
    house.look()
    house.maintain("reboot")
    house.look()
    house.to(house.entries()[-1].entry.slot.start).look()
    answer, order = house.gate()
    assert answer.code == "Granted"
    assert order is not None
    house.rebooted(order)
    house.look()
    assert [one.entry.result for one in house.entries()] == ["done"]


@pytest.mark.parametrize(
    ("until", "start"),
    [(None, TONIGHT + DAY), (later(TONIGHT, days=2, hours=1), later(TONIGHT, days=2, hours=1))],
)
def test_a_person_has_it_done_later(until: dt.datetime | None, start: dt.datetime) -> None:
    house = Windows().house()
    house.reboot()
    house.look()
    request = house.please("postpone", until)
    (said,) = house.look()
    assert isinstance(said, MaintenanceRescheduled)
    assert (said.entry.slot.start, said.request, said.actor, said.code) == (start, request, "kim", "Asked")
    assert house.look() == []


def test_a_person_takes_it_back_and_it_stays_so() -> None:
    house = Windows().house()
    house.wants(TWO)
    house.look()
    house.please("cancel")
    (said,) = house.look()
    assert isinstance(said, MaintenanceCancelled)
    assert (said.actor, said.code, said.entry.reason) == ("kim", "Asked", "the fair is on")
    assert house.look() == []


def test_what_is_asked_of_an_entry_that_runs_is_over_or_never_was_is_declined_with_its_sentence() -> None:
    house = Windows().house()
    house.reboot()
    house.look()
    house.please("postpone", MORNING - DAY)
    house.please("cancel", entry="0" * 32)
    found = house.look()
    house.to(TONIGHT).look()
    house.please("postpone")
    found += house.look()
    _, order = house.gate()
    assert order is not None
    house.rebooted(order)
    house.look()
    house.please("cancel")
    found += house.look()
    assert [one.code for one in found if isinstance(one, MaintenanceDeclined)] == [
        "DateInPast",
        "MaintenanceUnknown",
        "MaintenanceBegun",
        "MaintenanceOver",
    ]
    assert len(found) == 4
