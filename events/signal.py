"""What becomes of the measurements that a pool is scaled by."""

from events.fact import Fact, Moment
from events.pool import Source
from schemas.names import Id, Name, Text, Word


class SignalLost(Fact, frozen=True):
    """A query of the pool yields nothing new: what is awake stays awake, and nothing is sent to sleep by forecasts.

    Silence is no zero. `code`: `silent` (nobody answers), `stale` (the same old sample), `vanished` (no such series any more),
    `many` (more series than one), and others to come.
    """

    pool: Name
    source: Source
    query: Id
    last_sample_at: Moment | None
    """None where there never was one."""
    code: Word
    text: Text
    lost_at: Moment


class SignalFound(Fact, frozen=True):
    """A query of the pool that was lost yields samples again."""

    pool: Name
    source: Source
    query: Id
    lost_at: Moment
    found_at: Moment
