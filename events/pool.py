"""Pools are defined once and redefined whole, and looked at all the time."""

from typing import Annotated, Final

import msgspec

from events import v1
from events.fact import Fact, Moment
from schemas.names import Count, Id, Name
from schemas.pool import Pool
from schemas.struct import Value


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


MOST_MILLI_VMS: Final = 100_000_000
"""A demand is never told as more than this: no pool may have more than 100,000 VMs."""

MilliVms = Annotated[int, msgspec.Meta(ge=0, le=MOST_MILLI_VMS)]
"""Thousandths of a VM."""


class Level(Value, frozen=True):
    """What a query yielded over a window, in its own unit; every number is finite. `last` is the newest sample's."""

    minimum: float
    mean: float
    maximum: float
    last: float


class Demand(Value, frozen=True):
    """How many VMs the pool would have needed for its trigger to stand exactly at its limit, in thousandths.

    Each sample gives reading / limit x VMs that served when it was read, rounded, at least 0 and at most
    `MOST_MILLI_VMS`. `deviation` is the samples' standard deviation, the square root rounded down: the noise within the
    window, which cannot be had from the means of many.
    """

    samples: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    minimum: MilliVms
    mean: MilliVms
    deviation: MilliVms
    maximum: MilliVms
    last: MilliVms


class Reading(Value, frozen=True):
    """What the pool's trigger saw in a window. A redefined trigger begins anew: what the former saw is not in it."""

    query: Id
    """Names the query, whose text stands in the pool's definition: `derive("query", text)`."""
    above: float
    """The trigger's limit."""
    asked: Count
    samples: Count
    """Samples that were first seen within the window, each counted once however often it was read."""
    over: Count
    """Of them, those above the limit."""
    level: Level | None
    """None where no sample came: silence, which is no zero."""
    demand: Demand | None
    """None where no sample came while a VM served, or where the limit is not above zero."""


class VmCounts(Value, frozen=True):
    """A pool's VMs by what matters."""

    serving: Count
    """Those that get work."""
    awake: Count
    """Those that count against the contract, whatever they do."""
    asleep: Count
    """Those that can be resumed."""
    wanted: Count
    """Those that serve or were ordered to: what the pool is scaled to."""


class PoolObserved(Fact, frozen=True):
    """What signal saw of a pool in five minutes; one event per pool and window, and none where nobody looked.

    A window begins at a whole five minutes UTC. One in which signal began, ended or stood still is told with the looks
    that there were, from `looked_from` to `looked_until`: a whole one has some sixty. Two signal workers write one event,
    whichever is first.
    """

    pool: Name
    window_from: Moment
    window_until: Moment
    looked_from: Moment
    looked_until: Moment
    looks: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    reading: Reading | None
    """None where the pool had no trigger at the last look."""
    vms: VmCounts
    """At the last look, as the ledger's events up to `state_seq` say it."""
    state_seq: Count
