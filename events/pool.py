"""Pools are defined once and redefined whole, and looked at all the time."""

from typing import Annotated, Final, Literal

import msgspec

from events.fact import Fact, Moment
from schemas.names import Count, Id, Name
from schemas.pool import MOST_TRIGGERS, Pool
from schemas.struct import Value


class PoolDefined(Fact, frozen=True):
    """The pool scales by this definition from here on; appended together with a decision, under the fence."""

    pool: Name
    definition: Pool


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
    """How many VMs the pool would have needed, in thousandths.

    A sample of a pool's demand gives reading / what one VM carries. One of a trigger gives reading / limit x VMs that served
    when it was read: as many as would bring it to its limit. Each is rounded, at least 0 and at most `MOST_MILLI_VMS`. `deviation` is the samples' standard deviation, the square root rounded down: the noise within the
    window, which cannot be had from the means of many.
    """

    samples: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    minimum: MilliVms
    mean: MilliVms
    deviation: MilliVms
    maximum: MilliVms
    last: MilliVms


Source = Literal["demand", "trigger"]
"""Whether a query says what the whole pool carries, or sets off a request."""


class Reading(Value, frozen=True):
    """What one query of the pool saw in a window. A redefined one begins anew: what the former saw is not in it."""

    source: Source
    query: Id
    """Names the query, whose text stands in the pool's definition: `derive("query", text)`."""
    above: float
    """The trigger's limit, or what one VM carries."""
    asked: Count
    samples: Count
    """Samples that were first seen within the window, each counted once however often it was read."""
    over: Count
    """Of them, those above the limit; of a demand, those above what one VM carries."""
    level: Level | None
    """None where no sample came: silence, which is no zero."""
    demand: Demand | None
    """None where no sample came that says anything about VMs: a trigger's while none served, with a limit that is not above zero,
    or of a `p99`, which does not fall with the number of VMs."""


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
    readings: Annotated[tuple[Reading, ...], msgspec.Meta(max_length=MOST_TRIGGERS + 1)]
    """Of the pool's queries as they were at the last look."""
    demand: Demand | None
    """The pool's own demand where it has such a query; else that of the trigger which wanted most VMs on average."""
    vms: VmCounts
    """At the last look, as the ledger's events up to `state_seq` say it."""
    state_seq: Count
