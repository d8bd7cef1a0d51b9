"""What the gate answers about deletions: the deleter says what is due, people take it back, and the gate's own clock decides."""

import datetime as dt
from typing import Any

import pytest

from events.deletion import (
    DeletionBegun,
    DeletionCancelled,
    DeletionCancelRequested,
    DeletionCompleted,
    DeletionDue,
    DeletionRequested,
    DeletionScheduled,
    VmUndefined,
    VolumeErased,
)
from events.gate import Answer, BootOrdered, EraseOrdered, Order, StopOrdered
from projections.deletions.fold import Deletion
from schemas.deletion import STAGES, Stage
from schemas.vm_intake import VmChange
from tests.copying import Copying
from tests.given import NOW, ORG
from tests.keeping import ONE

DAY = dt.date(2026, 12, 1)


class Deleting(Copying):
    """VM db, and what is asked about its deletion."""

    def delete(self, day: dt.date = DAY, policy: str | None = None) -> Answer:
        self.happened(DeletionRequested(vm="db", day=day, policy=policy, **self._asked()))
        return self.answer()[0]

    def undelete(self, *, start: bool = True) -> tuple[Answer, tuple[Order, ...]]:
        self.happened(DeletionCancelRequested(vm="db", start=start, **self._asked()))
        return self.answer()

    def due(self, stage: Stage, *, deletion: str | None = None) -> tuple[Answer, tuple[Order, ...]]:  # type: ignore[override]
        own = deletion or self.deletion.id
        self.happened(DeletionDue(ORG, "db", "apps", own, stage, 1, self.now))
        return self.answer()

    def complete(self, stage: Stage) -> None:
        self.happened(DeletionCompleted(ORG, "db", "apps", self.deletion.id, stage, self.now))

    @property
    def deletion(self) -> Deletion:
        found = self.state.deletions.of(ORG, "db")
        assert found is not None
        return found

    def until(self, stage: Stage) -> None:
        """It is the instant of the stage."""
        self.later((self.deletion.instant(stage) - self.now).total_seconds())

    def come_to(self, stage: Stage) -> tuple[Order, ...]:
        """The stage begins, each one before it is complete; what is ordered by it."""
        for one in STAGES:
            self.until(one)
            answer, orders = self.due(one)
            assert answer.code == "Done", (one, answer)
            if one == stage:
                return orders
            if one == "soft" and orders:
                self.off()
            if one == "hard":
                self.erased(orders)
            self.complete(one)
        raise AssertionError(stage)

    def erased(self, orders: tuple[Order, ...]) -> None:
        (order,) = orders
        assert isinstance(order, EraseOrdered)
        self.happened(VmUndefined(ORG, "db", "h1", order.id, self.now))
        self.happened(VolumeErased(ORG, "db", "h1", order.id, order.volume, 1, self.now))


def running(**pool: Any) -> Deleting:
    past = Deleting()
    past.running(**pool)
    return past


# -------------------------------------------------------------------------------------------------------- scheduling


def test_all_instants_and_the_policy_are_fixed_when_it_is_scheduled() -> None:
    past = running()
    past.happened(DeletionRequested(vm="db", day=DAY, policy=None, **past._asked()))
    decision = past.decide()
    assert decision is not None
    (fact,) = decision.facts
    assert isinstance(fact, DeletionScheduled)
    assert (fact.schedule.policy, fact.schedule.zone, fact.schedule.day) == (
        "deletion-2024-10",
        "Europe/Berlin",
        DAY,
    )
    assert fact.schedule.soft == dt.datetime(2026, 11, 30, 23, tzinfo=dt.UTC)
    assert fact.schedule.purge == dt.datetime(2027, 1, 1, 23, tzinfo=dt.UTC)
    assert decision.decided.orders == ()


def test_an_older_policy_is_chosen_by_name() -> None:
    past = running()
    past.delete(policy="deletion-2019-03")
    assert past.deletion.schedule.purge == dt.datetime(2026, 12, 8, 23, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("day", "code"),
    [
        (NOW.date(), "DeletionTooSoon"),
        (NOW.date() - dt.timedelta(days=1), "DeletionTooSoon"),
        (NOW.date() + dt.timedelta(days=400), "DeletionTooFar"),
    ],
)
def test_a_day_that_cannot_be_is_refused(day: dt.date, code: str) -> None:
    assert running().delete(day).code == code


def test_an_unknown_policy_is_refused() -> None:
    assert running().delete(policy="deletion-1999-01").code == "PolicyUnknown"


def test_a_vm_is_deleted_once() -> None:
    past = running()
    past.delete()
    assert past.delete().code == "DeletionStands"


def test_a_protected_vm_is_not_deleted_and_one_that_is_to_be_deleted_is_not_protected() -> None:
    past = running()
    past.change("protect")
    past.round()
    assert past.delete().code == "Protected"
    past.change("unprotect")
    past.round()
    assert past.delete().code == "Done"
    past.change("protect")
    assert past.answer()[0].code == "DeletionStands"


def test_a_vm_on_its_way_up_is_not_deleted() -> None:
    past = Deleting()
    past.setting()
    past.create()
    past.round()
    assert past.delete().code == "VmBusy"


def test_nobodys_vm_is_deleted() -> None:
    past = Deleting()
    past.setting()
    assert past.delete().code == "VmUnknown"


# ------------------------------------------------------------------------------------------------------------ stages


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_begins_a_second_early_by_the_gates_own_clock(stage: Stage) -> None:
    past = running()
    past.delete()
    for one in STAGES[: STAGES.index(stage)]:
        past.until(one)
        _, orders = past.due(one)
        if one == "soft":
            past.off()
        if one == "hard":
            past.erased(orders)
        past.complete(one)
    past.until(stage)
    past.later(-1)
    assert past.due(stage)[0].code == "DeletionEarly"
    past.later(1)
    assert past.due(stage)[0].code == "Done"


def test_a_stage_waits_until_the_one_before_it_is_complete_however_late_it_is() -> None:
    past = running()
    past.delete()
    past.until("recycle")
    assert past.due("soft")[0].code == "DeletionEarly"
    assert past.due("prepare")[0].code == "Done"
    assert past.due("soft")[0].code == "DeletionEarly"
    past.complete("prepare")
    assert past.due("hard")[0].code == "DeletionEarly"
    assert past.due("soft")[0].code == "Done"


def test_a_vm_that_runs_is_stopped_with_its_time_to_shut_down_and_counts_until_it_is_off() -> None:
    past = running(grace_seconds=45)
    past.delete()
    (stop,) = past.come_to("soft")
    assert isinstance(stop, StopOrdered)
    assert stop.grace_seconds == 45
    assert (past.deletion.ran, past.used) == (True, (1, 10))
    past.off()
    assert past.used == (0, 10)


def test_a_vm_that_is_off_is_left_so() -> None:
    past = running()
    past.off()
    past.delete()
    assert past.come_to("soft") == ()
    assert not past.deletion.ran


def test_a_stage_that_is_due_twice_begins_once() -> None:
    past = running()
    past.delete()
    past.come_to("soft")
    answer, orders = past.due("soft")
    assert (answer.outcome, answer.code, orders) == ("unchanged", "AlreadyDone", ())


@pytest.mark.parametrize("change", ["start", "reboot"])
def test_a_vm_that_was_stopped_for_its_deletion_is_not_started(change: VmChange) -> None:
    past = running()
    past.delete()
    past.come_to("soft")
    past.off()
    past.change(change)
    assert past.answer()[0].code == "BeingDeleted"
    past.resize(disk_gib=20)
    assert past.answer()[0].code == "BeingDeleted"
    past.copy("last")
    assert past.answer()[0].code == "BeingDeleted"


def test_the_disk_is_erased_where_it_is_and_the_vm_is_in_no_directory_from_then_on() -> None:
    past = running()
    past.copied("weekly", "backup")
    past.copied("before")
    past.delete()
    (erase,) = past.come_to("hard")
    assert isinstance(erase, EraseOrdered)
    assert (erase.what, erase.host, erase.volume) == ("disk", "h1", "/disks/acme.db.qcow2")
    assert past.state.directory.get(ORG, "db") is None
    assert past.used == (0, 10)
    past.erased((erase,))
    past.complete("hard")
    assert (past.used, past.names) == ((0, 0), ["weekly"])
    assert (ORG, "db") not in past.fleet.vms
    past.create("db")
    assert past.answer()[0].code == "NameTaken"


def test_a_copy_under_way_is_waited_for_before_anything_is_erased() -> None:
    past = running()
    past.delete()
    past.until("prepare")
    past.due("prepare")
    past.complete("prepare")
    past.copy()
    past.answer()
    past.until("soft")
    past.due("soft")
    past.off()
    past.complete("soft")
    past.until("hard")
    assert past.due("hard")[0].code == "CopyUnderWay"


def test_a_new_vm_is_made_from_a_backup_until_that_is_erased_too() -> None:
    past = running()
    past.copied("weekly", "backup")
    past.delete()
    past.erased(past.come_to("hard"))
    past.complete("hard")
    past.restore("weekly", into="db-2")
    answer, (order,) = past.answer()
    assert answer.code == "Granted"
    past.until("purge")
    assert past.due("purge")[0].code == "CopyUnderWay"
    past.restored(order)  # type: ignore[arg-type]
    _, (erase,) = past.due("purge")
    assert isinstance(erase, EraseOrdered)
    assert (erase.what, erase.host) == ("backups", "h1")


def test_the_name_is_free_when_the_last_stage_is_complete_and_not_before() -> None:
    past = running()
    past.delete()
    past.come_to("recycle")
    past.create("db", size=ONE)
    assert past.answer()[0].code == "NameTaken"
    past.complete("recycle")
    past.create("db", size=ONE)
    assert past.answer()[0].code == "Granted"
    assert past.state.deletions.of(ORG, "db") is None


# ------------------------------------------------------------------------------------------------------ taken back


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
    past.happened(DeletionCancelRequested(vm="db", start=True, **past._asked()))
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
        "cancel": DeletionCancelRequested(vm="db", start=True, **past._asked()),
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
