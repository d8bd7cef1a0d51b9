"""What each pool needed and had in the last 24 hours, folded from signal's observations.

A pool is a ring of 288 places, one for each five minutes of a day, in plain integers: 18 KB, however long the ledger is.
"""

import datetime as dt
from array import array
from dataclasses import dataclass
from typing import Final

from events.envelope import Recorded
from events.fact import Fact
from events.pool import PoolObserved

WINDOW_SECONDS: Final = 300
PLACES: Final = 288
"""Windows in a day."""

_NUMBERS: Final = 8
_NONE: Final = -1
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Point:
    """One window of one pool: what it needed, in thousandths of a VM, and the VMs that it had at the end.

    `samples` are those of the trigger; the demands are None where none came, where nothing served and where the
    trigger says nothing about VMs.
    """

    window_from: dt.datetime
    samples: int
    mean_milli_vms: int | None
    most_milli_vms: int | None
    serving: int
    awake: int
    asleep: int
    wanted: int

    @property
    def window_until(self) -> dt.datetime:
        """Where the window ends."""
        return self.window_from + dt.timedelta(seconds=WINDOW_SECONDS)


class Demand:
    """The points of every pool. A window that is told again, or after a later one, changes nothing."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset({PoolObserved})

    def __init__(self) -> None:
        self._rings: dict[tuple[str, str], array[int]] = {}
        self._newest: dict[tuple[str, str], int] = {}

    def pools(self) -> list[tuple[str, str]]:
        """Org and name of every pool that was ever observed, in order."""
        return sorted(self._rings)

    def points(self, org: str, pool: str) -> list[Point]:
        """The pool's windows of the 24 hours up to the end of its newest, the oldest first; holes are left out."""
        newest = self._newest.get((org, pool), 0)
        found = (self.at(org, pool, number % PLACES) for number in range(newest - PLACES + 1, newest + 1))
        oldest = _moment(newest - PLACES + 1)
        return [point for point in found if point is not None and point.window_from >= oldest]

    def at(self, org: str, pool: str, place: int) -> Point | None:
        """The newest window in a place of the day, 0 to 287 from midnight UTC; it may be of a day long ago."""
        ring = self._rings.get((org, pool))
        if ring is None:
            return None
        number, samples, mean, most, serving, awake, asleep, wanted = ring[
            place * _NUMBERS : (place + 1) * _NUMBERS
        ]
        if number == _NONE:
            return None
        return Point(
            window_from=_moment(number),
            samples=samples,
            mean_milli_vms=None if mean == _NONE else mean,
            most_milli_vms=None if most == _NONE else most,
            serving=serving,
            awake=awake,
            asleep=asleep,
            wanted=wanted,
        )

    def apply(self, recorded: Recorded) -> None:
        """The view now includes the event."""
        fact = recorded.fact
        if not isinstance(fact, PoolObserved):
            return
        key, number = (fact.org, fact.pool), number_of(fact.window_from)
        if number <= self._newest.get(key, _NONE):
            return
        ring = self._rings.get(key)
        if ring is None:
            ring = self._rings[key] = array("q", [_NONE]) * (PLACES * _NUMBERS)
        self._newest[key] = number
        demand = fact.demand
        begin = number % PLACES * _NUMBERS
        ring[begin : begin + _NUMBERS] = array(
            "q",
            (
                number,
                demand.samples
                if demand is not None
                else max((one.samples for one in fact.readings), default=0),
                demand.mean if demand is not None else _NONE,
                demand.maximum if demand is not None else _NONE,
                fact.vms.serving,
                fact.vms.awake,
                fact.vms.asleep,
                fact.vms.wanted,
            ),
        )


def number_of(window_from: dt.datetime) -> int:
    """The window's number since 1970."""
    return (window_from - _EPOCH) // dt.timedelta(seconds=WINDOW_SECONDS)


def _moment(number: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(seconds=number * WINDOW_SECONDS)
