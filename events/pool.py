"""Pools are defined once and redefined whole."""

from events.fact import Fact
from schemas.names import Name
from schemas.pool import Pool


class PoolDefined(Fact, frozen=True):
    """The pool scales by this definition from here on; appended together with a decision, under the fence."""

    pool: Name
    definition: Pool
