"""Ends of a VM that is deleted are heard once: told again, when another has the name, they take nothing from it."""

import pytest

from events.deletion import BackupsErased, DeletionBegun, DeletionCompleted, VmUndefined, VolumeErased
from events.drift import VolumeDrifted
from events.fact import Fact
from events.gate import EraseOrdered
from events.vm import VmDefined
from tests.deleting import Deleting, running
from tests.given import ORG
from tests.keeping import GIB, ONE


def again() -> tuple[Deleting, str, str, str]:
    """Another VM db runs, has a snapshot and a backup; and the ids by which the former one ended."""
    past = running()
    past.delete()
    past.copied("weekly", "backup")
    (erase,) = past.come_to("hard")
    assert isinstance(erase, EraseOrdered)
    own = past.deletion.id
    past.erased((erase,))
    past.complete("hard")
    past.until("purge")
    _, (purge,) = past.due("purge")
    past.happened(BackupsErased(ORG, "db", "h1", purge.id, 1, past.now))
    past.complete("purge")
    past.until("recycle")
    past.due("recycle")
    past.complete("recycle")
    past.create("db")
    past.round()
    past.runs()
    defined = VmDefined(
        ORG, "db", "apps", "h1", ONE, "vs-acme.db", "u", "127.0.0.1:1", past.reservation("db")
    )
    past.happened(defined)
    past.copied("before")
    past.copied("monday", "backup")
    return past, own, erase.id, purge.id


@pytest.mark.parametrize("what", range(6))
def test_what_ended_the_former_vm_ends_nothing_of_the_one_that_has_its_name(what: int) -> None:
    past, own, erase, purge = again()
    ends: tuple[Fact, ...] = (
        DeletionBegun(ORG, "db", "apps", own, "hard", False, past.now),
        VmUndefined(ORG, "db", "h1", erase, past.now),
        VolumeErased(ORG, "db", "h1", erase, None, 0, past.now),
        DeletionCompleted(ORG, "db", "apps", own, "hard", past.now),
        BackupsErased(ORG, "db", "h1", purge, 1, past.now),
        DeletionCompleted(ORG, "db", "apps", own, "recycle", past.now),
    )
    past.happened(ends[what])
    state = past.state
    assert past.state_of() == "running"
    assert state.directory.get(ORG, "db") is not None
    assert (ORG, "db") in state.volumes.disks
    assert past.names == ["before", "monday"]
    assert past.used == (1, 10)
    assert state.leases.holds_name(ORG, "db")
    assert state.leases.addresses == {"127.0.0.1:1": (ORG, "db")}


def test_a_disk_that_is_gone_counts_nothing_whatever_is_told_late_of_it() -> None:
    past = running()
    past.delete()
    past.erased(past.come_to("hard"))
    past.happened(
        VolumeDrifted(ORG, "db", "h1", "size", "10", "50", "none", 50 * GIB, past.now),
    )
    assert past.used == (0, 0)


def test_no_disk_grows_while_it_is_copied_for_the_copy_counts_it_as_it_was() -> None:
    past = running()
    past.copy()
    past.answer()
    past.resize(disk_gib=20)
    assert past.answer()[0].code == "CopyUnderWay"


@pytest.mark.parametrize(("stage", "copy"), [("hard", "before"), ("purge", "weekly")])
def test_no_vm_is_made_from_a_copy_that_is_being_erased(stage: str, copy: str) -> None:
    past = running()
    past.copied("before")
    past.copied("weekly", "backup")
    past.delete()
    past.come_to(stage)  # type: ignore[arg-type]
    past.restore(copy, into="db-2")
    assert past.answer()[0].code == "BeingDeleted"
