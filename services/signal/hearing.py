"""What each pool's triggers have heard: streaks of samples above a limit, and five minutes of them for the slope.

All of it lives here alone: after a restart a streak begins anew, and a trend is known again after a minute.
"""

import datetime as dt
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from schemas.pool import Pool, Trigger
from services.signal import slopes
from services.signal.decide import Streak, due, lengthen
from services.signal.port import Heard, Measurement
from services.signal.questions import AHEAD, Question, nonsense, of_trigger, queries, questions
from services.signal.silence import Why

MOST_POINTS: Final = 600
"""Of one trigger's trend: two samples a second, more than anybody scrapes; the oldest are forgotten first."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(slots=True)
class _Course:
    """What one trigger of one pool has heard."""

    streak: Streak = field(default_factory=Streak)
    points: deque[slopes.Point] = field(default_factory=lambda: deque(maxlen=MOST_POINTS))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one answer, for one question: a new sample, or why it is none."""

    question: Question
    why: Why | None


class Hearing:
    """The courses of every pool's triggers, and when each query's newest sample was taken."""

    def __init__(self) -> None:
        self._courses: dict[tuple[str, str, Trigger], _Course] = {}
        self._newest: dict[tuple[str, str, str], dt.datetime] = {}

    def keep(self, pools: Iterable[Pool]) -> None:
        """These are the pools. A redefined trigger begins anew, and a dropped one is forgotten."""
        triggers: set[tuple[str, str, Trigger]] = set()
        texts: set[tuple[str, str, str]] = set()
        for pool in pools:
            triggers.update((pool.org, pool.name, trigger) for trigger in pool.triggers)
            texts.update((pool.org, pool.name, query) for query in queries(pool))
        self._courses = {key: one for key, one in self._courses.items() if key in triggers}
        self._newest = {key: one for key, one in self._newest.items() if key in texts}

    def judge(self, pool: Pool, query: str, heard: Heard, now: dt.datetime) -> list[Verdict]:
        """What the answer is for each question of the pool that has this query; a new sample is new once."""
        asked = [one for one in questions(pool) if one.query == query]
        if not isinstance(heard, Measurement):
            return [Verdict(one, heard or "silent") for one in asked]
        key = (pool.org, pool.name, query)
        newest = self._newest.get(key)
        if newest is not None and newest > now + AHEAD:
            self._forget(pool, query)  # it was taken by a clock that was ahead, and is right by now
            newest = None
        fresh = newest is None or heard.is_new_since(newest)
        verdicts = [Verdict(one, nonsense(one, heard, now) or (None if fresh else "stale")) for one in asked]
        if fresh and any(one.why is None for one in verdicts):
            self._newest[key] = heard.observed_at
        return verdicts

    def _forget(self, pool: Pool, query: str) -> None:
        """What was heard of the query is of times that are yet to come: it begins anew."""
        del self._newest[pool.org, pool.name, query]
        for trigger in pool.triggers:
            if trigger.query == query:
                self._courses.pop((pool.org, pool.name, trigger), None)

    def due(self, pool: Pool, question: Question, measured: Measurement) -> list[Trigger]:
        """The pool's triggers that a new sample of this question sets off: by its streak, or by the slope it ends."""
        found: list[Trigger] = []
        at = (measured.observed_at - _EPOCH) / dt.timedelta(seconds=1)
        for trigger in pool.triggers:
            if of_trigger(trigger) != question:
                continue
            course = self._courses.setdefault((pool.org, pool.name, trigger), _Course())
            course.streak = lengthen(course.streak, trigger, measured.value, measured.observed_at)
            points = course.points
            points.append((at, measured.value))
            while points[0][0] < at - slopes.WINDOW_SECONDS:
                points.popleft()
            if due(course.streak, trigger) or _rises(course, trigger, pool.horizon_seconds):
                found.append(trigger)
        return found

    def begin_anew(self, pool: Pool, trigger: Trigger) -> None:
        """The trigger has asked: its streak is used up."""
        course = self._courses.get((pool.org, pool.name, trigger))
        if course is not None:
            course.streak = Streak(0, course.streak.newest)


def _rises(course: _Course, trigger: Trigger, horizon_seconds: int) -> bool:
    expected = slopes.expected(list(course.points), horizon_seconds)
    return expected is not None and expected > trigger.above


def wanting_most(triggers: Iterable[Trigger]) -> Trigger | None:
    """Of those that are due, the one that asks for most; the first of several. Any of them is reason enough."""
    return max(triggers, key=lambda trigger: trigger.add, default=None)
