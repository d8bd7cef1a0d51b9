"""Somebody or something wants fewer VMs awake in a pool."""

from typing import Annotated

import msgspec

from events.fact import Fact, Moment
from events.scale import Origin, Sample
from schemas.names import Name
from schemas.request import Key


class QuiesceRequested(Fact, frozen=True):
    """`count` serving VMs of the pool shall be drained and suspended."""

    pool: Name
    publisher: Name
    key: Key
    origin: Origin
    count: Annotated[int, msgspec.Meta(ge=1)]
    received_at: Moment
    sample: Sample | None
