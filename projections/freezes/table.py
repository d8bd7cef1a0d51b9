"""The table `freezes`: each freeze that was ever said, with its end; one that ended before its time ended then."""

from collections.abc import Iterable

from events.envelope import Recorded
from events.freeze import ScalingFrozen, ScalingThawed
from projections.freezes.fold import Freezes
from projections.table import Cell, Key, Table


def _touched(recorded: Recorded) -> Iterable[Key]:
    if isinstance(recorded.fact, ScalingFrozen | ScalingThawed):
        yield (recorded.fact.org, recorded.fact.pool or "")


def _row(freezes: Freezes, key: Key) -> tuple[Cell, ...] | None:
    org, pool = key
    freeze = freezes.freezes.get((org, pool or None))
    if freeze is None:
        return None
    return org, pool, freeze.actor, freeze.reason, freeze.frozen_at.isoformat(), freeze.until.isoformat()


TABLES = (
    Table(
        "freezes",
        Freezes,
        ("org", "pool", "actor", "reason", "frozen_at", "until"),
        2,
        _touched,
        _row,
        takes=Freezes.TAKES,
    ),
)
"""The newest freeze of each pool, and with an empty `pool` of each org; whether it is over, the reader's clock says."""
