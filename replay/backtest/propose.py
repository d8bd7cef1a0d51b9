"""From the shape of a demand to the terms that would carry it: quota, allowance, warm reserve, and how its pool goes to sleep.

Numbers only, each with its reason; that they are written as a contract, and signed, is somebody else's part.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from replay.backtest.score import DAY_SECONDS, Course, Targets, awake

ALLOWANCES_BP: Final = (500, 1000, 2000)
RESERVES_BP: Final = (500, 1000, 1500, 2000)
NOTICE_DAYS: Final = 30
"""An addendum takes effect so long after it was accepted: until then the first contract has to carry the growth."""

_LEAST_HEADROOM_BP: Final = 1000
_MOST_HEADROOM_BP: Final = 10_000
_QUOTA_QUANTILE: Final = 0.99
_FLOOR_QUANTILE: Final = 0.001
_SHORT: Final = 0.0001
_WEEK_DAYS: Final = 7
_USUAL_BATCH: Final = 8
_MOST_BATCH: Final = 64
_MOST_PER_MINUTE: Final = 1000


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would carry the demand, in VMs of the size that serves `per_vm` of it, and why it is so much."""

    per_vm: float
    quota_vms: int
    allowance_bp: int
    reserve_bp: int
    most_vms: int
    """The limit in whole VMs: quota with allowance, rounded down."""
    peak_vms: int
    """What the trace's highest minute needed."""
    headroom_bp: int
    min_vms: int
    wake_batch: int
    quiesce_per_minute: int
    reasons: dict[str, str]


def propose(course: Course, targets: Targets, *, days: float) -> Proposal:
    """Terms whose limit covers the highest minute of the trace, growth until an addendum can help, and the reserve beside.

    `targets` are the forecaster's, by which the reserve is chosen: the smallest that would have left no more than 0.01 % of
    the time short.
    """
    level = course.level
    peak = max(1, int(np.ceil(level.max())))
    headroom, grown = _headroom(course)
    reserve, left = _reserve(course, targets)
    carried = int(np.ceil(float(level.max()) * (10_000 + headroom) / 10_000))
    usual = int(np.ceil(float(np.quantile(level, _QUOTA_QUANTILE)) * (10_000 + headroom) / 10_000))
    quota, allowance = _quota(usual, carried, reserve)
    most = quota + quota * allowance // 10_000
    fastest_fall = _fastest(-level, course, 60)
    fastest_rise = _fastest(level, course, 90)
    batch = min(_MOST_BATCH, max(_USUAL_BATCH, fastest_rise))
    drains = min(_MOST_PER_MINUTE, max(1, fastest_fall))
    floor = int(np.floor(np.quantile(level, _FLOOR_QUANTILE)))
    return Proposal(
        per_vm=course.cap,
        quota_vms=quota,
        allowance_bp=allowance,
        reserve_bp=reserve,
        most_vms=most,
        peak_vms=peak,
        headroom_bp=headroom,
        min_vms=floor,
        wake_batch=batch,
        quiesce_per_minute=drains,
        reasons={
            "per_vm": f"one VM serves {course.cap:.6g} of the trace's unit: 99.95 % of it fits 90 % of {course.terms.vms} VMs",
            "quota": f"{usual} VMs carry 99 % of the trace with {headroom / 100:g} % headroom; {quota} are committed, so that "
            f"the limit of {most} covers its highest minute ({peak} VMs, {carried} with headroom) and the reserve beside it",
            "headroom": f"{headroom / 100:g} % on top of {days:.1f} days: {grown}; an addendum takes {NOTICE_DAYS} days",
            "allowance": f"{allowance / 100:g} % above the quota is needed only above that; 5, 10 or 20 can be signed",
            "reserve": f"{reserve / 100:g} % awake beside the forecast left {100 * left:.3f} % of the time short",
            "min_vms": f"demand stood below {floor} VMs in fewer than 0.1 % of the samples"
            if floor
            else "at times demand falls to nothing; the warm reserve stays awake all the same",
            "wake_batch": f"the steepest rise within 90 s was {fastest_rise} VMs; one host wakes 8 together fastest",
            "quiesce_per_minute": f"the steepest fall within a minute was {fastest_fall} VMs",
        },
    )


def _headroom(course: Course) -> tuple[int, str]:
    """Basis points on top of the highest minute: 10 %, or the growth in the notice's 30 days where that is more."""
    day = DAY_SECONDS // course.terms.step_seconds
    weeks = len(course.level) // (_WEEK_DAYS * day)
    if weeks < 2:  # noqa: PLR2004 - growth is a difference
        return _LEAST_HEADROOM_BP, "less than two weeks tell no growth, so 10 % are added"
    means = course.level[: weeks * _WEEK_DAYS * day].reshape(weeks, -1).mean(axis=1)
    # Straight through the weeks' means: one exceptional week moves it little.
    places = np.arange(weeks) - (weeks - 1) / 2
    slope = float((places * means).sum() / (places * places).sum())
    weekly = slope / float(means.mean())
    growth = round(10_000 * weekly * NOTICE_DAYS / _WEEK_DAYS)
    chosen = min(_MOST_HEADROOM_BP, max(_LEAST_HEADROOM_BP, growth))
    return chosen, f"its {weeks} weeks changed by {100 * weekly:+.1f} % a week"


def _reserve(course: Course, targets: Targets) -> tuple[int, float]:
    first = course.terms.taught_samples
    lacking = course.need[first:] - awake(course, targets)[first:]
    left = 1.0
    for reserve in RESERVES_BP:
        left = float((lacking > course.terms.vms * reserve // 10_000).mean())
        if left <= _SHORT:
            return reserve, left
    return RESERVES_BP[-1], left


def _quota(usual: int, carried: int, reserve_bp: int) -> tuple[int, int]:
    """The smallest quota, and for it the smallest allowance, whose limit holds what is carried and the reserve beside it."""
    quota = max(1, usual)
    while True:
        kept = -(-quota * reserve_bp // 10_000)
        for allowance in ALLOWANCES_BP:
            if quota + quota * allowance // 10_000 >= carried + kept:
                return quota, allowance
        quota += 1


def _fastest(level: NDArray[np.float64], course: Course, seconds: int) -> int:
    """The most that it rises by within so many seconds, in whole VMs; at least over one step, and then by its share."""
    step = course.terms.step_seconds
    samples = max(1, seconds // step)
    rises = level[samples:] - level[:-samples]
    return max(0, int(np.ceil(float(rises.max(initial=0.0)) * min(1.0, seconds / step))))
