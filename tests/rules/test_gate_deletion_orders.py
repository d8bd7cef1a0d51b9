"""What follows from deletions as it stands in the ledger, whole; and each reason for which nothing does."""

import datetime as dt
from collections.abc import Callable

import pytest

from events.deletion import (
    DeletionBegun,
    DeletionCancelled,
    DeletionCancelRequested,
    DeletionDue,
    DeletionRequested,
    DeletionScheduled,
    VolumeErased,
)
from events.envelope import Recorded
from events.gate import BootOrdered, EraseOrdered, Order, StopOrdered
from events.ids import derive
from schemas.capacity import Size
from schemas.deletion import STAGES, Stage, policy, scheduled
from schemas.maintenance import Window
from tests.deleting import DAY, Deleting, running
from tests.given import ORG
from tests.keeping import ONE, Keeping, named


def soft(**pool: object) -> Deleting:
    """VM db ran, was stopped for its deletion, and is off."""
    past = running(**pool)
    past.delete()
    past.come_to("soft")
    past.off()
    past.complete("soft")
    return past


def due(past: Deleting, stage: Stage) -> Recorded:
    """Its instant has come, and the deleter says so."""
    past.until(stage)
    return past.happened(DeletionDue(ORG, "db", "apps", past.deletion.id, stage, 1, past.now))


# ------------------------------------------------------------------------------------------------------------- whole


def test_a_deletion_is_scheduled_with_its_instants_and_with_who_asked_and_why() -> None:
    past = running()
    asked = past.happened(DeletionRequested(vm="db", day=DAY, policy=None, **past.asked()))
    decision = past.decide()
    assert decision is not None
    assert decision.facts == (
        DeletionScheduled(
            org=ORG,
            vm="db",
            pool="apps",
            deletion=named(asked, "deletion", "db"),
            schedule=scheduled(DAY, "Europe/Berlin", policy(past.now), past.now),
            actor="kim",
            reason="because",
            scheduled_at=past.now,
        ),
    )
    (answer,) = decision.decided.answers
    assert (answer.outcome, answer.code, answer.asked, answer.granted) == ("admitted", "Done", 1, 1)


def ordered(past: Deleting, stage: Stage, asked: Recorded) -> tuple[Order, ...]:
    own, of = past.deletion.id, {"vm": "db", "pool": "apps", "host": "h1"}
    match stage:
        case "soft":
            reservation = past.reservation("db")
            return (
                StopOrdered(
                    id=derive(reservation, "stop", "db"),
                    reservation=reservation,
                    request=asked.id,
                    grace_seconds=past.fleet.pools[ORG, "apps"].grace_seconds,
                    **of,
                ),
            )
        case "hard" | "purge":
            what = "disk" if stage == "hard" else "backups"
            return (
                EraseOrdered(
                    id=named(asked, "erase.ordered", "db", what),
                    what=what,
                    volume="/disks/acme.db.qcow2" if stage == "hard" else None,
                    deletion=own,
                    request=asked.id,
                    **of,
                ),
            )
        case "prepare" | "recycle":
            return ()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_begins_with_what_belongs_to_it(stage: Stage) -> None:
    past = running()
    past.delete()
    if stage != "prepare":
        before = STAGES[STAGES.index(stage) - 1]
        last = past.come_to(before)
        if before == "soft":
            past.off()
        if before == "hard":
            past.erased(last)
        past.complete(before)
    asked = due(past, stage)
    shall = ordered(past, stage, asked)
    decision = past.decide()
    assert decision is not None
    assert decision.facts == (
        DeletionBegun(ORG, "db", "apps", past.deletion.id, stage, stage == "soft", past.now),
    )
    assert decision.decided.orders == shall


def test_a_deletion_is_taken_back_by_somebody_for_a_reason_and_its_vm_starts_where_its_disk_is() -> None:
    past = soft()
    past.host("h2")
    own = past.deletion.id
    asked = past.happened(DeletionCancelRequested(vm="db", start=True, **past.asked()))
    decision = past.decide()
    assert decision is not None
    assert decision.facts == (DeletionCancelled(ORG, "db", "apps", own, "kim", "because", past.now),)
    (boot,) = decision.decided.orders
    assert isinstance(boot, BootOrdered)
    assert (boot.id, boot.host, boot.purpose) == (named(asked, "boot.ordered", "db"), "h1", "keep")
    (answer,) = decision.decided.answers
    assert [line.dimension for line in answer.evidence] == ["vcpu", "memory_mib"]


# ------------------------------------------------------------------------------------------------------------ nothing


def without_its_host() -> Deleting:
    past = soft()
    past.host("h2")
    past.cordoned("h1")
    return past


def on_a_full_host() -> Deleting:
    past = soft(disk_gib=1000)
    past.create("other", size=Size("own-2x60000", 2, 60_000))
    past.round()
    past.create("more", size=Size("own-1x6000", 1, 5_000))
    past.round()
    return past


@pytest.mark.parametrize(("past", "code"), [(without_its_host, "HostGone"), (on_a_full_host, "HostsFull")])
def test_a_vm_that_cannot_start_again_stays_off_and_its_deletion_stands(
    past: Callable[[], Deleting], code: str
) -> None:
    there = past()
    answer, orders = there.undelete()
    assert (answer.outcome, answer.code, orders) == ("refused", code, ())
    assert answer.evidence[-1].dimension == "host_memory_mib"
    assert there.deletion.begun == ("prepare", "soft")
    answer, orders = there.undelete(start=False)
    assert (answer.code, orders) == ("Done", ())


def test_while_its_disk_is_being_erased_nothing_is_taken_back_though_the_vm_is_known_still() -> None:
    past = soft()
    due(past, "hard")
    past.round()
    assert past.undelete()[0].code == "DeletionFinal"


def booting(past: Keeping) -> None:
    past.change("start")
    past.round()


@pytest.mark.parametrize("stage", ["soft", "hard"])
def test_a_vm_that_is_on_its_way_is_waited_for(stage: Stage) -> None:
    past = running()
    past.delete()
    past.come_to("prepare")
    past.complete("prepare")
    if stage == "soft":
        past.change("stop")
        past.round()
    else:
        due(past, "soft")
        past.round()
        past.complete("soft")  # by whom cannot count: its guest is being shut down still
    due(past, stage)
    answer, orders = past.answer()
    assert (answer.code, orders) == ("VmBusy", ())
    past.off()
    due(past, stage)
    assert past.answer()[0].code == "Done"


def test_a_vm_that_boots_at_the_instant_is_stopped_like_one_that_runs() -> None:
    past = running()
    past.change("stop")
    past.round()
    past.off()
    past.delete()
    past.come_to("prepare")
    past.complete("prepare")
    booting(past)
    due(past, "soft")
    answer, (stop,) = past.answer()
    assert (answer.code, isinstance(stop, StopOrdered)) == ("Done", True)


def test_a_disk_in_a_cluster_is_erased_where_its_vm_was_last() -> None:
    past = running(storage="ceph")
    past.host("h2")
    past.change("stop")
    past.round()
    past.off()
    past.cordoned("h1")
    booting(past)
    past.runs()
    past.off()
    past.delete()
    past.come_to("soft")
    past.complete("soft")
    due(past, "hard")
    _, (erase,) = past.answer()
    assert isinstance(erase, EraseOrdered)
    assert (erase.host, erase.volume) == ("h2", "org-acme/db")


def test_a_vm_that_never_ran_has_nothing_to_be_erased_anywhere() -> None:
    past = Deleting()
    past.setting()
    past.create(start=False)
    past.round()
    past.delete()
    past.come_to("soft")
    past.complete("soft")
    due(past, "hard")
    _, (erase,) = past.answer()
    assert isinstance(erase, EraseOrdered)
    assert (erase.host, erase.volume) == (None, None)
    past.happened(VolumeErased(ORG, "db", None, erase.id, None, 0, past.now))
    past.complete("hard")
    due(past, "purge")
    _, (erase,) = past.answer()
    assert isinstance(erase, EraseOrdered)
    assert (erase.what, erase.host) == ("backups", None)


def test_a_zone_that_is_none_any_more_is_said() -> None:
    past = running()
    window = Window(zone="Europe/Nowhere", start="22:00", end="05:00")
    past.pool("apps", ONE, kind="kept", profile="lab", window=window)
    assert past.delete(DAY + dt.timedelta(days=1)).code == "ZoneUnknown"
