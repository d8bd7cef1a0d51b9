"""Shapes that values had when events of version 1 were written. They are read for ever, and never written again."""

from typing import Annotated, Literal

import msgspec

from events.fact import Fact, Moment
from schemas.capacity import Capacity, Size
from schemas.contract.terms import Allowance, Person
from schemas.names import Name
from schemas.pool import PoolName, Seconds, Trigger
from schemas.struct import Value


class Contract(Value, frozen=True):
    """The terms in force for one org: quota, allowance, warm reserve, contacts, validity."""

    format: Literal[1]
    id: Name
    version: Annotated[int, msgspec.Meta(ge=1)]
    org: Name
    quota: Capacity
    allowance_bp: Allowance
    warm_reserve_bp: Annotated[int, msgspec.Meta(ge=500, le=2000)]
    price_eur_cents_month: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    owner: Person
    technical: Annotated[tuple[Person, ...], msgspec.Meta(max_length=20)]
    valid_from: Moment
    valid_until: Moment


class ContractTookEffect(Fact, frozen=True):
    """From here on the org's envelope is this contract's; appended together with a decision, under the fence."""

    contract: Contract
    fingerprint: str
    took_effect_at: Moment


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


class PoolDefined(Fact, frozen=True):
    """The pool scales by this definition from here on; appended together with a decision, under the fence."""

    pool: Name
    definition: Pool
