"""The table `demand`: a pool's windows of five minutes, one row for each place in the day.

A place is written over when its time has come again, so that a pool has at most 288 rows; after a silence some are of a day
before, and whoever reads takes those within 24 hours of the pool's newest.
"""

from collections.abc import Iterable

from events.envelope import Recorded
from events.pool import PoolObserved
from projections.demand.fold import PLACES, WINDOW_SECONDS, Demand, number_of
from projections.table import Cell, Key, Table


def _touched(recorded: Recorded) -> Iterable[Key]:
    fact = recorded.fact
    if isinstance(fact, PoolObserved):
        yield fact.org, fact.pool, _time(number_of(fact.window_from) % PLACES)


def _row(view: Demand, key: Key) -> tuple[Cell, ...] | None:
    org, pool, time = key
    hour, minute = time.split(":")
    point = view.at(org, pool, (int(hour) * 3600 + int(minute) * 60) // WINDOW_SECONDS)
    if point is None:
        return None
    return (
        org,
        pool,
        time,
        point.window_from.isoformat(),
        point.window_until.isoformat(),
        point.samples,
        point.mean_milli_vms,
        point.most_milli_vms,
        point.serving,
        point.awake,
        point.asleep,
        point.wanted,
    )


def _time(place: int) -> str:
    """When in the day a place begins, in UTC."""
    hours, seconds = divmod(place * WINDOW_SECONDS, 3600)
    return f"{hours:02}:{seconds // 60:02}"


TABLES = (
    Table(
        "demand",
        Demand,
        (
            "org",
            "pool",
            "time",
            "window_from",
            "window_until",
            "samples",
            "demand_mean_milli_vms",
            "demand_most_milli_vms",
            "serving",
            "awake",
            "asleep",
            "wanted",
        ),
        3,
        _touched,
        _row,
        takes=Demand.TAKES,
    ),
)
"""What each pool needed and had, in thousandths of a VM and in VMs."""
