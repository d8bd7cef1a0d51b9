"""The table `copies`: snapshots and backups of kept VMs' disks, those included that are being made or removed."""

from collections.abc import Iterable

from events.copy import CopyDropped, CopyFailed, CopyMade
from events.deletion import BackupsErased, VolumeErased
from events.envelope import Recorded
from events.gate import CopyOrdered, DropOrdered, GateDecided
from projections.copies.fold import Copies
from projections.table import Cell, Key, Table


def _touched(recorded: Recorded) -> Iterable[Key]:
    match recorded.fact:
        case GateDecided(org=org, orders=orders):
            return [(org, one.vm, one.copy) for one in orders if isinstance(one, CopyOrdered | DropOrdered)]
        case CopyMade() | CopyFailed() | CopyDropped() as fact:
            return ((fact.org, fact.vm, fact.copy),)
        case VolumeErased() | BackupsErased() as fact:
            return ((fact.org, fact.vm),)
        case _:
            return ()


def _rows(copies: Copies, prefix: Key) -> Iterable[Key]:
    if len(prefix) < 2:  # noqa: PLR2004 - org and VM
        found = [one for one in copies.all() if (one.org,)[: len(prefix)] == prefix]
    else:
        found = copies.of(prefix[0], prefix[1])
    return [(one.org, one.vm, one.name) for one in found]


def _row(copies: Copies, key: Key) -> tuple[Cell, ...] | None:
    one = copies.get(*key)
    if one is None:
        return None
    return (
        one.org,
        one.vm,
        one.name,
        one.kind,
        one.state,
        one.host,
        one.place,
        one.disk_bytes,
        one.size_bytes,
        one.sha256,
        one.taken_at.isoformat() if one.taken_at is not None else None,
        one.cause,
        one.seq,
    )


TABLES = (
    Table(
        "copies",
        Copies,
        (
            "org",
            "vm",
            "copy",
            "kind",
            "state",
            "host",
            "place",
            "disk_bytes",
            "size_bytes",
            "sha256",
            "taken_at",
            "cause",
            "seq",
        ),
        3,
        _touched,
        _row,
        _rows,
        takes=frozenset({GateDecided, CopyMade, CopyFailed, CopyDropped, VolumeErased, BackupsErased}),
    ),
)
"""One row per copy; `taken_at` is empty until it is made."""
