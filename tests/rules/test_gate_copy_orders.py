"""Orders about copies as they stand in the ledger, whole; and each reason for which there is none."""

import datetime as dt
from collections.abc import Callable

import pytest

from events.envelope import Recorded
from events.gate import CopyOrdered, DropOrdered, RestoreOrdered
from events.keep import VmCreated
from schemas.copy import MOST_COPIES
from tests.copying import NIGHT, Copying
from tests.deleting import Deleting
from tests.given import ORG
from tests.keeping import GIB, ONE, named

PLACE = "/disks/acme.db.qcow2"


def running(**pool: object) -> Deleting:
    past = Deleting()
    past.running(**pool)
    return past


def stopped() -> Deleting:
    """VM db is off and has a snapshot `before`."""
    past = running()
    past.copied()
    past.off()
    return past


# ------------------------------------------------------------------------------------------------------------- whole


def test_a_copy_is_ordered_where_the_disk_lies_and_the_one_too_many_goes_where_that_lay() -> None:
    past = running(snapshots_kept=1)
    past.copied("one")
    past.host("h2")
    asked = past.copy("two")
    answer, orders = past.answer()
    assert (answer.asked, answer.granted) == (1, 1)
    assert orders == (
        CopyOrdered(
            id=named(asked, "copy.ordered", "db"),
            vm="db",
            pool="apps",
            host="h1",
            volume=PLACE,
            copy="two",
            kind="snapshot",
            size_bytes=10 * GIB,
            request=asked.id,
        ),
        DropOrdered(
            id=named(asked, "drop.ordered", "db", "one"),
            vm="db",
            pool="apps",
            host="h1",
            copy="one",
            kind="snapshot",
            place=PLACE,
            cause="retention",
            request=asked.id,
        ),
    )


def test_a_copy_that_somebody_wants_gone_goes_from_where_it_is() -> None:
    past = running()
    past.copied("weekly", "backup")
    asked = past.drop("weekly")
    _, orders = past.answer()
    assert orders == (
        DropOrdered(
            id=named(asked, "drop.ordered", "db", "weekly"),
            vm="db",
            pool="apps",
            host="h1",
            copy="weekly",
            kind="backup",
            place="/backups/db/weekly",
            cause="asked",
            request=asked.id,
        ),
    )


def test_a_new_vm_is_what_its_origin_was_but_for_its_name_its_seed_and_its_protection() -> None:
    past = running()
    past.copied("weekly", "backup")
    past.change("protect")
    past.round()
    asked = past.restore("weekly", into="db-2")
    decision = past.decide()
    assert decision is not None
    assert decision.facts == (
        VmCreated(
            org=ORG,
            vm="db-2",
            pool="apps",
            size=ONE,
            image="tiny",
            kind="lab",
            readiness="http",
            disk_bytes=10 * GIB,
            seed=None,
            protected=False,
            actor="kim",
            created_at=past.now,
        ),
    )
    assert decision.decided.orders == (
        RestoreOrdered(
            id=named(asked, "restore.ordered", "db-2"),
            vm="db-2",
            pool="apps",
            host="h1",
            of="db",
            copy="weekly",
            kind="backup",
            place="/backups/db/weekly",
            template="tiny",
            size_bytes=10 * GIB,
            request=asked.id,
        ),
    )
    (answer,) = decision.decided.answers
    assert [(line.dimension, line.requested) for line in answer.evidence][-1] == ("block_bytes", 10 * GIB)


def test_a_disk_that_has_grown_since_stays_as_large_when_it_is_restored() -> None:
    past = running()
    past.copied()
    past.resize(disk_gib=20)
    _, (grow,) = past.answer()
    past.grown(grow)
    past.off()
    asked = past.restore()
    _, orders = past.answer()
    assert orders == (
        RestoreOrdered(
            id=named(asked, "restore.ordered", "db"),
            vm="db",
            pool="apps",
            host="h1",
            of="db",
            copy="before",
            kind="snapshot",
            place=PLACE,
            template="tiny",
            size_bytes=20 * GIB,
            request=asked.id,
        ),
    )


def test_a_disk_that_is_about_to_grow_is_copied_as_large_as_it_will_be() -> None:
    past = running()
    past.resize(disk_gib=40)
    past.round()
    past.copy()
    _, (order,) = past.answer()
    assert isinstance(order, CopyOrdered)
    assert order.size_bytes == 40 * GIB


# ------------------------------------------------------------------------------------------------------- copies, not


def test_a_night_whose_backup_is_there_is_left_alone() -> None:
    past = running(backups="nightly")
    past.night()
    past.round()
    past.night(attempt=2)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.asked, orders) == ("unchanged", "AlreadyDone", 1, ())


def test_a_vm_has_so_many_copies_and_no_more() -> None:
    past = running(disk_gib=100 * MOST_COPIES)
    for number in range(MOST_COPIES):
        past.copied(f"b{number}", "backup", gib=1)
    past.copy("another", "backup")
    assert past.answer()[0].code == "CopiesFull"
    past.drop("b0")
    _, (drop,) = past.answer()
    assert isinstance(drop, DropOrdered)
    past.dropped(drop)
    past.copy("another", "backup")
    assert past.answer()[0].code == "Granted"


def test_a_backup_from_which_a_disk_is_being_restored_is_not_the_one_that_goes() -> None:
    past = running(backups="nightly", backups_kept=1)
    past.night()
    _, (order,) = past.answer()
    assert isinstance(order, CopyOrdered)
    past.made(order, gib=1)
    past.restore(order.copy, into="db-2")
    _, (restore,) = past.answer()
    past.copy("by-hand", "backup")
    assert past.answer()[0].code == "CopyUnderWay"
    past.drop(order.copy)
    assert past.answer()[0].code == "CopyUnderWay"
    assert isinstance(restore, RestoreOrdered)
    past.restored(restore)
    past.night("nightly-20261123", NIGHT + dt.timedelta(days=1))
    _, (_, drop) = past.answer()
    assert isinstance(drop, DropOrdered)
    assert drop.copy == order.copy


def test_a_copy_of_which_nothing_is_read_goes_while_another_is_read() -> None:
    past = running()
    past.copied("weekly", "backup")
    past.copied("daily", "backup")
    past.restore("weekly", into="db-2")
    past.round()
    past.drop("daily")
    assert past.answer()[0].code == "Granted"


# ------------------------------------------------------------------------------------------------------ restored, not


def begun(stage: str) -> Deleting:
    """VM db has a snapshot and a backup, and that stage of its deletion has begun."""
    past = running()
    past.copied()
    past.copied("weekly", "backup")
    past.delete()
    past.come_to(stage)  # type: ignore[arg-type]
    return past


def ordered() -> Deleting:
    past = running()
    past.copied()
    past.copy("after")
    past.round()
    past.off()
    return past


def asleep() -> Deleting:
    past = running()
    past.copied()
    past.quiesced("db")
    return past


def without_its_host() -> Deleting:
    past = stopped()
    past.host("h2")
    past.cordoned("h1")
    return past


def with_other_limits() -> Deleting:
    past = stopped()
    past.pool("apps", ONE, kind="kept", profile="managed")
    return past


@pytest.mark.parametrize(
    ("past", "ask", "code"),
    [
        (running, lambda p: p.restore(vm="nobody"), "VmUnknown"),
        (stopped, lambda p: p.restore("another"), "CopyUnknown"),
        (ordered, lambda p: p.restore("after"), "CopyUnderWay"),
        (ordered, lambda p: p.restore("before"), "CopyUnderWay"),
        (ordered, lambda p: p.restore("before", into="db-2"), "CopyUnderWay"),
        (asleep, lambda p: p.restore(), "VmSleeps"),
        (lambda: begun("soft"), lambda p: p.restore(), "BeingDeleted"),
        (lambda: begun("hard"), lambda p: p.restore(into="db-2"), "BeingDeleted"),
        (lambda: begun("hard"), lambda p: p.drop("weekly"), "BeingDeleted"),
        (lambda: begun("purge"), lambda p: p.restore("weekly", into="db-2"), "BeingDeleted"),
        (without_its_host, lambda p: p.restore(into="db-2"), "HostGone"),
        (with_other_limits, lambda p: p.restore(into="db-2"), "DiskTooSmall"),
    ],
)
def test_nothing_is_ordered_where_it_could_not_be_carried_out(
    past: Callable[[], Deleting], ask: Callable[[Deleting], Recorded], code: str
) -> None:
    there = past()
    ask(there)
    decision = there.decide()
    assert decision is not None
    assert (decision.facts, decision.decided.orders) == ((), ())
    (answer,) = decision.decided.answers
    assert (answer.outcome, answer.code, answer.asked, answer.granted) == ("refused", code, 1, 0)


def test_a_copy_is_of_the_pool_that_was_asked() -> None:
    past = stopped()
    past.pool("web", ONE, kind="kept", profile="lab")
    past.restore(pool="web")
    assert past.answer()[0].code == "VmUnknown"


def test_what_would_not_fit_is_refused_with_its_numbers() -> None:
    past = running(disk_gib=20)
    past.copied()
    past.restore(into="db-2")
    answer, _ = past.answer()
    assert answer.code == "CapExceeded"
    assert [line.projected for line in answer.evidence if line.projected > line.limit] == [30 * GIB]


# ------------------------------------------------------------------------------------------------------------- where


def test_a_backup_is_read_on_any_host_that_is_there() -> None:
    past = running()
    past.copied("weekly", "backup")
    past.host("h2")
    past.cordoned("h1")
    past.restore("weekly", into="db-2")
    _, (order,) = past.answer()
    assert isinstance(order, RestoreOrdered)
    assert order.host == "h2"


def test_a_snapshot_in_a_cluster_is_read_from_any_host_that_is_there() -> None:
    past = running(storage="ceph")
    past.copied()
    past.host("h2")
    past.cordoned("h1")
    past.restore(into="db-2")
    _, (order,) = past.answer()
    assert isinstance(order, RestoreOrdered)
    assert (order.host, order.place) == ("h2", "org-acme/db")


def test_where_no_host_is_there_no_backup_is_read() -> None:
    past = running()
    past.copied("weekly", "backup")
    past.cordoned("h1")
    past.restore("weekly", into="db-2")
    assert past.answer()[0].code == "HostGone"


def test_another_vms_copy_is_not_this_ones() -> None:
    past = Copying()
    past.running()
    past.copied()
    past.create("mail", start=False)
    past.round()
    past.drop(vm="mail")
    assert past.answer()[0].code == "CopyUnknown"


def test_a_copy_that_is_on_its_way_out_takes_no_other_with_it() -> None:
    past = running(snapshots_kept=2)
    past.copied("one")
    past.copied("two")
    past.drop("one")
    past.round()
    past.copy("three")
    answer, orders = past.answer()
    assert (answer.code, len(orders)) == ("Granted", 1)
    assert [one.name for one in past.state.copies.of(ORG, "db") if one.state != "dropping"] == [
        "two",
        "three",
    ]
