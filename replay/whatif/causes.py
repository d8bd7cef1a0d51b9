"""Whether a request that rests on a measurement would have been made in the new course as well."""

import datetime as dt
from typing import Final

from events.envelope import Recorded
from events.fact import Fact
from events.quiesce import QuiesceRequested
from events.scale import ScaleRequested
from replay.whatif.history import Course
from replay.whatif.survey import SECOND_NS

_Key = tuple[str, str]


class Asked:
    """A fold: when each pool's trigger last asked."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset({ScaleRequested})

    def __init__(self) -> None:
        self.at: dict[_Key, dt.datetime] = {}

    def apply(self, recorded: Recorded) -> None:
        """The event is taken into account; most are no trigger's."""
        match recorded.fact:
            case ScaleRequested(origin="trigger") as wish:
                self.at[wish.org, wish.pool] = wish.received_at
            case _:
                pass


class Causes:
    """What a trigger would have measured and when it would have been silent, as far as the two courses say.

    Two things take a request its cause. Another number of VMs would have served, so that the measurement might have been
    another. Or the pool's cooldown is longer than it was: a trigger keeps still for it by itself, before any request is
    made, and nobody knows what it would have measured when it was over.
    """

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        """When each trigger last asked and was heard in the new course, or may have been."""
        self._apart: dict[_Key, int | None] = {}
        """Pools of which another number of VMs served: None while so, else the instant at which it was over."""

    def compare(self, then: Course, now: Course, pool: _Key, at_ns: int) -> None:
        """VMs of the pool may have come to serve, or ceased to, in either course."""
        if _serving(then, pool) != _serving(now, pool):
            self._apart[pool] = None
        elif self._apart.get(pool, 0) is None:
            self._apart[pool] = at_ns

    def why_lost(
        self,
        then: Course,
        now: Course,
        recorded: Recorded,
        fact: ScaleRequested | QuiesceRequested,
        at_ns: int,
    ) -> str | None:
        """Why nobody can say that the request would have been made; None where nothing speaks against it."""
        if fact.origin != "trigger" and fact.sample is None:
            return None
        held = _held_back(then, now, fact, self._asked.at.get((fact.org, fact.pool)))
        if held is not None:
            return held
        self._asked.apply(recorded)
        return self._measured(then, now, (fact.org, fact.pool), at_ns)

    def _measured(self, then: Course, now: Course, key: _Key, at_ns: int) -> str | None:
        """A measurement counts as fresh for the pool's horizon, so that what served within it may stand in it."""
        over_ns, pool = self._apart.get(key, 0), now.agreed(*key)
        if over_ns is None:
            return f"{_serving(now, key)} VMs would have served instead of {_serving(then, key)}"
        if over_ns and pool is not None and at_ns - over_ns < pool.horizon_seconds * SECOND_NS:
            return f"another number of VMs would have served until {(at_ns - over_ns) // SECOND_NS} s before"
        return None


def _held_back(
    then: Course, now: Course, fact: ScaleRequested | QuiesceRequested, asked_at: dt.datetime | None
) -> str | None:
    """A trigger that asked sooner than its cooldown then, as two signal workers may, is no matter of what is set."""
    former, pool = then.agreed(fact.org, fact.pool), now.agreed(fact.org, fact.pool)
    if fact.origin != "trigger" or asked_at is None or former is None or pool is None:
        return None
    over_at = asked_at + dt.timedelta(seconds=pool.cooldown_seconds)
    if pool.cooldown_seconds <= former.cooldown_seconds or fact.received_at >= over_at:
        return None
    return f"its trigger would have kept still until {over_at:%H:%M:%S}, its cooldown being {pool.cooldown_seconds} s"


def _serving(course: Course, pool: _Key) -> int:
    return len(course.fleet.members(*pool, "serving"))
