"""The table `breakers`: those that were opened and not closed; whether one's time is over, the reader's clock says."""

from collections.abc import Iterable

from events.breaker import BreakerClosed, BreakerOpened
from events.envelope import Recorded
from events.host import HostFenced, HostRemoved
from projections.breakers.fold import Breakers
from projections.table import ALL, Cell, Key, Table


def _touched(recorded: Recorded) -> Iterable[Key]:
    match recorded.fact:
        case BreakerOpened() | BreakerClosed() as fact:
            return ((fact.org, fact.pool, fact.scope, fact.name),)
        case HostFenced() | HostRemoved():
            return (ALL,)  # ends breakers that it does not name
        case _:
            return ()


def _rows(breakers: Breakers, prefix: Key) -> Iterable[Key]:
    return [key for key in breakers.opened if key[: len(prefix)] == prefix]


def _row(breakers: Breakers, key: Key) -> tuple[Cell, ...] | None:
    org, pool, scope, name = key
    one = breakers.opened.get((org, pool, "host" if scope == "host" else "template", name))
    if one is None or one.opened_at is None or one.until is None:
        return None
    return (*key, one.failures, one.code, one.opened_at.isoformat(), one.until.isoformat())


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
