"""The table `maintenance`: each entry of the calendar, with its slot in UTC and the zone of its window."""

from collections.abc import Iterable

from events.envelope import Recorded
from events.maintenance import (
    MaintenanceBegun,
    MaintenanceCancelled,
    MaintenanceEnded,
    MaintenanceRescheduled,
    MaintenanceScheduled,
)
from projections.maintenance.fold import Calendar
from projections.table import Cell, Key, Table


def _touched(recorded: Recorded) -> Iterable[Key]:
    match recorded.fact:
        case (
            MaintenanceScheduled()
            | MaintenanceRescheduled()
            | MaintenanceCancelled()
            | MaintenanceBegun()
            | MaintenanceEnded()
        ) as fact:
            return ((fact.entry.id,),)
        case _:
            return ()


def _row(calendar: Calendar, key: Key) -> tuple[Cell, ...] | None:
    planned = calendar.get(key[0])
    if planned is None:
        return None
    entry = planned.entry
    slot = entry.slot
    return (
        entry.id,
        entry.org,
        entry.vm,
        entry.pool,
        entry.stage,
        slot.start.isoformat(),
        slot.end.isoformat(),
        slot.opens.isoformat(),
        slot.closes.isoformat(),
        entry.window.zone,
        entry.policy,
        ", ".join(dict.fromkeys(step.kind for step in planned.steps)),
        "; ".join(
            _said(step.kind, [f"{c.what} {c.before} -> {c.after}" for c in step.changes], step.summary)
            for step in planned.steps
        ),
        entry.revision,
        entry.moves,
        planned.code,
        planned.actor,
        entry.reason,
        entry.result,
        None if entry.announced_at is None else entry.announced_at.isoformat(),
        planned.at.isoformat(),
    )


def _said(kind: str, changes: list[str], summary: str) -> str:
    words = ", ".join([*changes, *([summary] if summary else [])])
    return f"{kind}: {words}" if words else kind


TABLES = (
    Table(
        "maintenance",
        Calendar,
        (
            "id",
            "org",
            "vm",
            "pool",
            "stage",
            "start",
            "end",
            "opens",
            "closes",
            "zone",
            "policy",
            "kinds",
            "steps",
            "revision",
            "moves",
            "code",
            "actor",
            "reason",
            "result",
            "announced_at",
            "changed_at",
        ),
        1,
        _touched,
        _row,
        takes=Calendar.TAKES,
    ),
)
"""One row per entry, also of those that are over."""
