"""The table `volumes`: each VM's disk, and its pin."""

from collections.abc import Iterable

from events.copy import CopyRestored
from events.deletion import VolumeErased
from events.drift import VolumeDrifted
from events.envelope import Recorded
from events.volume import (
    SnapshotFailed,
    SnapshotTaken,
    VolumeAdopted,
    VolumeAdoptFailed,
    VolumeCreated,
    VolumeGrowFailed,
    VolumeGrown,
)
from projections.table import Cell, Key, Table
from projections.volumes.fold import Volumes

_Changes = (
    VolumeCreated
    | VolumeGrown
    | VolumeGrowFailed
    | VolumeDrifted
    | VolumeAdopted
    | VolumeAdoptFailed
    | VolumeErased
    | CopyRestored
    | SnapshotTaken
    | SnapshotFailed
)
"""What makes a disk's row another one, or ends it."""


def _touched(recorded: Recorded) -> Iterable[Key]:
    if isinstance(recorded.fact, _Changes):
        yield (recorded.fact.org, recorded.fact.vm)


def _row(volumes: Volumes, key: Key) -> tuple[Cell, ...] | None:
    org, vm = key
    disk = volumes.disks.get((org, vm))
    if disk is None:
        return None
    return (
        org,
        vm,
        disk.host,
        disk.volume,
        disk.template,
        disk.size_bytes,
        disk.layers,
        disk.snapshot,
        disk.pinned_since,
        disk.taken_at.isoformat() if disk.taken_at is not None else None,
        disk.trouble,
    )


TABLES = (
    Table(
        "volumes",
        Volumes,
        (
            "org",
            "vm",
            "host",
            "volume",
            "template",
            "size_bytes",
            "layers",
            "snapshot",
            "pinned_since",
            "taken_at",
            "trouble",
        ),
        2,
        _touched,
        _row,
        takes=Volumes.TAKES,
    ),
)
"""One row for each VM that has a disk; `snapshot` is empty where nothing of it is pinned."""
