"""What a sequence of targets was worth on a trace: units of scale-up that found a VM awake, and VMs awake for nothing.

The definition is fixed here, since small changes to it move the figures by tens of points. With `dt` the step of the trace:

    cap        = the 99.95 % quantile of the demand after day 7 / (0.9 vms): what one VM serves
    need(t)    = ceil(mean of the last 60 s / cap), within 1..vms
    active(t)  = the largest need of the last 90 s: a VM that served is held so long
    awake(t)   = the largest target that was in force within the last 90 s before sample t
    hit        = share of all +1 of `active` that `awake` already covered
    idle       = 1 - mean(min(vms, max(awake, active) + reserve)) / vms
    regret     = idle of the oracle - idle; the oracle's target is the true largest need from t to t + 90 s
    short      = share of time with need - awake > reserve

Where words leave a choice, this is how it is read; a table of forecasts that was made before this code is met to its last
decimal by these readings and by no other that was tried (docs/prediction.md):

- A window of 90 s is `ceil(90 / dt)` samples: 90 at 1 s, 18 at 5 s, 2 at 60 s, 1 at 300 s. It ends with t itself for
  `active`, and with t - 1 for `awake`: a target that was decided on seeing sample t can serve from t + 1 on.
- The mean of 60 s is of `60 // dt` samples, at least one: at 60 s and above it is the sample. `cap` is of the samples themselves.
- Decisions fall on the first sample and every 15 s after it; at each step where a step is longer than 15 s.
- A target is in force from its decision until the next one. So its last second in `awake` is 90 s after the *next* decision.
- A second-by-second trace of few requests (NASA 1995) is first averaged to 5 s, and its outage of 37.7 h filled as a gap: `cap` is a
  quantile of samples, and at 1 s it is one of chance. At 60 s and 300 s nothing is altered.
- A gap is scored as the straight line that fills it. Where `course` is told what was measured, who decides does not see that line: the
  forecaster has no sample there, as in life, and the rules have the last one (`held`).
- Before the first decision nothing is awake. Units before day 7 are not counted, but what is awake then is carried over.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from replay.backtest.windows import largest_of_last, largest_of_next, mean_of_last

HOLD_SECONDS: Final = 90
SMOOTH_SECONDS: Final = 60
DECIDE_SECONDS: Final = 15
DAY_SECONDS: Final = 86_400
TEACH_DAYS: Final = 7
_QUANTILE: Final = 0.9995
_SERVED_BY: Final = 0.9
"""The share of the VMs that serves the demand which is exceeded in one sample out of 2,000."""

Targets = NDArray[np.int64]


class ScoreError(ValueError):
    """A trace that cannot be scored: too short, or without any demand."""

    code: Final = "TraceUnscorable"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a trace is scored by. `reserve_bp` is the warm reserve in basis points of `vms`, rounded down to whole VMs."""

    step_seconds: int
    vms: int = 64
    reserve_bp: int = 500
    teach_days: int = TEACH_DAYS

    @property
    def hold_samples(self) -> int:
        """90 s, in samples, rounded up."""
        return -(-HOLD_SECONDS // self.step_seconds)

    @property
    def smooth_samples(self) -> int:
        """60 s, in samples, rounded down; at least one."""
        return max(1, SMOOTH_SECONDS // self.step_seconds)

    @property
    def tick_seconds(self) -> int:
        """The time from one decision to the next."""
        return max(DECIDE_SECONDS, self.step_seconds)

    @property
    def reserve(self) -> int:
        """The warm reserve, in whole VMs."""
        return self.vms * self.reserve_bp // 10_000

    @property
    def taught_samples(self) -> int:
        """How many samples teach, and are not scored."""
        return self.teach_days * DAY_SECONDS // self.step_seconds


@dataclass(frozen=True, slots=True)
class Course:
    """A trace in VMs. `need` and `active` are what is scored, `demand` and `level` (its mean of the last 60 s) what rules may see.

    They differ in gaps alone, where `measured` is false: see `held`. `at` are the samples at which is decided.
    """

    terms: Terms
    cap: float
    demand: NDArray[np.float64]
    level: NDArray[np.float64]
    need: NDArray[np.int32]
    active: NDArray[np.int32]
    at: NDArray[np.int64]
    measured: NDArray[np.bool_]

    @property
    def seconds(self) -> NDArray[np.int64]:
        """When is decided, in seconds from the trace's start."""
        return self.at * self.terms.step_seconds


@dataclass(frozen=True, slots=True)
class Score:
    """Shares are between 0 and 1; `regret` is a difference of such shares, so 0.025 are 2.5 points.

    Where demand never rose there are no units, and none was missed: `hit` is 1.
    """

    units: int
    hits: int
    idle: float
    oracle_idle: float
    short: float

    @property
    def hit(self) -> float:
        """The share of scale-up units for which a VM was awake."""
        return self.hits / self.units if self.units else 1.0

    @property
    def regret(self) -> float:
        """How much more would have slept, had the next 90 s been known."""
        return self.oracle_idle - self.idle


def course(demand: NDArray[np.float64], terms: Terms, measured: NDArray[np.bool_] | None = None) -> Course:
    """Demand in the trace's own unit, its gaps filled, becomes VMs needed and VMs held; without `measured` there was no gap.

    Raises:
        ScoreError: nothing is left after the days that teach, or what is left has no demand to speak of.
    """
    after = demand[terms.taught_samples :]
    if len(after) < 2:  # noqa: PLR2004 - a rise needs two
        days = len(demand) * terms.step_seconds / DAY_SECONDS
        raise ScoreError(
            f"The trace is {days:.2f} days long ({len(demand):,} samples, one each {terms.step_seconds} s), and its first "
            f"{terms.teach_days} days only teach: nothing is left to score. Give a longer trace, or --teach-days 0."
        )
    cap = float(np.quantile(after, _QUANTILE)) / (_SERVED_BY * terms.vms)
    if not cap > 0:
        raise ScoreError(
            f"After its first {terms.teach_days} days the trace has no demand in 99.95 % of its {len(after):,} samples, "
            "so that no size of a VM follows from it. Is it the right column?"
        )
    scored_level = mean_of_last(demand, terms.smooth_samples) / cap
    need = np.clip(np.ceil(scored_level), 1, terms.vms).astype(np.int32)
    here = np.ones(len(demand), np.bool_) if measured is None else measured
    told = held(demand, here)
    return Course(
        terms=terms,
        cap=cap,
        demand=told / cap,
        level=mean_of_last(told, terms.smooth_samples) / cap,
        need=need,
        active=largest_of_last(need, terms.hold_samples),
        at=_decided_at(len(demand), terms),
        measured=here,
    )


def held(demand: NDArray[np.float64], measured: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Each sample that was not measured is the last one that was; 0 before the first."""
    last = np.maximum.accumulate(np.where(measured, np.arange(len(demand)), -1))
    return np.where(last >= 0, demand[np.maximum(last, 0)], 0.0)


def _decided_at(samples: int, terms: Terms) -> NDArray[np.int64]:
    """Each sample with which another 15 s are full; where 15 s are no whole number of steps, the first one past them."""
    ticks = np.arange((samples - 1) * terms.step_seconds // terms.tick_seconds + 1, dtype=np.int64)
    return -(-ticks * terms.tick_seconds // terms.step_seconds)


def oracle(given: Course) -> Targets:
    """At each decision the largest need from now until 90 s from now, as only the past's future tells."""
    return largest_of_next(given.need, given.terms.hold_samples + 1)[given.at].astype(np.int64)


def awake(given: Course, targets: Targets) -> NDArray[np.int32]:
    """How many VMs are awake at each sample, by what was decided before it."""
    vms = given.terms.vms
    in_force = np.repeat(
        np.clip(targets, 0, vms).astype(np.int32), np.diff(given.at, append=len(given.need)).astype(np.int64)
    )
    before = np.concatenate((np.zeros(1, np.int32), in_force[:-1]))
    return largest_of_last(before, given.terms.hold_samples)


def halves(given: Course) -> tuple[slice, slice, slice]:
    """The samples that are scored: all, the first half of them, the second half."""
    first, last = given.terms.taught_samples, len(given.need)
    middle = (first + last) // 2
    return slice(first, last), slice(first, middle), slice(middle, last)


def scored(given: Course, targets: Targets, *parts: slice) -> list[Score]:
    """The score of one target per decision, over each part of the trace; over all of it after the days that teach, if none is named.

    Raises:
        ValueError: not one target per decision.
    """
    if len(targets) != len(given.at):
        raise ValueError(f"{len(targets)} targets for {len(given.at)} decisions")
    chosen, known = awake(given, targets), awake(given, oracle(given))
    return [_part(given, chosen, known, part) for part in parts or halves(given)[:1]]


def _part(given: Course, chosen: NDArray[np.int32], known: NDArray[np.int32], part: slice) -> Score:
    active = given.active
    before = np.concatenate((active[:1], active[:-1]))[part]
    now, ready = active[part], chosen[part]
    risen = now > before
    # Of the units from `before` to `now`, those up to `ready` were covered.
    hits = np.clip(np.minimum(ready, now) - before, 0, None)[risen].sum()
    return Score(
        units=int((now - before)[risen].sum()),
        hits=int(hits),
        idle=_idle(given, ready, now),
        oracle_idle=_idle(given, known[part], now),
        short=float((given.need[part] - ready > given.terms.reserve).mean()),
    )


def _idle(given: Course, ready: NDArray[np.int32], active: NDArray[np.int32]) -> float:
    vms = given.terms.vms
    return 1.0 - float(np.minimum(vms, np.maximum(ready, active) + given.terms.reserve).mean()) / vms
