"""What was forecast: for how many pools, over how many ticks, and how many of these had to hold for want of a signal."""

from typing import Final

from events.envelope import Recorded
from events.fact import Fact
from events.forecast import ForecastMade
from replay.figures.span import Span

LOST: Final = "signal-lost"


class Foresight:
    """Ticks of 15 s within a span, by what their forecasts may do; one event tells many ticks that changed nothing."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset({ForecastMade})

    def __init__(self, span: Span) -> None:
        self._span = span
        self.moving_ticks = 0
        """Of pools whose forecast moves VMs."""
        self.watching_ticks = 0
        """Of pools whose forecast only watches."""
        self.lost_ticks = 0
        self.moving: set[tuple[str, str]] = set()
        self.watching: set[tuple[str, str]] = set()

    def apply(self, recorded: Recorded) -> None:
        """The fold now includes the event."""
        fact = recorded.fact
        if not isinstance(fact, ForecastMade) or not self._span.holds(recorded.stored_ns):
            return
        if fact.mode == "on":
            self.moving_ticks += fact.ticks
            self.moving.add((fact.org, fact.pool))
        else:
            self.watching_ticks += fact.ticks
            self.watching.add((fact.org, fact.pool))
        if fact.reason == LOST:
            self.lost_ticks += fact.ticks
