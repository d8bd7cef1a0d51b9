"""When a query counts as lost: nothing new for longer than it ever leaves us waiting. Pure.

Time here is the loop's, which no step of a clock moves and which stands still while the machine sleeps.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal

PATIENCE_SECONDS: Final = 30.0
"""Without a new sample for so long, a query is lost. Two ticks of the forecaster; six polls, so that no single scrape that fails
and no restart of Prometheus (0.1 s, measured) is told as a loss."""

SELDOM: Final = 2.5
"""Where samples come seldom, a query is lost after so many times the distance of its last two or three: a scrape that failed
between is no loss."""

FIRST_PATIENCE_SECONDS: Final = 150.0
"""After the first sample nobody knows when the next is due; a scrape a minute is common, and so is one that fails."""

LONGEST_PATIENCE_SECONDS: Final = 300.0
"""Prometheus itself forgets a series after five minutes."""

FEWEST_LOOKS: Final = 3
"""Whoever was kept from looking has heard nothing, which says nothing about the query."""

Why = Literal["silent", "stale", "vanished", "many", "no-number", "future"]

WORDS: Final[dict[str, str]] = {
    "silent": "the metrics store does not answer",
    "stale": "the newest sample stays the same",
    "vanished": "there is no such series",
    "many": "it yields several series instead of one",
    "no-number": "what it yields is no number that can be used",
    "future": "its samples are from the future: the metrics store's clock is wrong, or ours",
}
"""What is said of each reason."""


@dataclass(slots=True)
class Silence:
    """How long one query has yielded nothing new."""

    since: float
    """Nothing new was heard after this."""
    heard: bool = False
    """Whether a sample ever was."""
    answered: bool = False
    """Whether the metrics store ever said that there is nothing to measure."""
    looks: int = 0
    """Answers without anything new since then."""
    why: Why = "silent"
    distances: deque[float] = field(default_factory=lambda: deque(maxlen=2))
    """Between the last samples."""

    @property
    def patience_seconds(self) -> float:
        """How long the query may yield nothing new."""
        if not self.heard:
            return PATIENCE_SECONDS
        if not self.distances:
            return FIRST_PATIENCE_SECONDS
        # The shorter of the two: the one that ends a loss is as long as the loss was.
        return min(max(PATIENCE_SECONDS, SELDOM * min(self.distances)), LONGEST_PATIENCE_SECONDS)

    def hear(self, now: float) -> None:
        """A new sample came."""
        if self.heard:
            self.distances.append(now - self.since)
        self.since, self.heard, self.looks = now, True, 0

    def answer(self, now: float) -> None:
        """The metrics store says that there is nothing to measure: no sample, and no silence either."""
        self.since, self.answered, self.looks = now, True, 0

    def miss(self, why: Why) -> None:
        """A look found nothing new."""
        self.why = why
        self.looks += 1

    def is_lost(self, now: float) -> bool:
        """Whether the query has been silent for longer than it may."""
        return self.looks >= FEWEST_LOOKS and now - self.since > self.patience_seconds

    def is_heard(self, now: float) -> bool:
        """Whether something new came within the time that it may take."""
        return (self.heard or self.answered) and now - self.since <= self.patience_seconds

    def wait_anew(self, now: float) -> None:
        """Another worker has heard the query: only what is missed from here on counts."""
        self.since, self.looks = now, 0
