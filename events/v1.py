"""Shapes of events of version 1, where there is a newer one, and of the values in them. They are read for ever, and never written again."""

from typing import Annotated, Literal

import msgspec

from events.fact import Fact, Moment
from events.gate import Answer, ContractRef, DrainCancelled, DrainOrdered, SuspendOrdered
from events.pool import Demand, Level, VmCounts
from events.vm import Sleep
from schemas.capacity import Capacity, Size
from schemas.contract.terms import Allowance, Person
from schemas.names import Count, Id, Name, Text, Word
from schemas.pool import PoolName, Seconds
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


class PoolDefined(Fact, frozen=True):
    """The pool scales by this definition from here on; appended together with a decision, under the fence."""

    pool: Name
    definition: Pool


class Reading(Value, frozen=True):
    """What the pool's only trigger saw in a window."""

    query: Id
    above: float
    asked: Count
    samples: Count
    over: Count
    level: Level | None
    demand: Demand | None


class PoolObserved(Fact, frozen=True):
    """What signal saw of a pool in five minutes, when a pool had one trigger at most."""

    pool: Name
    window_from: Moment
    window_until: Moment
    looked_from: Moment
    looked_until: Moment
    looks: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    reading: Reading | None
    vms: VmCounts
    state_seq: Count


Purpose = Literal["serve", "stock"]
"""Why a VM was awake, when all VMs came and went with their pool's demand."""


class WakeOrdered(Value, frozen=True, tag_field="order", tag="wake.ordered"):
    """Resume a VM that sleeps. The order's id is the reservation that its outcome must name."""

    id: Id
    vm: Name
    pool: Name
    host: Name
    size: Size
    request: Id
    purpose: Purpose
    begin_by: Moment
    ready_seconds: Count


class BootOrdered(Value, frozen=True, tag_field="order", tag="boot.ordered"):
    """Start a VM that is off, defining it from the template when it does not exist."""

    id: Id
    vm: Name
    pool: Name
    host: Name
    size: Size
    template: Name
    request: Id
    purpose: Purpose
    begin_by: Moment
    ready_seconds: Count


class StopOrdered(Value, frozen=True, tag_field="order", tag="stop.ordered"):
    """Switch the VM off at once."""

    id: Id
    vm: Name
    pool: Name
    host: Name
    reservation: Id
    request: Id | None


Order = WakeOrdered | BootOrdered | DrainOrdered | DrainCancelled | SuspendOrdered | StopOrdered


class GateDecided(Fact, frozen=True):
    """One round of one gate for one org, before VMs slept on disk."""

    gate: Annotated[str, msgspec.Meta(max_length=100)]
    through: Count
    follows: Count
    state_seq: Count
    now: Moment
    contract: ContractRef | None
    rules: Annotated[str, msgspec.Meta(max_length=40)]
    answers: tuple[Answer, ...]
    orders: tuple[Order, ...]


class VmResumed(Fact, frozen=True):
    """The paused domain runs again, with its clock and its entropy as they were."""

    vm: Name
    host: Name
    reservation: Id
    started_at: Moment
    resumed_at: Moment
    attempts: Count


class VmWakeFailed(Fact, frozen=True):
    """The order ended and the domain is proven not to run, before VMs slept on disk."""

    vm: Name
    host: Name
    reservation: Id
    code: Word
    text: Text
    found: Sleep
    observed_at: Moment
