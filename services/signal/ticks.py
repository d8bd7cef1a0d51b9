"""What pools needed in each tick of 15 s: the mean of the samples that were first seen in it. Pure but for its memory."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from events.pool import MOST_MILLI_VMS
from schemas.telemetry import TICK_SECONDS, PoolTold, Told
from services.signal.port import Measurement
from services.signal.questions import Question, milli_vms, wanting_most

_MOST_BACK_TICKS: Final = 4
"""By which a clock is set right without having been wrong: a minute."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(slots=True)
class _Sum:
    """Samples of one question in one tick, in thousandths of a VM."""

    total: int = 0
    samples: int = 0
    newest_ms: int = 0


class Ticks:
    """The tick that is under way.

    A sample belongs to the tick in which it was first seen: it is some seconds old then, and waiting for those that are still on
    their way would make all of them late. A pool without a sample is not told: silence is no zero.
    """

    def __init__(self) -> None:
        self._tick: int | None = None
        self._sums: dict[tuple[str, str], dict[Question, _Sum]] = {}

    def hear(
        self,
        place: tuple[str, str],
        question: Question,
        measured: Measurement,
        serving: int,
        now: dt.datetime,
    ) -> None:
        """A new sample counts in the tick that is under way; one that says nothing about VMs does not."""
        needed = milli_vms(question, measured.value, serving, MOST_MILLI_VMS)
        if needed is None:
            return
        if self._tick is None:
            self._tick = number_of(now)
        one = self._sums.setdefault(place, {}).setdefault(question, _Sum())
        one.total += needed
        one.samples += 1
        one.newest_ms = max(one.newest_ms, (measured.observed_at - _EPOCH) // dt.timedelta(milliseconds=1))

    def over(self, now: dt.datetime) -> dict[str, Told]:
        """What is told of the tick that `now` is past, by org; nothing while it lasts.

        While a clock that was set back by some seconds has not come again to where it was, the tick lasts on. One that was set back
        by more than a minute was wrong before: the tick goes on under its right number. Some may be told twice then, and whoever
        reads takes the first word.
        """
        number = number_of(now)
        if self._tick is None:
            return {}
        if number < self._tick - _MOST_BACK_TICKS:
            self._tick = number
        if number <= self._tick:
            return {}
        tick, sums = self._tick, self._sums
        self._tick, self._sums = number, {}
        orgs: dict[str, list[PoolTold]] = defaultdict(list)
        for (org, pool), found in sums.items():
            orgs[org].extend(_told(pool, found))
        return {org: Told(tick, tuple(pools)) for org, pools in orgs.items() if pools}


def _told(pool: str, found: dict[Question, _Sum]) -> Iterator[PoolTold]:
    wants = wanting_most((question, one.total, one.samples) for question, one in found.items())
    if wants is not None:
        one = found[wants]
        mean = (2 * one.total + one.samples) // (2 * one.samples)
        yield PoolTold(pool, min(mean, MOST_MILLI_VMS), one.samples, max(one.newest_ms, 0))


def number_of(now: dt.datetime) -> int:
    """The tick that an instant lies in."""
    return (now - _EPOCH) // dt.timedelta(seconds=TICK_SECONDS)


def seconds_left(now: dt.datetime) -> float:
    """Until the tick that `now` lies in is over."""
    return TICK_SECONDS - (now - _EPOCH) % dt.timedelta(seconds=TICK_SECONDS) / dt.timedelta(seconds=1)
