"""The table `directory`: VMs that are kept for their own sake, as they shall be."""

from collections.abc import Iterable

from events.copy import CopyRestoreFailed
from events.deletion import DeletionBegun
from events.drift import VolumeDrifted
from events.envelope import Recorded
from events.keep import VmAdoptFailed, VmCreated, VmProtected, VmResized, VmUnprotected
from events.volume import VolumeAdoptFailed, VolumeGrowFailed, VolumeGrown
from projections.directory.fold import Directory
from projections.table import Cell, Key, Table


def _touched(recorded: Recorded) -> Iterable[Key]:
    match recorded.fact:
        case (
            VmCreated()
            | VmResized()
            | VmProtected()
            | VmUnprotected()
            | VolumeGrown()
            | VolumeGrowFailed()
            | VolumeDrifted() as fact
        ):
            return ((fact.org, fact.vm),)
        case VmAdoptFailed() | VolumeAdoptFailed() | CopyRestoreFailed() | DeletionBegun() as fact:
            return ((fact.org, fact.vm),)
        case _:
            return ()


def _rows(directory: Directory, prefix: Key) -> Iterable[Key]:
    return [key for key in directory.vms if key[: len(prefix)] == prefix]


def _row(directory: Directory, key: Key) -> tuple[Cell, ...] | None:
    kept = directory.vms.get((key[0], key[1]))
    if kept is None:
        return None
    return (
        kept.org,
        kept.name,
        kept.pool,
        kept.image,
        kept.size.name,
        kept.size.vcpu,
        kept.size.memory_mib,
        kept.disk_bytes,
        int(kept.protected),
        kept.actor,
        kept.created_at.isoformat(),
    )


TABLES = (
    Table(
        "directory",
        Directory,
        (
            "org",
            "vm",
            "pool",
            "image",
            "size",
            "vcpu",
            "memory_mib",
            "disk_bytes",
            "protected",
            "actor",
            "created_at",
        ),
        2,
        _touched,
        _row,
        _rows,
        takes=frozenset(
            {
                VmCreated,
                VmProtected,
                VmResized,
                VmUnprotected,
                VolumeGrown,
                VolumeGrowFailed,
                VolumeDrifted,
                VmAdoptFailed,
                VolumeAdoptFailed,
                CopyRestoreFailed,
                DeletionBegun,
            }
        ),
    ),
)
"""One row per VM."""
