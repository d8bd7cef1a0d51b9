"""The chain of decisions: which decision about an org comes next, and that no other is folded."""

from dataclasses import dataclass, field

from events.envelope import Recorded
from events.gate import GateDecided


@dataclass(slots=True)
class Fences:
    """The last decision about each org, as far as one fold has read.

    The bus lets only one decision through at a time; this holds it once more for whoever reads: a decision that
    does not follow the last one, a copy for instance, is not folded. `began` is the sequence after which the fold
    reads, 0 for all of the ledger: the first decision it meets may follow any one before that.
    """

    began: int = 0
    _last: dict[str, int] = field(default_factory=dict[str, int])

    def last(self, org: str) -> int:
        """The sequence of the last decision about the org; 0 when there is none."""
        return self._last.get(org, 0)

    def pass_on(self, recorded: Recorded, decided: GateDecided) -> bool:
        """Whether the decision is the next one about its org; from then on it is the last."""
        last = self._last.get(decided.org)
        if decided.follows > self.began if last is None else decided.follows != last:
            return False
        self._last[decided.org] = recorded.seq
        return True
