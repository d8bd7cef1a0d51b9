"""Shapes of events of version 4, where there is a newer one, and of the values in them. They are read for ever."""

from typing import Annotated

import msgspec

from events.fact import Fact
from schemas.capacity import Size
from schemas.limits import ProfileName
from schemas.maintenance import Window
from schemas.names import Count, Name, Word
from schemas.pool import (
    MOST_TRIGGERS,
    Backups,
    DemandQuery,
    Depth,
    Forecasting,
    Kind,
    Placement,
    PoolName,
    Refresh,
    Seconds,
    Storage,
    Trigger,
)
from schemas.struct import Value


class Pool(Value, frozen=True):
    """How one pool scales or is kept, when no VM was pinned to a node of its host, and none had a disk that goes with it."""

    org: Name
    name: PoolName
    size: Size
    template: Name
    min_vms: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 0
    max_vms: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 100_000
    cooldown_seconds: Seconds = 90
    horizon_seconds: Seconds = 90
    drain_seconds: Seconds = 45
    wake_batch: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    readiness_seconds: Seconds = 20
    order_seconds: Seconds = 60
    boot_seconds: Seconds = 180
    triggers: Annotated[tuple[Trigger, ...], msgspec.Meta(max_length=MOST_TRIGGERS)] = ()
    placement: Placement = "fill"
    demand: DemandQuery | None = None
    forecast: Forecasting = "only"
    coverage_bp: Annotated[int, msgspec.Meta(ge=5000, le=9999)] = 9900
    quiesce_per_minute: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 8
    sleep: Depth = "auto"
    refresh: Refresh = "agent"
    kind: Kind = "scaled"
    storage: Storage = "local"
    profile: ProfileName = "managed"
    disk_bytes: Count = 0
    window: Window = Window()
    notice: Word | None = None
    grace_seconds: Seconds = 60
    snapshots_kept: Annotated[int, msgspec.Meta(ge=0, le=100)] = 7
    backups: Backups = "none"
    backups_kept: Annotated[int, msgspec.Meta(ge=1, le=366)] = 14


class PoolDefined(Fact, frozen=True):
    """The pool is so from here on; appended together with a decision, under the fence."""

    pool: Name
    definition: Pool
