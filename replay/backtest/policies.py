"""Every rule that the forecaster is compared with, by name; a rule and one number give a target for each decision."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from replay.backtest import peers
from replay.backtest.score import DAY_SECONDS, Course, Targets, oracle
from replay.backtest.windows import largest_of_next, mean_of_last

_WEEK_SECONDS: Final = 7 * DAY_SECONDS
_NOISE_SECONDS: Final = 1800
_SLOPE_SECONDS: Final = 300
_SLOT_SECONDS: Final = 300
_WEIGHT: Final = 0.5


@dataclass(frozen=True, slots=True)
class Policy:
    """A rule with its knob: `usual` is what its author or its documents set, `tried` what a curve is drawn of.

    Beyond `least` and `most` nothing is named that could be scored: of less than no headroom, and of VMs that are a millionth full.
    """

    name: str
    says: str
    targets: Callable[[Course, float], Targets]
    usual: float
    tried: tuple[float, ...] = ()
    least: float = 0.0
    most: float = 1e6


def reactive(course: Course, headroom: float = 0.0) -> Targets:
    """What the last 60 s needed, times (1 + headroom)."""
    return _whole(course, course.level * (1 + headroom))


def spare(course: Course, vms: float) -> Targets:
    """What the last 60 s needed, and so many VMs more."""
    return _whole(course, np.ceil(course.level) + vms)


def noise(course: Course, times: float) -> Targets:
    """The level, and so many times the root mean square of what it changed by in 90 s during the last 30 min."""
    return _whole(course, course.level + times * _rms(course))


def slope(course: Course, times: float) -> Targets:
    """The same on top of the 5-minute slope, drawn on for 90 s where it rises."""
    return _whole(course, course.level + _ahead(course) + times * _rms(course))


def last_week(course: Course, headroom: float = 0.0) -> Targets:
    """The most that was needed in these 90 s a week ago, times (1 + headroom): the seasonal naive forecast."""
    return _whole(course, _week_ago(course) * (1 + headroom))


def seeded(course: Course, headroom: float) -> Targets:
    """The larger of (last weeks' 5 minutes x how much more is needed now than then) and the slope, times (1 + headroom)."""
    step = course.terms.step_seconds
    samples = max(1, _SLOT_SECONDS // step)
    slots = -(-len(course.level) // samples)
    padded = np.concatenate((course.demand, np.full(slots * samples - len(course.demand), course.demand[-1])))
    means = padded.reshape(slots, samples).mean(axis=1)
    week = max(1, _WEEK_SECONDS // (samples * step))
    base = np.zeros(slots)
    for first in range(week, slots, week):
        last = min(first + week, slots)
        past = slice(first - week, last - week)
        base[first:last] = means[past] if first == week else _WEIGHT * (base[past] + means[past])
    now = np.repeat(base, samples)[: len(course.level)]
    later = np.concatenate((now[course.terms.hold_samples :], np.full(course.terms.hold_samples, now[-1])))
    window = max(1, _NOISE_SECONDS // step)
    then = mean_of_last(now, window)
    ratio = np.divide(mean_of_last(course.level, window), then, out=np.ones_like(then), where=then > 0)
    drawn = course.level + _ahead(course)
    return _whole(course, np.maximum(later * ratio, drawn) * (1 + headroom))


def _whole(course: Course, wanted: NDArray[np.float64]) -> Targets:
    return np.ceil(np.clip(wanted[course.at], 1, course.terms.vms)).astype(np.int64)


def _rms(course: Course) -> NDArray[np.float64]:
    """By how much the level changes in 90 s, as the root of the mean of squares over the last 30 min."""
    changed = _changed(course.level, course.terms.hold_samples)
    window = max(1, _NOISE_SECONDS // course.terms.step_seconds)
    return np.sqrt(np.maximum(mean_of_last(changed * changed, window), 0.0))


def _ahead(course: Course) -> NDArray[np.float64]:
    """What 90 s (in whole steps) of the slope of the last 5 min add; nothing where it falls."""
    samples = max(1, _SLOPE_SECONDS // course.terms.step_seconds)
    rise = _changed(course.level, samples) / samples
    return np.maximum(rise, 0.0) * course.terms.hold_samples


def _changed(level: NDArray[np.float64], samples: int) -> NDArray[np.float64]:
    return np.concatenate((np.zeros(min(samples, len(level))), level[samples:] - level[:-samples]))


def _week_ago(course: Course) -> NDArray[np.float64]:
    week = _WEEK_SECONDS // course.terms.step_seconds
    most = largest_of_next(course.level, course.terms.hold_samples + 1)
    # Before there is a last week, there is only now.
    return np.concatenate((course.level[:week], most[: max(0, len(most) - week)]))


_HEADROOMS: Final = (0.03, 0.06, 0.09, 0.12, 0.16, 0.2, 0.25, 0.3, 0.4, 0.6)
_VMS: Final = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
_TIMES: Final = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0)
_FULL: Final = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
_FILLED: Final = (0.01, 100.0)
"""How full a VM may be at least and at most."""

POLICIES: Final[dict[str, Policy]] = {
    policy.name: policy
    for policy in (
        Policy("oracle", "the true need of the next 90 s", lambda course, _: oracle(course), 0.0),
        Policy("reactive", "what the last 60 s needed", reactive, 0.0),
        Policy("headroom", "the level and fixed headroom", reactive, 0.2, _HEADROOMS),
        Policy("spare", "the level and so many VMs more", spare, 2.0, _VMS),
        Policy("noise", "the level and k times its RMS change in 90 s", noise, 1.0, _TIMES),
        Policy("slope", "the level, its slope and k times its RMS change in 90 s", slope, 1.0, _TIMES),
        Policy("seed", "7-day baseline x ratio or slope, and fixed headroom", seeded, 0.2, _HEADROOMS),
        Policy("knative", "Knative's KPA rule at a utilisation", peers.knative, 0.7, _FULL, *_FILLED),
        Policy("hpa", "Kubernetes' HPA rule at a utilisation", peers.kubernetes, 0.8, _FULL, *_FILLED),
        Policy(
            "hourly",
            "hourly forecast every 6 h, beside reactive, at a utilisation",
            peers.hourly,
            0.8,
            _FULL,
            *_FILLED,
        ),
        Policy("seasonal-naive", "a week ago, and fixed headroom", last_week, 0.0, (0.0, *_HEADROOMS)),
    )
}
"""Named as the command and the bench name them. The forecaster itself is run tick by tick, in `replay.backtest.run`."""
