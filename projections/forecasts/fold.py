"""The newest forecast of each pool, folded from what the forecaster told."""

import datetime as dt
from collections.abc import Iterable
from typing import Final

from events.envelope import Recorded
from events.fact import Fact
from events.forecast import ForecastMade

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_AHEAD: Final = dt.timedelta(seconds=60)
"""A forecast that says it was made so much later than the bus took a newer one was made by a wrong clock."""


class Forecasts:
    """What was told last of every pool. One that tells ticks which were told already changes nothing.

    One that was made in the future, by the bus's time, gives way to the next: a wrong clock silences no pool.
    """

    TAKES: Final[frozenset[type[Fact]]] = frozenset({ForecastMade})

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str], ForecastMade] = {}
        self._last: dict[tuple[str, str], int] = {}

    def pools(self) -> Iterable[tuple[str, str]]:
        """Org and name of every pool that a forecast was ever made of."""
        return self._newest.keys()

    def newest(self, org: str, pool: str) -> ForecastMade | None:
        """The last one told; None where none ever was."""
        return self._newest.get((org, pool))

    def last_seq(self, org: str, pool: str) -> int:
        """The sequence of the last message about the pool's forecast; 0 where there is none. Whoever tells the next expects it."""
        return self._last.get((org, pool), 0)

    def apply(self, recorded: Recorded) -> None:
        """The view now includes the event."""
        fact = recorded.fact
        if not isinstance(fact, ForecastMade):
            return
        key = (fact.org, fact.pool)
        self._last[key] = recorded.seq
        former = self._newest.get(key)
        present = _EPOCH + dt.timedelta(microseconds=recorded.stored_ns // 1000) + _AHEAD
        if former is None or former.made_at < fact.made_at or fact.made_at <= present < former.made_at:
            self._newest[key] = fact
