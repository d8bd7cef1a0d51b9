"""What a pool was thought to need, tick by tick; those that changed nothing are told together."""

from typing import Annotated, Literal

import msgspec

from events.fact import Fact, Moment
from events.pool import MilliVms
from schemas.names import Count, Id, Name, Word
from schemas.struct import Value

SignedMilliVms = Annotated[int, msgspec.Meta(ge=-100_000_000, le=100_000_000)]
"""Thousandths of a VM, with a sign."""


class Outlook(Value, frozen=True):
    """What the last tick's target was made of, in thousandths of a VM. These are no summands of one sum.

    The target is the level that is expected next and the margin on it, rounded up, and of the ticks within the last cooldown the
    highest. The expected level is not among these: it is the demand now, corrected by slope, pattern and others as far as each
    has proved itself on the pool's own past. It is no more than the target less the margin.
    """

    level: MilliVms
    """Demand now."""
    slope: SignedMilliVms
    """What the trailing five minutes add by the horizon, if they go on."""
    seasonal: SignedMilliVms | None
    """Where the week's pattern, carried to today's level, stands at the horizon: a level; None without history of this time."""
    margin: MilliVms
    """What is kept above the level that is expected next, for the share of changes that shall be covered."""
    peak: MilliVms | None
    """The most that the week's pattern expects within the time that a sleep on disk must last to pay."""


class ForecastMade(Fact, frozen=True):
    """What the pool needs by the horizon, at `made_at` and in the `ticks` before it since `since`, which changed nothing.

    `reason`: `raised` or `lowered` (the target differs from the last one told), `held` (nothing did, for an hour), `began`,
    `signal-lost` (capacity holds), `redefined`, and others to come. With `mode` `only` nothing was asked for.
    """

    pool: Name
    mode: Literal["only", "on"]
    reason: Word
    since: Moment
    made_at: Moment
    ticks: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    target: Count
    """VMs that demand needs by the horizon."""
    target_min: Count
    target_max: Count
    reserve: Count
    """VMs of the warm reserve, on top of that."""
    want: Count
    """VMs that shall stay awake: both, within the pool's bounds and what the contract leaves."""
    staying: Count
    """VMs that stayed awake before."""
    capped: bool
    """Whether the contract leaves less than the target: the difference is asked for once and refused."""
    outlook: Outlook | None
    """None where nothing was ever measured."""
    horizon_seconds: Count
    coverage_bp: Count
    history_seconds: Count
    """Of the last seven days, how much was measured."""
    parameters: Id
    """Names the forecaster's parameters and code."""
    input: Id
    """Digest of the samples of these ticks, in order."""
    state_seq: Count
