"""How far a maintenance can come from where it is, as a table."""

from types import MappingProxyType
from typing import Final, Literal

from schemas.activity import Stage

Step = Literal[
    "announce", "change", "fall-due", "begin", "end", "lapse", "postpone", "replan", "join", "cancel"
]
"""What happens to a maintenance.

`change` is one that contacts need a full notice of, `join` one that they are only told; `lapse` is a notice whose day has come,
for which nothing is run.
"""

TABLE: Final = MappingProxyType[Stage, dict[Step, Stage]](
    {
        "planned": {
            "announce": "announced",
            "change": "planned",
            "join": "planned",
            "postpone": "postponed",
            "cancel": "cancelled",
        },
        "announced": {
            "change": "planned",
            "join": "announced",
            "fall-due": "due",
            "lapse": "ended",
            "postpone": "postponed",
            "cancel": "cancelled",
        },
        "due": {"begin": "running", "postpone": "postponed", "cancel": "cancelled"},
        "running": {"end": "ended"},
        "postponed": {"replan": "planned", "cancel": "cancelled"},
        "ended": {},
        "cancelled": {},
    }
)
"""Work that runs is never postponed or cancelled: half of it would be done. What the gate refuses ends as `refused`."""

OPEN: Final[frozenset[Stage]] = frozenset({"planned", "announced"})
"""May take more work in."""

WAITING: Final[frozenset[Stage]] = frozenset({"planned", "announced", "due", "postponed"})
"""Has not begun, and may still not."""

OCCUPYING: Final[frozenset[Stage]] = frozenset({"planned", "announced", "due", "running"})
"""Its slot is its own: nothing else of the same VM lies in it."""


class StageError(Exception):
    """A step was asked of a maintenance in a stage that does not have it: a mistake of the caller's."""

    code = "StepImpossible"


def after(stage: Stage, step: Step) -> Stage:
    """The stage to which the step leads; `StageError` names the steps there are."""
    steps = TABLE[stage]
    if step not in steps:
        there = ", ".join(steps) or "nothing"
        raise StageError(
            f"A maintenance that is {stage} has no step {step!r}; from there it goes by {there}."
        )
    return steps[step]
