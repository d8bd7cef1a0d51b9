"""A pool: VMs of one size and template that scale together."""

import tomllib
from typing import Annotated, Literal

import msgspec

from schemas.capacity import Size
from schemas.names import Name
from schemas.struct import Value

PoolName = Annotated[Name, msgspec.Meta(max_length=32)]
"""Shorter than other names, because a VM's name is its pool's with a number behind, and must be a name itself."""

Seconds = Annotated[int, msgspec.Meta(ge=1, le=86_400)]


Placement = Literal["fill", "spread"]
"""Where new VMs go: onto the fullest host that has room, so that others stay empty, or onto the emptiest."""


class Trigger(Value, frozen=True):
    """Ask for `add` VMs once `query` was above `above` in `samples` successive samples."""

    query: Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
    above: Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
    samples: Annotated[int, msgspec.Meta(ge=2, le=1000)] = 3
    add: Annotated[int, msgspec.Meta(ge=1, le=128)] = 1


class Pool(Value, frozen=True):
    """How one pool scales. Cooldown, horizon, drain and batch default to the numbers of the platform."""

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
    """How long a woken guest may take until its probe answers."""
    order_seconds: Seconds = 60
    """How long after the decision a wake may still begin; later it is `order-expired`."""
    boot_seconds: Seconds = 180
    """How long a cold boot may take until its probe answers."""
    trigger: Trigger | None = None
    placement: Placement = "fill"


class PoolError(ValueError):
    """A pool file was refused; the sentence says which field and why."""

    code = "PoolUnreadable"


def read(text: str) -> Pool:
    """The pool that a TOML file says, or `PoolError` naming the first field that is wrong."""
    try:
        pool = msgspec.convert(tomllib.loads(text), Pool, strict=True)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise PoolError(f"The pool file is not valid: {error}. Nothing was stored.") from error
    if pool.min_vms > pool.max_vms:
        raise PoolError(
            f"Pool {pool.org}/{pool.name} wants at least {pool.min_vms} and at most {pool.max_vms} VMs. "
            "Nothing was stored."
        )
    return pool
