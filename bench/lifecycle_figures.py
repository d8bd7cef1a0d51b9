"""What bench/lifecycle.py measured: each step ours and bare, its bound, and where ours went."""

import json
import statistics
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

MOST_RATIO: Final = 1.3
MOST_MS: Final = 20.0

Step = Callable[[], Awaitable["float | Way"]]
"""One call that says how many milliseconds it took."""


@dataclass(frozen=True, slots=True)
class Way:
    """What a step took, in milliseconds, from one line of the ledger to the next."""

    door: float
    """Until the request was stored."""
    gate: float
    """Until it was decided."""
    work: float
    """Until the outcome was stored."""
    heard: float
    """Until whoever asked had read it."""

    @property
    def whole(self) -> float:
        """All of it."""
        return self.door + self.gate + self.work + self.heard


@dataclass(slots=True)
class Row:
    """One step of one kind of storage."""

    ours: list[float] = field(default_factory=list[float])
    bare: list[float] = field(default_factory=list[float])
    ways: list[Way] = field(default_factory=list[Way])

    def said(self) -> dict[str, object]:
        """Its medians and its least, which a busy machine disturbs least, and whether it is within its bound; one without a bare call has none."""
        ours = statistics.median(self.ours)
        said: dict[str, object] = {"times": len(self.ours), "ours_ms": round(ours, 1)}
        if self.bare:
            bare = statistics.median(self.bare)
            said |= {
                "bare_ms": round(bare, 1),
                "more_ms": round(ours - bare, 1),
                "ratio": round(ours / bare, 2),
                "least_ours_ms": round(min(self.ours), 1),
                "least_bare_ms": round(min(self.bare), 1),
                "passed": ours <= bare * MOST_RATIO or ours - bare <= MOST_MS,
            }
        for hop in ("door", "gate", "work", "heard") if self.ways else ():
            said[f"{hop}_ms"] = round(statistics.median(getattr(way, hop) for way in self.ways), 1)
        return said


class Figures:
    """All rows, in the order in which they came."""

    def __init__(self) -> None:
        self._rows: defaultdict[str, Row] = defaultdict(Row)

    def ours(self, what: str, took: "float | Way") -> None:
        """The step took so long through the workers."""
        row = self._rows[what]
        if isinstance(took, Way):
            row.ways.append(took)
            took = took.whole
        row.ours.append(took)

    async def turn(self, what: str, ours: Step, bare: Step, *, ours_first: bool) -> None:
        """The step is done once by ours and once bare, one after the other."""
        for mine in (ours_first, not ours_first):
            took = await (ours if mine else bare)()
            if mine:
                self.ours(what, took)
            else:
                assert not isinstance(took, Way)
                self._rows[what].bare.append(took)

    def report(self, rounds: int, mib: int) -> str:
        """A table, and the same as JSON in its last line."""
        columns = (
            "ours",
            "bare",
            "more",
            "ratio",
            "least_ours",
            "least_bare",
            "door",
            "gate",
            "work",
            "heard",
        )
        head = f"milliseconds, medians of {rounds}"
        lines = [f"{head:<36}" + "".join(f"{one.replace('_', ' '):>11}" for one in columns)]
        said = {what: row.said() for what, row in self._rows.items()}
        for what, row in said.items():
            cells = (row.get(one if one == "ratio" else f"{one}_ms", "") for one in columns)
            over = "" if row.get("passed", True) else "  over"
            lines.append(f"{what:<36}" + "".join(f"{cell!s:>11}" for cell in cells) + over)
        passed = all(row.get("passed", True) for row in said.values())
        lines.append(json.dumps({"rounds": rounds, "mib": mib, "passed": passed, "steps": said}))
        return "\n".join(lines)
