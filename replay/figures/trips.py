"""How long VMs took from asleep to serving, trip by trip, in the five steps of the budget."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from events.envelope import Recorded
from projections.activations.fold import BUDGET_MS, Activation, Activations
from replay.figures.span import Span, nanoseconds

TOTAL: Final = "total"
STEPS: Final = (*BUDGET_MS, TOTAL)

_SETTLE_EVERY: Final = 4096


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of `count` durations: the median and the 99th percentile, each one of them (nearest rank)."""

    count: int
    p50_ms: float
    p99_ms: float


class Trips:
    """The durations of trips that ended serving within the span. What is over is counted and forgotten."""

    TAKES = Activations.TAKES

    def __init__(self, span: Span) -> None:
        self._span = span
        self._view = Activations()
        self._took = {step: array("d") for step in STEPS}
        self._since_settled = 0
        self.booted = 0
        """Trips of the span that began with a cold boot; they are in no quantile."""
        self.failed = 0
        """Trips, however begun, that ended without serving, by when they were told."""

    def apply(self, recorded: Recorded) -> None:
        """The fold now includes the event."""
        known = self._view.activations
        before = {order: known.get(order) for order in self._view.concerned(recorded.fact)}
        self._view.apply(recorded)
        for order, former in before.items():
            trip = known.get(order)
            if trip is not None and trip.stage != (former.stage if former is not None else "ordered"):
                self._count(trip, recorded.stored_ns)
        self._since_settled += 1
        if self._since_settled == _SETTLE_EVERY:
            self._view.settle()
            self._since_settled = 0

    def quantiles(self, step: str) -> Quantiles | None:
        """Of one step, or of the whole trip; None where no trip had it."""
        return quantiles(sorted(self._took[step]))

    def _count(self, trip: Activation, at_ns: int) -> None:
        if trip.stage == "failed" and self._span.holds(at_ns):
            self.failed += 1
        if trip.stage != "serving" or trip.serving_at is None:
            return
        if not self._span.holds(nanoseconds(trip.serving_at)):
            return
        if trip.way == "boot":
            self.booted += 1
        elif trip.way == "resume":
            for step, took_ms in {**trip.steps_ms(), TOTAL: trip.total_ms()}.items():
                if took_ms is not None:
                    self._took[step].append(took_ms)


def quantiles(ordered: Sequence[float]) -> Quantiles | None:
    """The quantiles of durations that are sorted already; None of none."""
    count = len(ordered)
    if not count:
        return None
    return Quantiles(count, ordered[(count - 1) // 2], ordered[-(-count * 99 // 100) - 1])
