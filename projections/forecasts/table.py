"""The table `forecasts`: what each pool was last thought to need, one row a pool."""

from collections.abc import Iterable

from events.envelope import Recorded
from events.forecast import ForecastMade
from projections.forecasts.fold import Forecasts
from projections.table import Cell, Key, Table


def _touched(recorded: Recorded) -> Iterable[Key]:
    fact = recorded.fact
    if isinstance(fact, ForecastMade):
        yield fact.org, fact.pool


def _row(view: Forecasts, key: Key) -> tuple[Cell, ...] | None:
    org, pool = key
    fact = view.newest(org, pool)
    if fact is None:
        return None
    outlook = fact.outlook
    return (
        org,
        pool,
        fact.mode,
        fact.reason,
        fact.made_at.isoformat(),
        fact.since.isoformat(),
        fact.ticks,
        fact.target,
        fact.reserve,
        fact.want,
        fact.staying,
        int(fact.capped),
        None if outlook is None else outlook.level,
        None if outlook is None else outlook.slope,
        None if outlook is None else outlook.seasonal,
        None if outlook is None else outlook.margin,
        None if outlook is None else outlook.peak,
        fact.horizon_seconds,
        fact.coverage_bp,
        fact.history_seconds,
    )


TABLES = (
    Table(
        "forecasts",
        Forecasts,
        (
            "org",
            "pool",
            "mode",
            "reason",
            "made_at",
            "since",
            "ticks",
            "target",
            "reserve",
            "want",
            "staying",
            "capped",
            "level_milli_vms",
            "slope_milli_vms",
            "seasonal_milli_vms",
            "margin_milli_vms",
            "peak_milli_vms",
            "horizon_seconds",
            "coverage_bp",
            "history_seconds",
        ),
        2,
        _touched,
        _row,
        takes=Forecasts.TAKES,
    ),
)
"""A pool's target, what it was made of in thousandths of a VM, and what followed from it."""
