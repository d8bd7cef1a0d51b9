"""Scaling stands still for a while, because somebody said so and why."""

from events.fact import Fact, Moment
from schemas.intake import FreezeSeconds
from schemas.names import Name
from schemas.pool import PoolName
from schemas.request import Key, Reason


class FreezeRequested(Fact, frozen=True):
    """A pool, or all pools of the org, shall stand still for so many seconds from the decision on."""

    pool: PoolName | None
    publisher: Name
    key: Key
    actor: Name
    reason: Reason
    seconds: FreezeSeconds
    received_at: Moment


class ThawRequested(Fact, frozen=True):
    """A freeze shall end before its time."""

    pool: PoolName | None
    publisher: Name
    key: Key
    actor: Name
    reason: Reason
    received_at: Moment


class ScalingFrozen(Fact, frozen=True):
    """Until `until` the gate neither grows nor shrinks the pool, or any pool of the org, whoever asks."""

    pool: PoolName | None
    actor: Name
    reason: Reason
    frozen_at: Moment
    until: Moment


class ScalingThawed(Fact, frozen=True):
    """The freeze of the pool, or of the org, has ended before its time."""

    pool: PoolName | None
    actor: Name
    reason: Reason
    thawed_at: Moment
