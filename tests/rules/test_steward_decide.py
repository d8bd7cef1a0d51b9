"""What the steward says: planned, told, begun once, and over."""

import datetime as dt
from typing import Any

from events.gate import PlugOrdered
from events.maintenance import (
    MaintenanceBegun,
    MaintenanceCancelled,
    MaintenanceDeclined,
    MaintenanceEnded,
    MaintenanceRescheduled,
    MaintenanceScheduled,
)
from events.vm import VmPlugFailed, VmPlugged
from schemas.capacity import Size
from schemas.maintenance import Window
from tests.given import ORG
from tests.keeping import ONE, SIX, TWO
from tests.rules.windows import DAY, MORNING, TONIGHT, Windows

MINUTE = dt.timedelta(minutes=1)


def test_an_announced_reboot_has_the_first_window_that_keeps_the_notice_and_contacts_are_told() -> None:
    house = Windows().house()
    request = house.reboot()
    (said,) = house.look()
    assert isinstance(said, MaintenanceScheduled)
    entry = said.entry
    assert (entry.slot.start, entry.slot.opens) == (TONIGHT, TONIGHT)
    assert (entry.stage, entry.told, entry.announced_at) == ("announced", True, MORNING)
    assert (said.number, said.notice_seconds, entry.policy) == (1, 12 * 3600, "maintenance-12h")
    assert [step.id for step in said.steps] == [request]
    assert house.look() == []


def test_when_its_time_comes_it_begins_the_gate_orders_it_and_it_ends_when_the_guest_has_answered() -> None:
    house = Windows().house()
    house.reboot()
    house.look()
    house.to(TONIGHT - MINUTE)
    assert house.look() == []
    house.to(TONIGHT)
    (begun,) = house.look()
    assert isinstance(begun, MaintenanceBegun)
    assert begun.begin_by == TONIGHT + 30 * MINUTE
    assert house.look() == []
    former = house.reservation("db")
    answer, order = house.gate()
    assert answer.code == "Granted"
    assert order is not None
    assert (order.former, order.size) == (former, ONE)
    assert house.look() == []
    house.rebooted(order)
    (ended,) = house.look()
    assert isinstance(ended, MaintenanceEnded)
    assert (ended.entry.result, ended.code) == ("done", "Done")
    house.to(TONIGHT + 400 * DAY)
    assert house.look() == []
    assert house.decide() is None


def test_a_vm_that_runs_with_another_size_than_it_shall_have_is_rebooted_in_a_window() -> None:
    house = Windows().house()
    house.wants(TWO)
    (said,) = house.look()
    assert isinstance(said, MaintenanceScheduled)
    (step,) = said.steps
    assert [(one.what, one.before, one.after) for one in step.changes] == [
        ("size", "1 vCPU, 1024 MiB", "2 vCPU, 2048 MiB")
    ]
    house.to(TONIGHT).look()
    _, order = house.gate()
    assert order is not None
    assert order.size == TWO
    house.rebooted(order)
    house.look()
    assert house.entry.result == "done"


def test_vcpu_that_are_plugged_in_are_no_reason_to_reboot_unless_that_fails() -> None:
    more = Size("own-3x1024", 3, 1024)
    for outcome in ("plugged", "failed", "stopped"):
        house = Windows().house()
        house.resize(more, plug=True)
        _, (plug,) = house.answer()
        assert isinstance(plug, PlugOrdered)
        assert house.look() == [], "nobody knows yet, and contacts are told of nothing"
        who: dict[str, Any] = {"org": ORG, "vm": "db", "host": "h1", "reservation": plug.reservation}
        if outcome == "plugged":
            house.happened(VmPlugged(**who, order=plug.id, size=more, plugged_at=house.now))
            assert house.look() == []
        elif outcome == "failed":
            house.happened(
                VmPlugFailed(**who, order=plug.id, code="plug-refused", text="no", observed_at=house.now)
            )
            (said,) = house.look()
            assert isinstance(said, MaintenanceScheduled)
        else:
            house.off()
            assert house.look() == []
            assert house.steward.desk.plugs == {}


def test_a_new_size_says_nothing_before_the_decision_that_stands_behind_it_was_read() -> None:
    house = Windows().house()
    steward = house.steward
    house.resize(TWO, when="window")
    (decision,) = house.gates()
    assert decision.answers[0].code == "Announced"
    read = steward.desk.deciding.get(ORG, set())
    assert read == set(), "it was read with the decision"
    steward.desk.deciding[ORG] = {"db"}
    assert house.look() == []
    steward.desk.deciding.clear()
    (said,) = house.look()
    assert isinstance(said, MaintenanceScheduled)


def test_an_inverse_resize_before_the_window_leaves_nothing_to_do() -> None:
    house = Windows().house()
    house.wants(TWO)
    house.look()
    house.wants(ONE)
    (said,) = house.look()
    assert isinstance(said, MaintenanceCancelled)
    assert (said.code, said.actor, said.entry.told) == ("NotNeeded", None, True)
    assert said.entry.revision == 1
    house.wants(TWO)
    (anew,) = house.look()
    assert isinstance(anew, MaintenanceScheduled)


def test_a_reboot_at_once_takes_the_size_and_the_entry_goes() -> None:
    house = Windows().house()
    house.wants(TWO)
    house.look()
    house.change("reboot")
    _, order = house.gate()
    assert order is not None
    assert house.look() == []  # on its way: nobody knows yet
    house.rebooted(order)
    (said,) = house.look()
    assert isinstance(said, MaintenanceCancelled)


def test_a_resize_and_a_reboot_are_one_maintenance_with_one_reboot() -> None:
    house = Windows().house()
    house.reboot()
    house.look()
    house.wants(TWO)
    (said,) = house.look()
    assert isinstance(said, MaintenanceRescheduled)
    assert [step.kind for step in said.steps] == ["resize"]
    assert len(said.entry.asked) == 2
    house.wants(ONE)
    (back,) = house.look()
    assert isinstance(back, MaintenanceRescheduled)
    assert [step.kind for step in back.steps] == ["reboot"]
    assert len(house.entries()) == 1


def test_what_the_gate_refuses_is_told_and_planned_again_and_given_up_after_three_times() -> None:
    house = Windows().house(vcpu=2)
    house.wants(TWO)
    house.look()
    house.contract_of(vcpu=1)
    said: list[str] = []
    for _ in range(5):
        waiting = [one.entry for one in house.entries() if not one.over]
        if not waiting:
            break
        house.to(waiting[0].slot.start).look()
        answer, order = house.gate()
        assert (answer.code, order) == ("CapExceeded", None)
        said += [type(fact).__name__ for fact in house.look()]
    assert said == [
        *["MaintenanceEnded", "MaintenanceScheduled"] * 2,
        "MaintenanceEnded",
        "MaintenanceDeclined",
    ]
    assert {one.entry.result for one in house.entries()} == {"refused"}
    assert house.look() == []


def test_a_vm_that_was_switched_off_has_nothing_to_wait_for() -> None:
    house = Windows().house()
    house.wants(TWO)
    house.reboot()
    house.look()
    house.change("stop")
    house.round()
    house.off()
    (said,) = house.look()
    assert isinstance(said, MaintenanceCancelled)
    assert said.code == "VmOff"
    assert house.look() == []


def test_what_has_not_begun_half_an_hour_after_its_start_is_postponed_with_the_full_notice() -> None:
    house = Windows().house()
    house.reboot()
    house.look()
    house.to(TONIGHT + 31 * MINUTE)
    (said,) = house.look()
    assert isinstance(said, MaintenanceRescheduled)
    assert (said.code, said.entry.slot.start, said.entry.stage) == ("Missed", TONIGHT + DAY, "announced")
    assert (said.entry.revision, said.entry.moves) == (1, 1)


def test_what_begins_late_at_the_gate_is_not_done() -> None:
    house = Windows().house()
    house.reboot()
    house.look()
    house.to(TONIGHT).look()
    house.to(TONIGHT + 31 * MINUTE)
    answer, order = house.gate()
    assert (answer.code, order) == ("MaintenanceLate", None)
    ended, anew = house.look()
    assert isinstance(ended, MaintenanceEnded)
    assert ended.entry.result == "refused"
    assert isinstance(anew, MaintenanceScheduled)


def test_what_begins_at_the_last_instant_is_done_and_carried_out_by_then_or_not_at_all() -> None:
    house = Windows().house(boot_seconds=3600)
    house.reboot()
    house.look()
    (begun,) = house.to(TONIGHT).look()
    assert isinstance(begun, MaintenanceBegun)
    house.to(begun.begin_by)
    answer, order = house.gate()
    assert answer.code == "Granted"
    assert order is not None
    assert order.begin_by == begun.begin_by, "an hour to boot is longer than the window's last half hour"


def test_what_begins_by_a_clock_that_is_ahead_is_not_done() -> None:
    house = Windows().house()
    house.reboot()
    house.look()
    house.to(TONIGHT).look()
    house.now = TONIGHT - 5 * MINUTE
    answer, order = house.gate()
    assert (answer.code, order) == ("MaintenanceEarly", None)


def test_a_beginning_that_is_told_twice_is_one_reboot() -> None:
    house = Windows().house()
    house.reboot()
    house.look()
    house.to(TONIGHT)
    (begun,) = house.says()
    house.happened(begun.fact, begun.id)
    house.happened(begun.fact, begun.id)
    answers = [(one.code, len(said.orders)) for said in house.gates() for one in said.answers]
    assert answers == [("Granted", 1), ("MaintenanceOver", 0)]
    assert house.look() == []


def test_whatever_the_steward_says_names_the_event_behind_it() -> None:
    house = Windows().house()
    house.wants(TWO)
    for wanted in (ONE, TWO):
        for said in house.says():
            assert said.cause in {line.id for line in house.lines}
        house.look()
        house.wants(wanted)
    house.look()
    entry = next(one.entry for one in house.entries() if not one.over)
    house.to(entry.slot.start)
    (begun,) = house.says()
    assert begun.cause in {line.id for line in house.lines}


def test_a_change_for_which_there_is_no_place_is_declined_once() -> None:
    house = Windows().house()
    house.wants(TWO)
    house.look()
    for number in range(40):
        house.wants((SIX, TWO)[number % 2])
        house.look()
    declined = [line.fact for line in house.lines if isinstance(line.fact, MaintenanceDeclined)]
    assert {one.code for one in declined} == {"MaintenanceFull"}
    assert len(declined) == len({one.request for one in declined})


def test_two_stewards_say_the_same_under_the_same_ids() -> None:
    house = Windows().house()
    house.reboot()
    first, second = house.says(), house.says()
    assert first == second
    for said in (*first, *second):
        house.happened(said.fact, said.id)
    assert len(house.entries()) == 1
    assert house.look() == []


def test_work_that_fits_no_window_is_declined_once() -> None:
    house = Windows().house(window=Window(start="22:00", end="22:05"))
    house.reboot()
    (said,) = house.look()
    assert isinstance(said, MaintenanceDeclined)
    assert said.code == "WindowTooShort"
    house.wants(TWO)
    (other,) = house.look()
    assert isinstance(other, MaintenanceDeclined)
    assert house.look() == []


def test_a_reboot_that_was_not_carried_out_is_tried_in_another_window() -> None:
    house = Windows().house()
    house.reboot()
    house.look()
    house.to(TONIGHT).look()
    _, order = house.gate()
    assert order is not None
    house.not_rebooted(order)
    ended, anew = house.look()
    assert isinstance(ended, MaintenanceEnded)
    assert (ended.code, ended.entry.result) == ("order-expired", "failed")
    assert isinstance(anew, MaintenanceScheduled)
    assert anew.entry.slot.start == TONIGHT + DAY


def test_one_vm_of_a_pool_is_worked_on_at_a_time() -> None:
    house = Windows().house(vms=3)
    for vm in ("db0x", "db1x", "db2x"):
        house.reboot(vm)
    house.look()
    starts = sorted(one.entry.slot.start for one in house.entries())
    assert starts == [TONIGHT, TONIGHT + 20 * MINUTE, TONIGHT + 40 * MINUTE]


def test_a_steward_that_comes_back_in_the_middle_goes_on_from_the_ledger_alone() -> None:
    house = Windows().house()
    house.reboot()
    house.look()
    house.to(TONIGHT).look()
    _, order = house.gate()
    assert order is not None
    anew = type(house.steward)()
    for line in house.lines:
        anew.apply(line)
    house.steward = anew
    assert house.look() == []
    house.rebooted(order)
    (ended,) = house.look()
    assert isinstance(ended, MaintenanceEnded)


def test_an_outcome_that_never_comes_is_no_reason_to_wait_for_ever() -> None:
    house = Windows().house()
    house.reboot()
    house.look()
    house.to(TONIGHT).look()
    house.gate()
    house.to(TONIGHT + dt.timedelta(hours=8))
    (said,) = house.look()
    assert isinstance(said, MaintenanceEnded)
    assert (said.code, said.entry.result) == ("NoOutcome", "failed")


def test_a_larger_size_that_is_wanted_meanwhile_is_what_the_reboot_gives() -> None:
    house = Windows().house()
    house.wants(TWO)
    house.look()
    house.wants(SIX)
    (said,) = house.look()
    assert isinstance(said, MaintenanceRescheduled)
    house.to(said.entry.slot.start).look()
    _, order = house.gate()
    assert order is not None
    assert order.size == SIX
    assert isinstance(order.size, Size)
    assert house.fleet.vms[ORG, "db"].size == SIX
