"""The table `breakers`: those that were opened and not closed, as that was told; whether one's time is over, the reader's clock says.

Failures that come behind its time are in the row once the gate opens it anew: a row says nothing that no event of it said, or
it would depend on when it was written.
"""

from collections.abc import Iterable
from typing import get_args

from events.breaker import BreakerClosed, BreakerOpened
from events.envelope import Recorded
from events.host import HostFenced, HostRemoved
from projections.breakers.fold import Breakers
from projections.breakers.known import Place, keys_of
from projections.table import ALL, Cell, Key, Table


def _touched(recorded: Recorded) -> Iterable[Key]:
    match recorded.fact:
        case BreakerOpened() | BreakerClosed() as fact:
            return keys_of(fact)
        case HostFenced() | HostRemoved():
            return (ALL,)  # ends breakers that it does not name
        case _:
            return ()


def _rows(breakers: Breakers, prefix: Key) -> Iterable[Key]:
    return [key for key in breakers.opened if key[: len(prefix)] == prefix]


def _row(breakers: Breakers, key: Key) -> tuple[Cell, ...] | None:
    org, pool, scope, name = key
    places: tuple[Place, ...] = get_args(Place)
    one = next((breakers.opened.get((org, pool, place, name)) for place in places if place == scope), None)
    if one is None or one.opened_at is None or one.until is None:
        return None
    return (*key, one.told_failures, one.told_code, one.opened_at.isoformat(), one.until.isoformat())


TABLES = (
    Table(
        "breakers",
        Breakers,
        ("org", "pool", "scope", "name", "failures", "code", "opened_at", "until"),
        4,
        _touched,
        _row,
        _rows,
        takes=frozenset({BreakerOpened, BreakerClosed, HostFenced, HostRemoved}),
    ),
)
"""One row per pool and place."""
