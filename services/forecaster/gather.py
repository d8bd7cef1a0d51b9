"""Ticks from the telemetry: which sample counts for which tick, by when the bus took it and not by when it is read.

So that a worker which reads a tick again after a restart finds the same samples in it.
"""

import datetime as dt
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import Counter

from events.bus.telemetry import Heard, end_of
from schemas.telemetry import TICK_SECONDS
from services.forecaster.roster import Place

IN_TIME_SECONDS: Final = 2.0
"""So long after a tick's end the bus may take what is told of it; the forecast is made when that is over."""

MOST_LATE_TICKS: Final = 3
"""A sample that comes so many ticks late still counts, for the tick in which it comes; later the signal is lost."""

PAST_TICKS: Final = 40
"""What is told of ticks ten minutes ago and older is a past that somebody brings in; what is later than in time, only late."""

_NS: Final = 1_000_000_000

LATE: Final = Counter(
    "virtscale_forecast_late_total", "Samples that were told too late or again, and left out."
)
FUTURE: Final = Counter(
    "virtscale_forecast_future_total",
    "Samples of ticks that had not ended when they were told, and left out.",
)


@dataclass(slots=True)
class Gathered:
    """Samples of ticks that are not closed yet, and pools whose past was told; the first word on a pool and tick counts."""

    closed: int = -1
    """The last tick that was given out."""
    past: dict[Place, int] = field(default_factory=dict[Place, int])
    """Pools of whose past was told, and when the bus took the last of it, in nanoseconds."""
    used: dict[Place, int] = field(default_factory=dict[Place, int])
    """The last tick of each pool whose sample was given out: what is told of it or of an earlier one is known already."""
    _open: dict[int, dict[Place, tuple[int, int]]] = field(
        default_factory=dict[int, dict[Place, tuple[int, int]]]
    )
    """By tick and pool: of which tick it was told, and how many thousandths of a VM."""

    def take(self, heard: Heard) -> None:
        """The message is in its tick, or, where it comes too late for that, in the next that is not closed.

        So that clocks which differ by some seconds cost a forecast those seconds, and not its signal. What is told before its
        tick has begun, or a minute too late, is counted and left out.
        """
        told, tick = heard.told, heard.told.tick
        if heard.stored_ns < tick * TICK_SECONDS * _NS:
            FUTURE.inc(len(told.pools))
            return
        if heard.stored_ns > (tick + 1 + PAST_TICKS) * TICK_SECONDS * _NS:
            for one in told.pools:
                self.past[heard.org, one.pool] = heard.stored_ns
            return
        due = max(tick, self.closed + 1, _tick_by(heard.stored_ns))
        if due > tick + MOST_LATE_TICKS:
            LATE.inc(len(told.pools))
            return
        samples = self._open.setdefault(due, {})
        for one in told.pools:
            place = (heard.org, one.pool)
            known = samples.get(place)
            if tick <= self.used.get(place, -1) or (known is not None and known[0] >= tick):
                LATE.inc()
            else:
                samples[place] = (tick, one.milli_vms)

    def close(self, tick: int) -> dict[Place, int]:
        """The tick's samples; nothing more comes into it or into any before it."""
        samples = self._open.get(tick, {})
        for former in [former for former in self._open if former <= tick]:
            del self._open[former]
        self.closed = max(self.closed, tick)
        for place, (told, _) in samples.items():
            self.used[place] = told
        return {place: milli for place, (_, milli) in samples.items()}

    def next_told(self, tick: int) -> int | None:
        """The first tick from this one on of which anything was told; None where nothing was."""
        return min((one for one, samples in self._open.items() if samples and one >= tick), default=None)

    def settled(self, now: dt.datetime, quiet: dt.timedelta) -> list[Place]:
        """Pools whose past is told and has been quiet for so long; they are not named again."""
        before = int((now - quiet).timestamp()) * _NS
        ready = [place for place, at_ns in self.past.items() if at_ns <= before]
        for place in ready:
            del self.past[place]
        return ready


def newest_closed(now: dt.datetime) -> int:
    """The last tick whose time is over: what belongs to it has been told, or counts for nothing."""
    whole = int(now.timestamp() - IN_TIME_SECONDS - SLACK_SECONDS) // TICK_SECONDS
    return whole - 1


SLACK_SECONDS: Final = 0.5
"""Between the bus's clock and ours; what it took in time is there when we look."""


def _tick_by(stored_ns: int) -> int:
    """The first tick for which a message that the bus took then comes in time."""
    late_ns = stored_ns - int(IN_TIME_SECONDS * _NS)
    return -(-late_ns // (TICK_SECONDS * _NS)) - 1


def due_at(tick: int) -> dt.datetime:
    """When a tick's time is over."""
    return end_of(tick) + dt.timedelta(seconds=IN_TIME_SECONDS + SLACK_SECONDS)
