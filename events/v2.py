"""Shapes of events of version 2, where there is a newer one, and of the values in them. They are read for ever."""

from typing import Annotated

import msgspec

from events.fact import Fact
from events.v1 import Trigger
from schemas.capacity import Size
from schemas.names import Name
from schemas.pool import Placement, PoolName, Seconds
from schemas.struct import Value


class Pool(Value, frozen=True):
    """How one pool scales, when it had one trigger at most and nothing was forecast."""

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
    trigger: Trigger | None = None
    placement: Placement = "fill"


class PoolDefined(Fact, frozen=True):
    """The pool scales by this definition from here on; appended together with a decision, under the fence."""

    pool: Name
    definition: Pool
