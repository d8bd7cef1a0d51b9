"""The rules of other autoscalers, tick by tick, in VMs: what they would have named as their target on a trace.

Each is the rule that its project documents, with that project's defaults, on the 15 s (or step) of the score; none sees more
than demand up to its tick. `utilization` is how full a VM may be on average: the one knob that their users turn.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from replay.backtest.score import Course, Targets
from replay.backtest.windows import mean_of_last

_STABLE_SECONDS: Final = 60
_PANIC_SHARE: Final = 0.1
_PANIC_RATIO: Final = 2.0
_DOWN_SECONDS: Final = 300
_TOLERANCE: Final = 0.1
_POLICY_SECONDS: Final = 15
_POLICY_PODS: Final = 4
_MOST_DOWN: Final = 2.0


def knative(course: Course, utilization: float = 0.7) -> Targets:
    """Knative's pod autoscaler: a stable window of 60 s, and a panic window of 6 s that takes over at 200 % of what is ready.

    In panic it never goes down; panic ends when 60 s have passed without its condition. Down at most to half at a time. The
    default target is 70 % of a container's concurrency. Where a step is longer than 6 s both windows hold one sample.
    """
    step = course.terms.step_seconds
    stable = _wanted(mean_of_last(course.demand, max(1, _STABLE_SECONDS // step))[course.at], utilization)
    panic = _wanted(
        mean_of_last(course.demand, max(1, int(_STABLE_SECONDS * _PANIC_SHARE) // step))[course.at],
        utilization,
    )
    ticks = -(-_STABLE_SECONDS // course.terms.tick_seconds)
    ready, since, highest = 1, -1, 0
    targets: list[int] = []
    for tick, (calm, hot) in enumerate(zip(stable.tolist(), panic.tolist(), strict=True)):
        if hot >= _PANIC_RATIO * ready:
            if since < 0:
                highest = 0
            since = tick
        elif since >= 0 and tick - since > ticks:
            since = -1
        if since >= 0:
            highest = max(highest, calm, hot, ready)
            wanted = highest
        else:
            wanted = max(calm, int(ready / _MOST_DOWN))
        ready = max(1, wanted)
        targets.append(ready)
    return np.array(targets, dtype=np.int64)


def kubernetes(course: Course, utilization: float = 0.8) -> Targets:
    """Kubernetes' horizontal pod autoscaler: 15 s sync, 10 % tolerance, down only to the highest wish of the last 300 s.

    Up at most to the double, or by 4, whichever is more, in 15 s: with a step that is longer, so often in each.
    """
    level = course.level[course.at]
    periods = max(1, course.terms.tick_seconds // _POLICY_SECONDS)
    window = max(1, _DOWN_SECONDS // course.terms.tick_seconds)
    ready = 1
    wishes: list[int] = []
    targets: list[int] = []
    for used in level.tolist():
        ratio = used / ready / utilization
        wish = ready if abs(ratio - 1.0) <= _TOLERANCE else max(1, int(-(-(ready * ratio) // 1)))
        wishes.append(wish)
        highest = max(wishes[-window - 1 :])
        wanted = wish if wish > ready else min(ready, highest)
        most = ready
        for _ in range(periods):
            if most >= wanted:
                break
            most = max(2 * most, most + _POLICY_PODS)
        ready = max(1, min(wanted, most))
        targets.append(ready)
        del wishes[: -window - 1]
    return np.array(targets, dtype=np.int64)


def hourly(course: Course, utilization: float = 0.8) -> Targets:
    """A forecast per hour, made every 6 h from the same hours of the last two weeks, beside scaling on what is measured.

    That is what a cloud's predictive scaling documents: hourly values, refreshed every 6 h, up to 14 days of history, at least
    one; capacity is the larger one of the forecast and of what utilisation asks for now, and an hour's begins 5 min early.
    """
    step = course.terms.step_seconds
    samples = max(1, 3600 // step)
    hours = -(-len(course.level) // samples)
    padded = np.concatenate((course.demand, np.full(hours * samples - len(course.demand), course.demand[-1])))
    means = padded.reshape(hours, samples).mean(axis=1)
    wanted = np.zeros(hours)
    for refreshed in range(24, hours, 6):
        ahead = np.arange(refreshed, min(refreshed + 6, hours))
        past = [ahead - 168 * weeks for weeks in (1, 2)]
        known = [means[places] for places in past if places[0] >= 0] or [means[ahead - 24]]
        wanted[ahead] = np.mean(known, axis=0)
    early = np.minimum(hours - 1, (course.at * step + 300) // (samples * step))
    places = np.minimum(hours - 1, course.at // samples)
    forecast = np.maximum(wanted[early], wanted[places])
    return _wanted(np.maximum(forecast, course.level[course.at]), utilization)


def _wanted(used: NDArray[np.float64], utilization: float) -> Targets:
    return np.maximum(1, np.ceil(used / utilization)).astype(np.int64)
