"""What the steward does about a VM that runs with another size because somebody changed it by hand."""

from events.drift import DomainDrifted, DomainSettled
from events.maintenance import MaintenanceCancelled, MaintenanceScheduled
from schemas.capacity import Size
from tests.given import ORG
from tests.keeping import ONE
from tests.rules.windows import TONIGHT, Windows

MORE = Size("custom-2x1024", 2, 1024)


def drifted(house: Windows, size: Size = MORE) -> None:
    house.happened(
        DomainDrifted(
            ORG, "db", "h1", "size", "1 vCPU", "2 vCPU", "reboot", house.reservation("db"), size, house.now
        )
    )


def test_a_vm_that_somebody_made_larger_is_rebooted_in_a_window_with_what_it_shall_have() -> None:
    house = Windows().house()
    drifted(house)
    (said,) = house.look()
    assert isinstance(said, MaintenanceScheduled)
    (step,) = said.steps
    assert [(one.before, one.after) for one in step.changes] == [("2 vCPU, 1024 MiB", "1 vCPU, 1024 MiB")]
    house.to(TONIGHT).look()
    _, order = house.gate()
    assert order is not None
    assert order.size == ONE
    house.rebooted(order)
    house.look()
    assert house.entry.result == "done"


def test_what_is_put_right_by_hand_needs_no_reboot_any_more() -> None:
    house = Windows().house()
    drifted(house)
    house.look()
    house.happened(DomainSettled(ORG, "db", "h1", "size", house.now))
    (said,) = house.look()
    assert isinstance(said, MaintenanceCancelled)
    assert house.state.fleet.vms[ORG, "db"].size == ONE


def test_the_same_hand_in_a_later_life_is_planned_for_again() -> None:
    house = Windows().house()
    drifted(house)
    house.look()
    house.to(TONIGHT).look()
    _, order = house.gate()
    assert order is not None
    house.rebooted(order)
    house.look()
    drifted(house)
    (said,) = house.look()
    assert isinstance(said, MaintenanceScheduled)
