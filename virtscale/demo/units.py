"""Whether capacity was there before demand was: units of demand that found a VM awake, second by second.

The definition is that of the backtest (docs/prediction.md), on real VMs instead of targets: each +1 of what demand needed at
most in the last 90 s is a unit, and a VM that is held back as warm reserve does not count for it.
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

HOLD_SECONDS: Final = 90


@dataclass(slots=True)
class Units:
    """Counts of one run; `look` is called once a second."""

    units: int = 0
    hits: int = 0
    """A VM beyond the reserve served when the unit came."""
    absorbed: int = 0
    """Only the reserve had room for it."""
    late: int = 0
    """Not even the reserve had."""
    seconds: int = 0
    short_seconds: int = 0
    """Seconds in which demand needed more VMs than served."""
    served: int = 0
    """VM-seconds that served."""
    _needs: deque[tuple[int, int]] = field(default_factory=deque[tuple[int, int]])
    _active: int = 0

    def look(self, demand_vms: float, serving: int, reserve: int) -> None:
        """One more second: what demand would fill, the VMs that serve, and how many of them are the reserve."""
        need = max(1, math.ceil(demand_vms))
        while self._needs and self._needs[-1][1] <= need:
            self._needs.pop()
        self._needs.append((self.seconds, need))
        while self._needs[0][0] <= self.seconds - HOLD_SECONDS:
            self._needs.popleft()
        active = self._needs[0][1]
        for unit in range(self._active + 1, active + 1) if self.seconds else ():
            self.units += 1
            if unit <= serving - reserve:
                self.hits += 1
            elif unit <= serving:
                self.absorbed += 1
            else:
                self.late += 1
        self._active = active
        self.seconds += 1
        self.served += serving
        self.short_seconds += need > serving

    @property
    def hit_percent(self) -> float | None:
        """The share of units that were hit; None of none."""
        return 100 * self.hits / self.units if self.units else None
