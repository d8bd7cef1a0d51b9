"""What was forecast: for how many pools, over how many ticks, and how many of these were without a signal."""

import datetime as dt
from typing import Final

from events.envelope import Recorded
from events.fact import Fact
from events.forecast import ForecastMade
from events.pool import PoolDefined
from events.signal import SignalFound, SignalLost
from projections.signals.fold import Signals
from replay.figures.span import Span

LOST: Final = "signal-lost"

_TICK: Final = dt.timedelta(seconds=15)
_UNNOTICED_TICKS: Final = 4
"""Without a sample before a loss is noticed, where signal does not say since when: the forecaster's own minute."""


class Foresight:
    """Ticks of 15 s within a span, by what their forecasts may do; one event tells many ticks that changed nothing.

    The trap: an event tells the ticks *before* it, so that the one with the reason `signal-lost` is about a pool that was measured
    until shortly before, and the one after it is about the loss.
    """

    TAKES: Final[frozenset[type[Fact]]] = frozenset({ForecastMade, PoolDefined, SignalLost, SignalFound})

    def __init__(self, span: Span) -> None:
        self._span = span
        self.moving_ticks = 0
        """Of pools whose forecast moves VMs."""
        self.watching_ticks = 0
        """Of pools whose forecast only watches."""
        self.lost_ticks = 0
        """Of both, those without a signal."""
        self.moving: set[tuple[str, str]] = set()
        self.watching: set[tuple[str, str]] = set()
        self._signals = Signals()
        self._lost: set[tuple[str, str]] = set()
        """Pools whose last line said that their signal is lost."""

    def apply(self, recorded: Recorded) -> None:
        """The fold now includes the event."""
        self._signals.apply(recorded)
        fact = recorded.fact
        if not isinstance(fact, ForecastMade):
            return
        lost = self._without(fact)
        if fact.reason == LOST:
            self._lost.add((fact.org, fact.pool))
        else:
            self._lost.discard((fact.org, fact.pool))
        if not self._span.holds(recorded.stored_ns):
            return
        if fact.mode == "on":
            self.moving_ticks += fact.ticks
            self.moving.add((fact.org, fact.pool))
        else:
            self.watching_ticks += fact.ticks
            self.watching.add((fact.org, fact.pool))
        self.lost_ticks += lost

    def _without(self, fact: ForecastMade) -> int:
        """How many of the ticks that are told had no signal; the one that ends a loss has one again."""
        if (fact.org, fact.pool) in self._lost:
            return fact.ticks if fact.reason == LOST else fact.ticks - 1
        if fact.reason != LOST:
            return 0
        losses = self._signals.losses(fact.org, fact.pool)
        heard = [one.last_sample_at for one in losses if one.last_sample_at is not None]
        silent = max((fact.made_at - min(heard)) // _TICK, 1) if heard else _UNNOTICED_TICKS
        return min(silent, fact.ticks)
