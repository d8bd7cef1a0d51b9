"""What the gate answered: refusals by reason, and who asked for the growth that it granted."""

from collections import Counter
from typing import Final

from events.envelope import Recorded
from events.fact import Fact
from events.fences import Fences
from events.gate import Answer, GateDecided
from events.scale import Origin, ScaleRequested
from replay.figures.span import Span

CAP: Final = "CapExceeded"
"""The refusal past the envelope, which HTTP says as 429."""

GROWING: Final[frozenset[Origin]] = frozenset({"trigger", "forecast"})
"""Those who ask because of demand: after it has come, or before."""


class Answers:
    """Refusals in a month and in a year, and VMs granted in the month, by who asked."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset({ScaleRequested, GateDecided})

    def __init__(self, month: Span, year: Span) -> None:
        self._month = month
        self._year = year
        self._fences = Fences()
        self._origins: dict[str, Origin] = {}
        """Of requests that wait for their answer."""
        self.refused: Counter[str] = Counter()
        """In the month, by code: requests of which something was refused."""
        self.capped_in_year = 0
        self.granted: Counter[Origin] = Counter()
        """VMs in the month."""

    def apply(self, recorded: Recorded) -> None:
        """The fold now includes the event."""
        match recorded.fact:
            case ScaleRequested(origin=origin):
                self._origins.setdefault(recorded.id, origin)
            case GateDecided() as decided if self._fences.pass_on(recorded, decided):
                for answer in decided.answers:
                    self._answer(answer, recorded.stored_ns)
            case _:
                pass

    def _answer(self, answer: Answer, at_ns: int) -> None:
        origin = self._origins.pop(answer.request, None)
        if answer.outcome in {"refused", "partial"}:
            if self._month.holds(at_ns):
                self.refused[answer.code] += 1
            if self._year.holds(at_ns) and answer.code == CAP:
                self.capped_in_year += 1
        if origin is not None and self._month.holds(at_ns):
            self.granted[origin] += answer.granted
