"""Pools are defined once and redefined whole."""

import msgspec

from events import v1
from events.fact import Fact
from schemas.names import Name
from schemas.pool import Pool


class PoolDefined(Fact, frozen=True):
    """The pool scales by this definition from here on; appended together with a decision, under the fence."""

    pool: Name
    definition: Pool


def from_v1(fact: Fact) -> PoolDefined:
    """Before pools said where their VMs go, all filled hosts."""
    assert isinstance(fact, v1.PoolDefined), fact
    return PoolDefined(
        org=fact.org, pool=fact.pool, definition=msgspec.convert(msgspec.to_builtins(fact.definition), Pool)
    )
