"""Five minutes of one pool: what its queries yielded and how its VMs stood, look by look. Pure.

Nothing here guesses: a sample counts once, in the window in which it was first seen; a look that found nothing counts as a
look; a window in which nobody looked does not exist. A sample is some seconds old when it is seen, and may be of the window
before: who looked then knows that it is new, and whoever begins to look cannot know, and leaves it out. Samples that the metrics
store pushes come between looks, and count in the same way.
"""

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from events.envelope import Recorded
from events.fact import Fact
from events.ids import derive
from events.pool import MOST_MILLI_VMS, Demand, Level, PoolObserved, Reading, VmCounts
from projections.fleet.fold import Fleet
from projections.fleet.life import ASLEEP, EVERY, SLEEPING
from schemas.pool import Pool
from services.signal.port import Measurement
from services.signal.questions import Question, milli_vms, nonsense, questions, wanting_most

WINDOW: Final = dt.timedelta(minutes=5)
"""One event per pool and this long: 288 a day, some 900 bytes each."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_AWAKE: Final = EVERY - ASLEEP


@dataclass(frozen=True, slots=True)
class Needs:
    """Demands of successive samples in thousandths of a VM, as whole numbers, so that their sums are exact."""

    samples: int
    total: int
    squares: int
    minimum: int
    maximum: int
    last: int


@dataclass(frozen=True, slots=True)
class Heard:
    """What one query yielded so far."""

    question: Question
    asked: int = 0
    samples: int = 0
    over: int = 0
    total: float = 0.0
    minimum: float = math.inf
    maximum: float = -math.inf
    last: float = 0.0
    newest: dt.datetime = _EPOCH
    """Samples that were taken later than this are new."""
    needs: Needs | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """A pool from `begins` on, as far as it was looked at."""

    begins: dt.datetime
    looked_from: dt.datetime
    looked_until: dt.datetime
    looks: int
    heard: Mapping[Question, Heard]
    """In the order in which the pool has its queries."""
    vms: VmCounts
    state_seq: int


class Observed:
    """How far each pool's windows are in the ledger, and where its subject ends: what keeps one window one event."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset({PoolObserved})

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], dt.datetime] = {}
        self._last: dict[tuple[str, str], int] = {}

    def until(self, org: str, pool: str) -> dt.datetime | None:
        """The end of the pool's newest window in the ledger."""
        return self._until.get((org, pool))

    def last_seq(self, org: str, pool: str) -> int:
        """The sequence of the pool's last observation; 0 when there is none."""
        return self._last.get((org, pool), 0)

    def apply(self, recorded: Recorded) -> None:
        """The fold now includes the event."""
        fact = recorded.fact
        if isinstance(fact, PoolObserved):
            key = (fact.org, fact.pool)
            self._last[key] = recorded.seq
            self._until[key] = fact.window_until


def begin_of(now: dt.datetime) -> dt.datetime:
    """The whole five minutes UTC that `now` lies in."""
    return _EPOCH + (now - _EPOCH) // WINDOW * WINDOW


def counts(fleet: Fleet, org: str, pool: str) -> VmCounts:
    """The pool's VMs as the fleet has them."""
    return VmCounts(
        serving=len(fleet.members(org, pool, "serving")),
        awake=fleet.count(org, pool, _AWAKE),
        asleep=fleet.count(org, pool, SLEEPING),
        wanted=fleet.staying(org, pool),
    )


def look(
    window: Window | None,
    pool: Pool,
    measured: Mapping[str, Measurement],
    vms: VmCounts,
    *,
    state_seq: int,
    now: dt.datetime,
    before: Window | None = None,
) -> Window:
    """The window with one more look, or a new one that begins with it; `before` is the one that was looked at before that.

    `measured` is what the pool's queries were answered, by their texts; one that nobody answered is not in it. The caller closes a
    window first that `now` is past. A sample from behind the window's end is not taken: it may be the clock of the metrics
    store that is wrong, and then nothing would be new for as long.
    """
    begins = begin_of(now) if window is None else window.begins
    heard: dict[Question, Heard] = {}
    for question in questions(pool):
        one = _listening(question, begins, window, before)
        one = replace(one, asked=one.asked + 1)
        answer = measured.get(question.query)
        heard[question] = one if answer is None else _hear(one, answer, vms.serving, begins, now)
    return Window(
        begins=begins,
        looked_from=now if window is None else window.looked_from,
        looked_until=now,
        looks=1 if window is None else window.looks + 1,
        heard=heard,
        vms=vms,
        state_seq=state_seq,
    )


def hear(window: Window, query: str, measured: Measurement, serving: int, now: dt.datetime) -> Window:
    """The window with a sample that was pushed between two looks; `now` is within it."""
    heard = {
        question: _hear(one, measured, serving, window.begins, now) if question.query == query else one
        for question, one in window.heard.items()
    }
    return replace(window, heard=heard)


def observed(org: str, pool: str, window: Window) -> PoolObserved:
    """What is written of a window that is over."""
    wants = wanting_most(
        (one.question, one.needs.total, one.needs.samples)
        for one in window.heard.values()
        if one.needs is not None
    )
    needs = None if wants is None else window.heard[wants].needs
    return PoolObserved(
        org=org,
        pool=pool,
        window_from=window.begins,
        window_until=window.begins + WINDOW,
        looked_from=window.looked_from,
        looked_until=window.looked_until,
        looks=window.looks,
        readings=tuple(_reading(one) for one in window.heard.values()),
        demand=None if needs is None else _demand(needs),
        vms=window.vms,
        state_seq=window.state_seq,
    )


def name(fact: PoolObserved) -> str:
    """The id of an observation: pool and window, so that whoever saw it, it is one."""
    return derive("pool.observed", fact.org, fact.pool, fact.window_from.isoformat())


# ------------------------------------------------------------------------------------------------------- private


def _listening(
    question: Question, begins: dt.datetime, window: Window | None, before: Window | None
) -> Heard:
    """What the query yielded so far in the window. One that was redefined measures something else."""
    if window is not None and question in window.heard:
        return window.heard[question]
    newest = begins - dt.timedelta.resolution
    if window is None and before is not None and question in before.heard:
        newest = before.heard[question].newest
    return Heard(question, newest=newest)


def _hear(heard: Heard, measured: Measurement, serving: int, begins: dt.datetime, now: dt.datetime) -> Heard:
    question, value = heard.question, measured.value
    if (
        nonsense(question, measured, now) is not None
        or measured.observed_at >= begins + WINDOW
        or not measured.is_new_since(heard.newest)
    ):
        return heard
    needed = milli_vms(question, value, serving, MOST_MILLI_VMS)
    return replace(
        heard,
        samples=heard.samples + 1,
        over=heard.over + (value > question.limit),
        total=heard.total + value,
        minimum=min(heard.minimum, value),
        maximum=max(heard.maximum, value),
        last=value,
        newest=measured.observed_at,
        needs=heard.needs if needed is None else _need(heard.needs, needed),
    )


def _need(needs: Needs | None, needed: int) -> Needs:
    if needs is None:
        return Needs(1, needed, needed * needed, needed, needed, needed)
    return Needs(
        samples=needs.samples + 1,
        total=needs.total + needed,
        squares=needs.squares + needed * needed,
        minimum=min(needs.minimum, needed),
        maximum=max(needs.maximum, needed),
        last=needed,
    )


def _reading(heard: Heard) -> Reading:
    level = None
    if heard.samples:
        # Rounding of the sum must not carry the mean past what was seen.
        mean = min(max(heard.total / heard.samples, heard.minimum), heard.maximum)
        level = Level(heard.minimum, mean, heard.maximum, heard.last)
    return Reading(
        source=heard.question.source,
        query=heard.question.id,
        above=heard.question.limit,
        asked=heard.asked,
        samples=heard.samples,
        over=heard.over,
        level=level,
        demand=None if heard.needs is None else _demand(heard.needs),
    )


def _demand(needs: Needs) -> Demand:
    samples = needs.samples
    variance = (samples * needs.squares - needs.total * needs.total) // (samples * samples)
    return Demand(
        samples=samples,
        minimum=needs.minimum,
        mean=(2 * needs.total + samples) // (2 * samples),
        deviation=math.isqrt(variance),
        maximum=needs.maximum,
        last=needs.last,
    )
