"""Which pools' measurements are lost, folded from what signal says of them."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from events.envelope import Recorded
from events.fact import Fact
from events.ids import derive
from events.pool import PoolDefined, Source
from events.signal import SignalFound, SignalLost
from schemas.pool import Pool

Place = tuple[Source, str]
"""Which of a pool's queries: what it is for, and its name."""


@dataclass(frozen=True, slots=True)
class Loss:
    """One query of a pool yields nothing new since `last_sample_at`, which is None where it never did."""

    org: str
    pool: str
    source: Source
    query: str
    code: str
    text: str
    last_sample_at: dt.datetime | None
    lost_at: dt.datetime
    seq: int
    """Where the loss stands in the ledger."""


class Signals:
    """The losses that hold. A query that is no longer the pool's is not lost: nobody asks it any more.

    Nor is it where that is told behind the definition that took the query away: whoever told it had not read so.
    """

    TAKES: Final[frozenset[type[Fact]]] = frozenset({PoolDefined, SignalLost, SignalFound})

    def __init__(self) -> None:
        self._lost: dict[tuple[str, str], dict[Place, Loss]] = {}
        self._places: dict[tuple[str, str], set[Place]] = {}

    def lost(self, org: str, pool: str) -> bool:
        """Whether any query of the pool is lost: nothing of it is put to sleep automatically until it is found."""
        return (org, pool) in self._lost

    def losses(self, org: str, pool: str) -> Iterable[Loss]:
        """What is lost of the pool, the longest lost first."""
        return self._lost.get((org, pool), {}).values()

    def loss(self, org: str, pool: str, place: Place) -> Loss | None:
        """The loss of one query; None while it is heard."""
        return self._lost.get((org, pool), {}).get(place)

    def apply(self, recorded: Recorded) -> None:
        """The view now includes the event. A loss that is told again stays the first one."""
        match recorded.fact:
            case SignalLost() as fact if self._asks(fact):
                known = self._lost.setdefault((fact.org, fact.pool), {})
                known.setdefault(
                    (fact.source, fact.query),
                    Loss(
                        org=fact.org,
                        pool=fact.pool,
                        source=fact.source,
                        query=fact.query,
                        code=fact.code,
                        text=fact.text,
                        last_sample_at=fact.last_sample_at,
                        lost_at=fact.lost_at,
                        seq=recorded.seq,
                    ),
                )
            case SignalFound() as fact:
                self._drop((fact.org, fact.pool), {(fact.source, fact.query)})
            case PoolDefined() as fact:
                key = (fact.org, fact.pool)
                self._places[key] = places(fact.definition)
                self._drop(key, self._lost.get(key, {}).keys() - self._places[key])
            case _:
                pass

    def _asks(self, fact: SignalLost) -> bool:
        """Whether the query is the pool's; of a pool that nobody defined, what is told of it is all that is known."""
        asked = self._places.get((fact.org, fact.pool))
        return asked is None or (fact.source, fact.query) in asked

    def _drop(self, key: tuple[str, str], gone: set[Place]) -> None:
        known = self._lost.get(key)
        if known is None:
            return
        for place in gone:
            known.pop(place, None)
        if not known:
            del self._lost[key]


def places(pool: Pool) -> set[Place]:
    """The queries of a pool as the events of a loss name them."""
    found: set[Place] = {("trigger", derive("query", trigger.query)) for trigger in pool.triggers}
    if pool.demand is not None:
        found.add(("demand", derive("query", pool.demand.query)))
    return found
