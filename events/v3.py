"""Shapes of events of version 3, where there is a newer one, and of the values in them. They are read for ever."""

from typing import Annotated

import msgspec

from events.fact import Fact, Moment
from events.gate import (
    Answer,
    BootOrdered,
    ContractRef,
    DrainCancelled,
    DrainOrdered,
    GrowOrdered,
    PlugOrdered,
    RebootOrdered,
    SaveOrdered,
    StopOrdered,
    SuspendOrdered,
    WakeOrdered,
)
from schemas.capacity import Size
from schemas.names import Count, Name
from schemas.pool import (
    MOST_TRIGGERS,
    DemandQuery,
    Depth,
    Forecasting,
    Placement,
    PoolName,
    Refresh,
    Seconds,
    Trigger,
)
from schemas.struct import Value


class Pool(Value, frozen=True):
    """How one pool scales, when every VM came and went with its pool's demand."""

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


class PoolDefined(Fact, frozen=True):
    """The pool scales by this definition from here on; appended together with a decision, under the fence."""

    pool: Name
    definition: Pool


Order = (
    WakeOrdered
    | BootOrdered
    | RebootOrdered
    | DrainOrdered
    | DrainCancelled
    | SuspendOrdered
    | SaveOrdered
    | StopOrdered
    | PlugOrdered
    | GrowOrdered
)


class GateDecided(Fact, frozen=True):
    """One round of one gate for one org, when disks were not copied, and VMs not deleted."""

    gate: Annotated[str, msgspec.Meta(max_length=100)]
    through: Count
    follows: Count
    state_seq: Count
    now: Moment
    contract: ContractRef | None
    rules: Annotated[str, msgspec.Meta(max_length=40)]
    answers: tuple[Answer, ...]
    orders: tuple[Order, ...]
