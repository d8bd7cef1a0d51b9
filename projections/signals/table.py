"""The table `signals`: every query that is lost now."""

from collections.abc import Iterable

from events.envelope import Recorded
from events.pool import PoolDefined
from events.signal import SignalFound, SignalLost
from projections.signals.fold import Signals
from projections.table import Cell, Key, Table


def _touched(recorded: Recorded) -> Iterable[Key]:
    match recorded.fact:
        case SignalLost() | SignalFound() as fact:
            yield fact.org, fact.pool
        case PoolDefined() as fact:
            yield fact.org, fact.pool
        case _:
            pass


def _row(view: Signals, key: Key) -> tuple[Cell, ...] | None:
    org, pool = key
    losses = list(view.losses(org, pool))
    if not losses:
        return None
    first = losses[0]
    newest = max((one.last_sample_at for one in losses if one.last_sample_at is not None), default=None)
    return (
        org,
        pool,
        len(losses),
        ", ".join(sorted({one.source for one in losses})),
        first.code,
        first.lost_at.isoformat(),
        None if newest is None else newest.isoformat(),
        first.text,
    )


TABLES = (
    Table(
        "signals",
        Signals,
        ("org", "pool", "lost", "sources", "code", "lost_at", "last_sample_at", "text"),
        2,
        _touched,
        _row,
        takes=Signals.TAKES,
    ),
)
"""A pool of which a query is lost, with the one that was lost first; pools of which all are heard are not in it."""
