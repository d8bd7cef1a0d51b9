"""What is told of a request, and of one VM's trip from the order to serving."""

import datetime as dt
from typing import Literal

import msgspec

from events.gate import Answer, ContractRef

Stage = Literal["ordered", "awake", "ready", "serving", "failed", "prepared"]


class Request(msgspec.Struct, frozen=True, gc=False):
    """One request as it was stored and what it was answered."""

    id: str
    seq: int
    org: str
    pool: str
    verb: str
    publisher: str
    asked: str
    stored_at: dt.datetime
    observed_at: dt.datetime | None = None
    answer: Answer | None = None
    contract: ContractRef | None = None
    decided_at: dt.datetime | None = None
    decided_seq: int | None = None
    mailed_at: dt.datetime | None = None


class Activation(msgspec.Struct, frozen=True, gc=False):
    """One VM's trip, from the order to serving. Times are UTC; a step that did not happen is None."""

    order: str
    reservation: str
    request: str
    org: str
    vm: str
    pool: str
    way: Literal["resume", "boot", "return"]
    """`return` is a VM that came back to serving because its drain was cancelled."""
    stage: Stage
    decided_seq: int
    """The sequence of the decision that ordered it."""
    requested_at: dt.datetime
    decided_at: dt.datetime
    observed_at: dt.datetime | None = None
    awake_at: dt.datetime | None = None
    ready_at: dt.datetime | None = None
    serving_at: dt.datetime | None = None
    failure: str | None = None

    def steps_ms(self) -> dict[str, float | None]:
        """L1 to L5 in milliseconds; None where a step has not happened or, for L1, where a person asked."""
        return {
            "L1": _between(self.observed_at, self.requested_at),
            "L2": _between(self.requested_at, self.decided_at),
            "L3": _between(self.decided_at, self.awake_at),
            "L4": _between(self.awake_at, self.ready_at),
            "L5": _between(self.ready_at, self.serving_at),
        }

    def total_ms(self) -> float | None:
        """From the sample, or the stored request where there is none, to serving."""
        return _between(self.observed_at or self.requested_at, self.serving_at)


def _between(start: dt.datetime | None, end: dt.datetime | None) -> float | None:
    """Milliseconds from start to end, never below zero: neighbouring steps are seen by different workers."""
    if start is None or end is None:
        return None
    return max(0.0, (end - start) / dt.timedelta(milliseconds=1))
