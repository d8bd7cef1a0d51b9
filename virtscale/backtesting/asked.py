"""What `virtscale backtest` was asked for, once it was looked at."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from virtscale.invocation import UsageError


@dataclass(frozen=True, slots=True)
class Asked:
    """The trace, how it is read, which rule runs over it, and where its answer goes."""

    trace: Path
    step_seconds: int
    vms: int
    policy: str
    knob: float | None
    coverage_bp: int
    horizon_seconds: int
    reserve_bp: int
    teach_days: int
    begin: dt.datetime | None
    end: dt.datetime | None
    column: str | None
    average_seconds: int | None
    outage_hours: float | None
    hold_gaps: bool
    """Whether gaps are no samples for whoever decides, as they are live; the score's definition fills them for it as well."""
    decisions: Path | None
    json: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose contract is proposed, for which pool and size of VM, into which directory, and as of when."""

    org: str
    pool: str
    vcpu: int
    memory_mib: int
    into: Path | None
    now: dt.datetime


def require_whole(value: int, what: str, unit: str, least: int, most: int) -> int:
    """The number, which lies within its bounds; `UsageError` for any other."""
    if not least <= value <= most:
        raise UsageError(f"{value} {unit} is no {what}: write {least} to {most}.")
    return value
