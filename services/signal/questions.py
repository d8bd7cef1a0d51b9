"""What is asked about a pool: the queries of its triggers and of its demand. Pure."""

import datetime as dt
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from events.ids import derive
from events.pool import Source
from schemas.pool import Pool, Trigger, TriggerKind
from services.signal.port import Measurement

MOST_VALUE: Final = 1e300
"""A value beyond this is no measurement: triggers have no limit there either, and its sums would be infinite."""

AHEAD: Final = dt.timedelta(seconds=15)
"""A sample whose time is further ahead of our clock is not taken: one of the two clocks is wrong, and if it is the metrics
store's, nothing would be newer than this for as long. A tick: less than anything here lasts."""


@dataclass(frozen=True, slots=True)
class Question:
    """One query of a pool. `limit` is the trigger's, or what one VM carries."""

    source: Source
    query: str
    limit: float
    kind: TriggerKind | None = None

    @property
    def id(self) -> str:
        """What events call the query."""
        return _id(self.query)


@lru_cache(maxsize=100_000)
def _id(query: str) -> str:
    return derive("query", query)


def questions(pool: Pool) -> tuple[Question, ...]:
    """Each once, those of the triggers first."""
    found = [of_trigger(trigger) for trigger in pool.triggers]
    if pool.demand is not None:
        found.append(Question("demand", pool.demand.query, pool.demand.per_vm))
    return tuple(dict.fromkeys(found))


def of_trigger(trigger: Trigger) -> Question:
    """What a trigger asks; how many VMs it wants is no part of it."""
    return Question("trigger", trigger.query, trigger.above, trigger.kind)


def queries(pool: Pool) -> tuple[str, ...]:
    """The texts to ask for, each once however many want it."""
    return tuple(dict.fromkeys(one.query for one in questions(pool)))


Nonsense = Literal["no-number", "future"]


def nonsense(question: Question, measured: Measurement, now: dt.datetime) -> Nonsense | None:
    """Why this is no sample of the question; None where it is one.

    What is not finite or absurd is no number, and neither is a demand below zero: nobody carries less than nothing.
    """
    if not math.isfinite(measured.value) or abs(measured.value) > MOST_VALUE:
        return "no-number"
    if question.source == "demand" and measured.value < 0:
        return "no-number"
    return "future" if measured.observed_at > now + AHEAD else None


def milli_vms(question: Question, value: float, serving: int, most: int) -> int | None:
    """The VMs that the value asks for, in thousandths; None where it says nothing about VMs.

    A demand asks for value / what one VM carries. A trigger asks for as many as would bring its reading to its limit, value /
    limit x those that serve, as the horizontal autoscalers elsewhere reckon it; that holds where the reading is shared among the
    VMs, so it is not said of a p99, nor where none serves, nor with a limit that is not above zero.
    """
    if question.source == "demand":
        return _bounded(value / question.limit * 1000, most)
    if question.kind == "p99" or question.limit <= 0 or serving == 0:
        return None
    return _bounded(value / question.limit * serving * 1000, most)


def _bounded(needed: float, most: int) -> int:
    return round(min(max(needed, 0.0), most))


def wanting_most(found: Iterable[tuple[Question, int, int]]) -> Question | None:
    """Which question says what the pool needs, of those with thousandths of VMs in all and so many samples.

    The pool's own demand where it has samples; else the one that wants most on average, the first of several.
    """
    best: tuple[float, Question] | None = None
    for question, total, samples in found:
        if not samples:
            continue
        if question.source == "demand":
            return question
        mean = total / samples
        if best is None or mean > best[0]:
            best = mean, question
    return None if best is None else best[1]
