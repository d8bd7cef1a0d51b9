"""Somebody wants a pool to hold VMs that sleep and can be woken."""

from typing import Annotated

import msgspec

from events.fact import Fact, Moment
from schemas.names import Name
from schemas.request import Key


class StockRequested(Fact, frozen=True):
    """The pool shall hold at least `vms` VMs that are asleep or awake; missing ones are booted and suspended."""

    pool: Name
    publisher: Name
    key: Key
    vms: Annotated[int, msgspec.Meta(ge=1)]
    received_at: Moment
