"""What the gate answers about copies of kept VMs' disks, in bytes, and about disks that are restored from them."""

import datetime as dt

import pytest

from events.copy import CopyFailed, CopyRestoreFailed
from events.gate import BootOrdered, CopyOrdered, DropOrdered, RestoreOrdered
from events.keep import VmCreated
from tests.copying import NIGHT, Copying
from tests.given import ORG
from tests.keeping import GIB


def running(**pool: object) -> Copying:
    past = Copying()
    past.running(**pool)
    return past


def stopped() -> Copying:
    """VM db is off and has a snapshot `before`."""
    past = running()
    past.copied()
    past.off()
    return past


# ---------------------------------------------------------------------------------------------------------- copying


def test_a_snapshot_of_a_vm_that_runs_is_ordered_and_counts_its_disk_whole() -> None:
    past = running()
    past.copy()
    answer, (order,) = past.answer()
    assert isinstance(order, CopyOrdered)
    assert (answer.code, order.copy, order.kind, order.host) == ("Granted", "before", "snapshot", "h1")
    assert order.volume == past.state.volumes.disks[ORG, "db"].volume
    assert [(line.dimension, line.requested) for line in answer.evidence][-1] == ("block_bytes", 10 * GIB)
    assert past.copies_gib == 10
    past.made(order)
    assert (past.copies_gib, past.names) == (10, ["before"])


def test_a_backup_counts_its_disk_until_its_file_is_known() -> None:
    past = running()
    past.copy("weekly", "backup")
    _, (order,) = past.answer()
    assert isinstance(order, CopyOrdered)
    assert past.copies_gib == 10
    past.made(order, gib=3)
    assert past.copies_gib == 3


def test_a_copy_past_the_envelope_is_refused_in_bytes() -> None:
    past = running(disk_gib=17)  # 10 % of allowance: 18.7 GiB
    past.copy()
    answer, orders = past.answer()
    assert (answer.code, answer.outcome, orders) == ("CapExceeded", "refused", ())
    (line,) = [line for line in answer.evidence if line.projected > line.limit]
    assert (line.dimension, line.projected) == ("block_bytes", 20 * GIB)
    assert past.names == []


def test_copies_count_for_whatever_else_wants_bytes() -> None:
    past = running(disk_gib=20)
    past.copied()
    past.create("mail", start=False)
    answer, _ = past.answer()
    assert answer.code == "CapExceeded"


def test_a_copy_that_failed_counts_nothing() -> None:
    past = running()
    past.copy()
    _, (order,) = past.answer()
    assert isinstance(order, CopyOrdered)
    failed = CopyFailed(ORG, "db", "h1", "before", "snapshot", order.id, "refused", "no", past.now)
    past.happened(failed)
    assert (past.names, past.copies_gib) == ([], 0)
    past.happened(failed)
    past.made(order)  # told late: there is none all the same
    assert (past.names, past.copies_gib) == ([], 0)


def test_the_oldest_of_a_kind_goes_when_there_is_one_more_than_the_pool_keeps() -> None:
    past = running(snapshots_kept=2, backups_kept=1)
    past.copied("weekly", "backup")
    past.copied("one")
    past.copied("two")
    past.copy("three")
    _, (order, drop) = past.answer()
    assert isinstance(order, CopyOrdered)
    assert isinstance(drop, DropOrdered)
    assert (drop.copy, drop.cause, drop.kind) == ("one", "retention", "snapshot")
    assert past.copies_gib == 40  # all of them are there until it is gone
    past.made(order)
    past.dropped(drop)
    assert past.names == ["weekly", "two", "three"]
    assert past.copies_gib == 30


def test_a_copy_that_failed_costs_no_older_one() -> None:
    past = running(snapshots_kept=1)
    past.copied("one")
    past.copy("two")
    _, (order, drop) = past.answer()
    assert isinstance(order, CopyOrdered)
    assert isinstance(drop, DropOrdered)
    past.happened(CopyFailed(ORG, "db", "h1", "two", "snapshot", order.id, "refused", "no", past.now))
    assert past.names == ["one"]
    assert past.state.copies.dropping == {}
    assert not past.state.copies.is_busy(ORG, "db")
    past.dropped(drop)  # nobody does that any more, and if somebody did it is none of the ledger's orders
    past.copied("three")
    assert past.names == ["three"]


def test_a_pool_that_keeps_fewer_than_before_drops_several_with_the_next_one() -> None:
    past = running(snapshots_kept=4)
    for name in ("one", "two", "three", "four"):
        past.copied(name)
    past.pool("apps", past.fleet.pools[ORG, "apps"].size, kind="kept", profile="lab", snapshots_kept=2)
    past.copied("five")
    assert past.names == ["four", "five"]


@pytest.mark.parametrize(
    ("name", "code"), [("before", "CopyExists"), ("other", "CopyUnderWay")], ids=["same name", "another"]
)
def test_while_a_copy_is_made_no_other_is(name: str, code: str) -> None:
    past = running()
    past.copy()
    past.answer()
    past.copy(name)
    answer, orders = past.answer()
    assert (answer.code, orders) == (code, ())


def test_a_vm_that_never_ran_has_nothing_to_copy() -> None:
    past = Copying()
    past.setting()
    past.create(start=False)
    past.round()
    past.copy()
    assert past.answer()[0].code == "NoDisk"


def test_nobody_takes_the_name_of_a_nights_backup() -> None:
    past = running()
    past.copy("night-2026-11-22", "backup")
    assert past.answer()[0].code == "NameReserved"


def test_a_copy_that_cannot_be_removed_keeps_no_other_waiting() -> None:
    past = running()
    past.copied()
    past.drop()
    past.answer()
    past.copy("after")
    assert past.answer()[0].code == "Granted"


def test_a_pool_that_keeps_no_snapshots_makes_none() -> None:
    past = running(snapshots_kept=0)
    past.copy()
    assert past.answer()[0].code == "CopiesNotKept"


def test_a_copy_of_nobody_is_none() -> None:
    past = running()
    past.copy(vm="nobody")
    assert past.answer()[0].code == "VmUnknown"


# ---------------------------------------------------------------------------------------------------------- nights


def test_a_night_that_is_asked_twice_has_one_backup() -> None:
    past = running(backups="nightly")
    past.night()
    _, (order,) = past.answer()
    assert isinstance(order, CopyOrdered)
    assert (order.kind, order.copy) == ("backup", "nightly-20261122")
    assert not past.state.copies.has_night(ORG, "db", NIGHT)
    past.night(attempt=2)
    assert past.answer()[0].outcome == "unchanged"
    past.made(order, gib=2)
    assert past.state.copies.has_night(ORG, "db", NIGHT)
    assert past.state.copies.tried(ORG, "db", NIGHT) == 2
    past.night("nightly-20261123", NIGHT + dt.timedelta(days=1))
    assert past.state.copies.tried(ORG, "db", NIGHT) == 2
    assert not past.state.copies.has_night(ORG, "db", NIGHT + dt.timedelta(days=1))


def test_backups_of_nights_go_when_there_are_more_than_the_pool_keeps_and_those_that_people_wanted_stay() -> (
    None
):
    past = running(backups="nightly", backups_kept=2)
    past.copied("wanted", "backup")
    past.copied("wanted-too", "backup")
    for day in range(22, 26):
        past.night(f"nightly-{day}", dt.date(2026, 11, day))
        _, (order, *drops) = past.answer()
        assert isinstance(order, CopyOrdered)
        past.made(order, gib=1)
        for drop in drops:
            assert isinstance(drop, DropOrdered)
            past.dropped(drop)
    assert past.names == ["wanted", "wanted-too", "nightly-24", "nightly-25"]


# ---------------------------------------------------------------------------------------------------------- dropping


def test_a_copy_that_is_dropped_is_gone_and_counts_no_more() -> None:
    past = running()
    past.copied()
    past.drop()
    answer, (order,) = past.answer()
    assert isinstance(order, DropOrdered)
    assert (answer.code, order.cause) == ("Granted", "asked")
    past.drop()
    assert past.answer()[0].code == "CopyUnderWay"
    past.dropped(order)
    assert (past.names, past.copies_gib) == ([], 0)
    past.drop()
    assert past.answer()[0].code == "CopyUnknown"


# ---------------------------------------------------------------------------------------------------------- restoring


def test_a_vm_that_is_off_is_restored_from_its_snapshot_and_does_not_start_meanwhile() -> None:
    past = stopped()
    past.restore()
    answer, (order,) = past.answer()
    assert isinstance(order, RestoreOrdered)
    assert (answer.code, order.vm, order.of, order.size_bytes) == ("Granted", "db", "db", 10 * GIB)
    past.change("start")
    assert past.answer()[0].code == "CopyUnderWay"
    past.drop()
    assert past.answer()[0].code == "CopyUnderWay"
    past.restored(order)
    past.change("start")
    assert past.answer()[0].code == "Granted"


def test_a_disk_that_is_to_grow_is_restored_as_large_as_it_shall_be() -> None:
    past = stopped()
    past.resize(disk_gib=30)
    past.answer()
    past.restore()
    _, (order,) = past.answer()
    assert isinstance(order, RestoreOrdered)
    assert order.size_bytes == 30 * GIB


def test_nobodys_disk_is_changed_under_a_guest_that_runs_or_sleeps() -> None:
    past = running()
    past.copied()
    past.restore()
    assert past.answer()[0].code == "VmRuns"


def test_a_backup_is_never_restored_over_the_vm() -> None:
    past = running()
    past.copied("weekly", "backup")
    past.off()
    past.restore("weekly")
    assert past.answer()[0].code == "BackupNeedsName"


@pytest.mark.parametrize("kind", ["snapshot", "backup"])
def test_a_new_vm_has_the_copys_disk_and_starts_once_that_is_there(kind: str) -> None:
    past = running()
    past.copied(kind=kind)  # type: ignore[arg-type]
    past.restore(into="db-2")
    decision = past.decide()
    assert decision is not None
    (made,), (order,) = decision.facts, decision.decided.orders
    assert isinstance(made, VmCreated)
    assert isinstance(order, RestoreOrdered)
    assert (made.vm, made.size, made.disk_bytes, made.actor) == (
        "db-2",
        past.state.directory.vms[ORG, "db"].size,
        10 * GIB,
        "kim",
    )
    past.stored(decision)
    assert past.used[1] == 20
    past.change("start", vm="db-2")
    assert past.answer()[0].code == "CopyUnderWay"
    past.restored(order)
    past.change("start", vm="db-2")
    _, (boot,) = past.answer()
    assert isinstance(boot, BootOrdered)


def test_a_new_vm_that_could_not_be_given_its_disk_never_was() -> None:
    past = running()
    past.copied()
    past.restore(into="db-2")
    _, (order,) = past.answer()
    assert isinstance(order, RestoreOrdered)
    past.happened(
        CopyRestoreFailed(ORG, "db-2", "h1", "db", "before", order.id, "CopyDamaged", "no", past.now)
    )
    assert past.state.directory.get(ORG, "db-2") is None
    assert past.used[1] == 10
    past.restore(into="db-2")
    assert past.answer()[0].code == "Granted"


def test_a_new_vm_takes_nobodys_name() -> None:
    past = running()
    past.copied()
    past.restore(into="db")
    assert past.answer()[0].code == "NameTaken"


def test_a_new_vm_past_the_envelope_is_none() -> None:
    past = running(disk_gib=20)
    past.copied()
    past.restore(into="db-2")
    decision = past.decide()
    assert decision is not None
    assert decision.facts == ()
    assert decision.decided.answers[0].code == "CapExceeded"


def test_what_nobody_copied_is_not_restored() -> None:
    past = stopped()
    past.restore("another")
    assert past.answer()[0].code == "CopyUnknown"
