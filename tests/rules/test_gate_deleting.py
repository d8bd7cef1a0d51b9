"""What the gate answers about deletions: the deleter says what is due, people take it back, and the gate's own clock decides."""

import datetime as dt

import pytest

from events.deletion import (
    DeletionCompleted,
    DeletionDue,
    DeletionRequested,
    DeletionScheduled,
    VmUndefined,
)
from events.gate import EraseOrdered, StopOrdered
from events.vm import VmFoundAwake
from schemas.deletion import STAGES, Stage
from schemas.vm_intake import VmChange
from tests.deleting import DAY, Deleting, running
from tests.given import NOW, ORG
from tests.keeping import ONE

RESERVATION = "0199c0de-0000-7000-8000-000000000001"

# -------------------------------------------------------------------------------------------------------- scheduling


def test_all_instants_and_the_policy_are_fixed_when_it_is_scheduled() -> None:
    past = running()
    past.happened(DeletionRequested(vm="db", day=DAY, policy=None, **past.asked()))
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


def test_the_disk_is_erased_on_its_own_host_when_the_vm_was_last_found_on_another() -> None:
    past = running()
    past.host("h2")
    past.off()
    past.happened(VmFoundAwake(ORG, "db", "apps", "h2", ONE, RESERVATION, past.now))
    past.off()
    past.delete()
    (erase,) = past.come_to("hard")
    assert isinstance(erase, EraseOrdered)
    assert (past.fleet.vms[ORG, "db"].host, erase.host) == ("h2", "h1")
    for host in ("h2", "h1"):
        assert not past.deletion.undefined, "the host of the disk has its domain still"
        past.happened(VmUndefined(ORG, "db", host, erase.id, past.now))
    assert past.deletion.undefined


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


def test_a_scaled_pool_gives_no_vm_the_name_of_one_that_is_deleted_and_not_recycled_yet() -> None:
    past = Deleting()
    past.setting(vcpu=100)
    past.create("shop-1", start=False)
    past.round()
    past.happened(DeletionRequested(vm="shop-1", day=DAY, policy=None, **past.asked()))
    past.answer()
    deletion = past.state.deletions.of(ORG, "shop-1")
    assert deletion is not None
    for stage in STAGES[:3]:
        past.later((deletion.instant(stage) - past.now).total_seconds())
        past.happened(DeletionDue(ORG, "shop-1", "apps", deletion.id, stage, 1, past.now))
        past.answer()
        past.happened(DeletionCompleted(ORG, "shop-1", "apps", deletion.id, stage, past.now))
    past.pool("shop")
    past.scale("shop", add=1)
    _, (boot,) = past.answer()
    assert boot.vm == "shop-2"
