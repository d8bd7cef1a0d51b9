"""Deletions of one VM after one another: what is told late of the first says nothing of the second."""

import datetime as dt

from events.deletion import (
    DeletionCancelled,
    DeletionScheduled,
    EraseFailed,
    SilenceEnded,
    SilenceSet,
    VmUndefined,
)
from projections.deletions.fold import Deletions
from schemas.deletion import POLICIES, stages
from tests.deleting import running
from tests.given import ORG, Past

FIRST, SECOND = "1" * 32, "2" * 32


def test_the_end_of_a_cancelled_deletions_silence_leaves_the_next_deletion_standing() -> None:
    past, deletions = Past(), Deletions()
    plan = stages(dt.date(2026, 12, 24), "Europe/Berlin", POLICIES[-1])
    now, who = past.now, {"org": ORG, "vm": "db"}
    asked = {"pool": "apps", "actor": "kim", "reason": "because"}
    for fact in (
        DeletionScheduled(**who, **asked, deletion=FIRST, schedule=plan, scheduled_at=now),
        SilenceSet(**who, deletion=FIRST, silence="one", starts_at=now, ends_at=now, set_at=now),
        DeletionCancelled(**who, **asked, deletion=FIRST, cancelled_at=now),
        DeletionScheduled(**who, **asked, deletion=SECOND, schedule=plan, scheduled_at=now),
        SilenceEnded(**who, deletion=FIRST, silence="one", ended_at=now),
    ):
        deletions.apply(past.happened(fact))
    standing = deletions.of(ORG, "db")
    assert standing is not None
    assert standing.id == SECOND


def test_what_is_told_twice_or_late_of_what_is_erased_changes_nothing() -> None:
    past = running()
    past.delete()
    orders = past.come_to("hard")
    past.erased(orders)
    before = past.deletion
    (erase,) = orders
    failed = EraseFailed(ORG, "db", "h1", erase.id, "DisksAway", "It is not mounted.", past.now)
    for fact in (VmUndefined(ORG, "db", "h1", erase.id, past.now), failed):
        past.happened(fact)
    assert past.deletion == before
