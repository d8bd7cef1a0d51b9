"""Somebody or something wants more VMs awake in a pool."""

from typing import Annotated, Literal

import msgspec

from events.fact import Fact, Moment
from schemas.names import Name
from schemas.request import Key
from schemas.struct import Value

Origin = Literal["person", "program", "trigger", "forecast"]
"""Who wants it: a person of the platform, an outside program, a trigger of the pool, or the forecaster. A pool's
cooldown holds back triggers only."""


class Sample(Value, frozen=True):
    """The measurement that set a trigger off: its query, value, limit, and when it was taken."""

    query: Annotated[str, msgspec.Meta(max_length=4096)]
    value: float
    above: float
    observed_at: Moment


class ScaleRequested(Fact, frozen=True):
    """The pool shall have `add` more VMs awake, or `want` in all; exactly one of the two is set.

    `sample` is the measurement behind it, where there is one.
    """

    pool: Name
    publisher: Name
    key: Key
    origin: Origin
    add: Annotated[int, msgspec.Meta(ge=1)] | None
    want: Annotated[int, msgspec.Meta(ge=0)] | None
    up_to: bool
    received_at: Moment
    sample: Sample | None
