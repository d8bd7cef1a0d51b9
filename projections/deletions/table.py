"""The table `deletions`: each deletion there ever was, with its instants in UTC and how far it is."""

from collections.abc import Iterable

from events.deletion import (
    BackupsErased,
    DeletionBegun,
    DeletionCancelled,
    DeletionCompleted,
    DeletionDue,
    DeletionScheduled,
    EraseFailed,
    SilenceEnded,
    SilenceFailed,
    SilenceSet,
    VmUndefined,
    VolumeErased,
)
from events.envelope import Recorded
from events.gate import EraseOrdered, GateDecided
from events.host import HostFenced, HostRemoved
from projections.deletions.fold import Deletions
from projections.table import Cell, Key, Table
from schemas.deletion import STAGES

_EVERY: Key = ("", "", "")
"""No row, and beside it all that stand."""


def _touched(recorded: Recorded) -> Iterable[Key]:
    match recorded.fact:
        case (
            DeletionScheduled()
            | DeletionDue()
            | DeletionBegun()
            | DeletionCompleted()
            | DeletionCancelled()
            | SilenceSet()
            | SilenceEnded()
            | SilenceFailed()
        ) as fact:
            yield (fact.org, fact.vm, fact.deletion)
        case GateDecided(org=org, orders=orders):
            for order in orders:
                if isinstance(order, EraseOrdered):
                    yield (org, order.vm, order.deletion)
        case VmUndefined() | VolumeErased() | BackupsErased() | EraseFailed() as fact:
            yield (fact.org, fact.vm, "")
        case HostFenced() | HostRemoved():
            yield _EVERY
        case _:
            pass


def _beside(deletions: Deletions, key: Key) -> Iterable[Key]:
    """Which deletion an outcome was about is known to the fold alone."""
    org, vm, id_ = key
    if key == _EVERY:
        return [(one.org, one.vm, one.id) for one in deletions.standing() if one.disk is not None]
    standing = None if id_ else deletions.of(org, vm)
    return () if standing is None else ((org, vm, standing.id),)


def _row(deletions: Deletions, key: Key) -> tuple[Cell, ...] | None:
    deletion = deletions.get(key[2])
    if deletion is None or (deletion.org, deletion.vm) != key[:2]:
        return None
    schedule = deletion.schedule
    return (
        deletion.org,
        deletion.vm,
        deletion.id,
        deletion.pool,
        deletion.over or "standing",
        deletion.running,
        deletion.next,
        ", ".join(deletion.completed),
        *(instant.isoformat() for _, instant in schedule.instants()),
        schedule.day.isoformat(),
        schedule.zone,
        schedule.policy,
        int(schedule.prepared_at_once),
        max((deletion.attempts(stage) for stage in STAGES), default=0),
        int(deletion.ran),
        deletion.actor,
        deletion.reason,
        deletion.scheduled_at.isoformat(),
        None if deletion.ended_at is None else deletion.ended_at.isoformat(),
        deletion.silence,
        deletion.silence_trouble,
        deletion.trouble,
    )


TABLES = (
    Table(
        "deletions",
        Deletions,
        (
            "org",
            "vm",
            "id",
            "pool",
            "state",
            "running",
            "next",
            "completed",
            *STAGES,
            "day",
            "zone",
            "policy",
            "prepared_at_once",
            "most_attempts",
            "ran",
            "actor",
            "reason",
            "scheduled_at",
            "ended_at",
            "silence",
            "silence_trouble",
            "trouble",
        ),
        3,
        _touched,
        _row,
        takes=Deletions.TAKES,
        beside=_beside,
    ),
)
"""One row per deletion, also of those that are over."""
