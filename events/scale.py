"""Somebody or something wants more VMs awake in a pool."""

from typing import Annotated

import msgspec

from events.fact import Fact, Moment
from schemas.names import Name
from schemas.struct import Value


class Sample(Value, frozen=True):
    """The measurement that set a trigger off: its query, value, limit, and when it was taken."""

    query: str
    value: float
    above: float
    observed_at: Moment


class ScaleRequested(Fact, frozen=True):
    """The pool shall have `add` more VMs awake, or `want` in all; exactly one of the two is set.

    `sample` is there when a trigger asked and absent when a person or a program did; only a trigger is held
    back by the pool's cooldown.
    """

    pool: Name
    publisher: Name
    key: str
    add: Annotated[int, msgspec.Meta(ge=1)] | None
    want: Annotated[int, msgspec.Meta(ge=0)] | None
    up_to: bool
    received_at: Moment
    sample: Sample | None
