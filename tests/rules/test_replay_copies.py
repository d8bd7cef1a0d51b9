"""When the last copy of a VM's disk vanished, and who asked for that: read from the ledger alone."""

import msgspec

from events.copy import CopyFailed
from events.deletion import BackupsErased, DeletionScheduled, VolumeErased
from events.gate import CopyOrdered, DropOrdered, EraseOrdered
from replay.copies import NIGHTLY, Copied, Past, sentence
from schemas.deletion import POLICIES, stages
from tests.copying import NIGHT, Copying
from tests.given import ORG


def past_of(ledger: Copying, vm: str = "db") -> Past:
    past = Past(ORG, vm)
    for recorded in ledger.lines:
        if type(recorded.fact) in Past.TAKES:
            past.apply(recorded)
    return past


def running(**pool: object) -> Copying:
    ledger = Copying()
    ledger.running(**pool)
    return ledger


def only(past: Past, copy: str) -> Copied:
    (found,) = [one for one in past.copies if one.copy == copy]
    return found


def drops(ledger: Copying) -> None:
    """What was ordered to go is gone."""
    _, orders = ledger.answer()
    for order in orders:
        assert isinstance(order, DropOrdered)
        ledger.dropped(order)


def test_a_vm_without_any_copy_never_had_one() -> None:
    past = past_of(running())
    assert (past.copies, past.vanished) == ((), None)
    assert sentence(past, ORG, "db") == "No copy of acme/db was ever made."


def test_a_copy_says_who_had_it_made_and_a_backup_of_the_night_that_the_pool_did() -> None:
    ledger = running()
    ledger.copied("before")
    ledger.night()
    _, (order,) = ledger.answer()
    assert isinstance(order, CopyOrdered)
    ledger.made(order, gib=2)
    past = past_of(ledger)
    asked = only(past, "before").asked
    assert asked is not None
    assert (asked.actor, asked.reason) == ("kim", "because")
    nightly = only(past, "nightly-20261122").asked
    assert nightly is not None
    assert (nightly.actor, nightly.reason) == (NIGHTLY, f"the night of {NIGHT} (try 1)")
    assert sentence(past, ORG, "db") == "acme/db has 2 copies; the newest is the backup nightly-20261122."


def test_the_last_copy_that_was_dropped_is_named_with_who_asked_for_it() -> None:
    ledger = running()
    for name in ("one", "two"):
        ledger.copied(name)
    for name in ("two", "one"):
        ledger.drop(name)
        drops(ledger)
    past = past_of(ledger)
    assert past.vanished is not None
    assert past.vanished.copy == "one"
    assert past.vanished.seq == ledger.lines[-1].seq
    assert "its last one, the snapshot one, went: asked for by kim (because)." in sentence(past, ORG, "db")
    ledger.copied("three")
    again = past_of(ledger)
    assert again.vanished is None
    assert [one.copy for one in again.emptied] == ["one"], "that it had none for a while stays known"


def test_behind_a_copy_that_made_room_stands_who_had_the_newest_made() -> None:
    ledger = running(snapshots_kept=1)
    ledger.copied("one")
    ledger.copied("two")
    past = past_of(ledger)
    one = only(past, "one")
    assert (one.cause, one.is_there, only(past, "two").is_there) == ("retention", False, True)
    assert one.gone_asked is not None
    assert one.gone_asked.actor == "kim"
    assert past.emptied == []


def test_behind_copies_that_went_with_their_vm_stands_who_had_it_deleted() -> None:
    ledger = running()
    ledger.copied("one")
    ledger.copied("night", "backup", gib=2)
    deletion, schedule = "d" * 32, stages(NIGHT, "Europe/Berlin", POLICIES[-1])
    ledger.happened(DeletionScheduled(ORG, "db", "apps", deletion, schedule, "ada", "not needed", ledger.now))
    disk = EraseOrdered("1" * 32, "db", "apps", "h1", "disk", None, deletion, "e" * 32)
    ledger.decided(disk)
    ledger.happened(VolumeErased(ORG, "db", "h1", disk.id, "/disks/acme.db.qcow2", 1, ledger.now))
    assert past_of(ledger).vanished is None, "the backup is there"
    backups = EraseOrdered("2" * 32, "db", "apps", "h1", "backups", None, deletion, "f" * 32)
    ledger.decided(backups)
    ledger.happened(BackupsErased(ORG, "db", "h1", backups.id, 1, ledger.now))
    past = past_of(ledger)
    assert [one.cause for one in past.copies] == ["deletion", "deletion"]
    assert "the backup night, went: the VM was deleted by ada (not needed)." in sentence(past, ORG, "db")


def test_a_copy_that_failed_was_never_there_and_does_not_vanish() -> None:
    ledger = running()
    ledger.copy()
    _, (order,) = ledger.answer()
    assert isinstance(order, CopyOrdered)
    ledger.happened(
        CopyFailed(ORG, "db", "h1", order.copy, order.kind, order.id, "Storage", "disk full", ledger.now)
    )
    past = past_of(ledger)
    assert only(past, "before").failed == "Storage: disk full"
    assert past.vanished is None


def test_what_is_told_twice_and_what_is_another_vms_changes_nothing() -> None:
    ledger = running()
    ledger.copied("one")
    ledger.drop("one")
    drops(ledger)
    past = past_of(ledger)
    before = msgspec.json.encode([past.copies, past.emptied])
    for recorded in ledger.lines[-3:]:
        past.apply(recorded)
    assert msgspec.json.encode([past.copies, past.emptied]) == before
    assert past_of(ledger, "other").copies == ()


def test_that_a_copy_went_is_told_once_more_when_its_name_is_another_copys() -> None:
    ledger = running()
    ledger.copied("one")
    ledger.drop("one")
    drops(ledger)
    went = ledger.lines[-1].fact
    ledger.copied("one")
    ledger.happened(went)
    past = past_of(ledger)
    assert [one.is_there for one in past.copies] == [False, True]
    assert past.vanished is None
