"""What the gate answers to who takes a deletion back: it is possible until the disk is to be erased, and exactly one wins."""

from typing import Any

import pytest

from events.deletion import (
    DeletionBegun,
    DeletionCancelled,
    DeletionCancelRequested,
    DeletionCompleted,
    DeletionDue,
)
from events.gate import BootOrdered, WakeOrdered
from events.vm import VmFoundAwake
from tests.deleting import running
from tests.given import ORG
from tests.keeping import ONE


def test_what_was_taken_back_before_anything_happened_changes_nothing() -> None:
    past = running()
    past.delete()
    answer, orders = past.undelete()
    assert (answer.code, orders) == ("Done", ())
    assert past.state.deletions.of(ORG, "db") is None
    assert past.delete().code == "Done"


def test_a_vm_that_ran_is_started_again_when_its_deletion_is_taken_back() -> None:
    past = running()
    past.delete()
    past.come_to("soft")
    past.off()
    past.complete("soft")
    past.happened(DeletionCancelRequested(vm="db", start=True, **past.asked()))
    decision = past.decide()
    assert decision is not None
    (fact,), (boot,) = decision.facts, decision.decided.orders
    assert isinstance(fact, DeletionCancelled)
    assert isinstance(boot, BootOrdered)
    past.stored(decision)
    assert past.state_of() == "booting"


def test_a_vm_for_which_the_org_has_no_room_any_more_stays_as_it_is_and_its_deletion_stands() -> None:
    past = running(vcpu=1)
    past.delete()
    past.come_to("soft")
    past.off()
    past.create("other", disk_bytes=0)
    past.round()
    answer, orders = past.undelete()
    assert (answer.code, orders) == ("CapExceeded", ())
    assert past.deletion.begun == ("prepare", "soft")
    answer, orders = past.undelete(start=False)
    assert (answer.code, orders) == ("Done", ())
    assert past.state_of() == "stopped"


def test_after_the_disk_is_to_be_erased_nothing_is_taken_back() -> None:
    past = running()
    past.delete()
    past.come_to("hard")
    assert past.undelete()[0].code == "DeletionFinal"


def test_while_it_is_being_stopped_it_is_asked_for_in_a_moment() -> None:
    past = running()
    past.delete()
    past.come_to("soft")
    assert past.undelete()[0].code == "VmBusy"


def test_one_that_was_started_by_hand_meanwhile_and_put_to_sleep_goes_on_where_it_was() -> None:
    past = running()
    past.delete()
    past.come_to("soft")
    past.off()
    past.complete("soft")
    past.happened(VmFoundAwake(ORG, "db", "apps", "h1", ONE, "a" * 32, past.now))
    past.round()
    past.quiesced("db")
    assert past.state_of() == "quiesced"
    answer, (wake,) = past.undelete()
    assert (answer.code, isinstance(wake, WakeOrdered)) == ("Done", True)


def test_nothing_is_taken_back_that_nobody_asked_for() -> None:
    assert running().undelete()[0].code == "DeletionUnknown"


@pytest.mark.parametrize("first", ["cancel", "soft"])
def test_of_a_cancel_and_a_stage_in_one_round_exactly_one_wins(first: str) -> None:
    past = running()
    past.delete()
    past.until("prepare")
    past.due("prepare")
    past.complete("prepare")
    past.until("soft")
    own = past.deletion.id
    asked: dict[str, Any] = {
        "cancel": DeletionCancelRequested(vm="db", start=True, **past.asked()),
        "soft": DeletionDue(ORG, "db", "apps", own, "soft", 1, past.now),
    }
    past.happened(asked.pop(first))
    past.happened(asked.popitem()[1])
    told = [past.round() for _ in range(2)]
    codes = [answer.code for decided in told for answer in decided.answers]
    if first == "cancel":
        assert codes == ["Done", "DeletionOver"]
        assert past.state_of() == "running"
    else:
        assert codes == ["Done", "VmBusy"]
        assert past.state_of() == "stopping"


def test_a_deletion_that_is_over_is_not_gone_on_with_by_another_of_the_same_vm() -> None:
    past = running()
    past.delete()
    former = past.deletion.id
    past.undelete()
    past.delete()
    past.until("prepare")
    assert past.due("prepare", deletion=former)[0].code == "DeletionOver"


def test_events_of_a_deletion_that_was_taken_back_change_nothing() -> None:
    past = running()
    past.delete()
    former = past.deletion
    past.undelete()
    past.happened(DeletionBegun(ORG, "db", "apps", former.id, "soft", True, past.now))
    past.happened(DeletionCompleted(ORG, "db", "apps", former.id, "recycle", past.now))
    after = past.state.deletions.get(former.id)
    assert after is not None
    assert (after.over, after.begun) == ("cancelled", ())
