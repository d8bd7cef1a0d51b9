"""Somebody or something wants less of a pool's sleep to be in its hosts' RAM."""

from events.fact import Fact, Moment
from events.scale import Origin
from schemas.names import Count, Name
from schemas.request import Key


class SaveRequested(Fact, frozen=True):
    """At most `paused` of the pool's sleeping VMs shall stay in RAM; the others shall sleep on disk."""

    pool: Name
    publisher: Name
    key: Key
    origin: Origin
    paused: Count
    received_at: Moment
