"""A day of demand as a curve, a piece of it at a speed, and the former days that a forecaster would have seen."""

import datetime as dt
import hashlib
import math
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from replay.backtest import rows as rows_of
from replay.backtest.trace import gridded
from virtscale.demo.errors import CurveError

DAY_SECONDS: Final = 86_400
TICK_SECONDS: Final = 15
FORMER_DAYS: Final = 7
MOST_SPEED: Final = 60.0
"""Faster, and a ramp of an hour would be over within the 90 s of the horizon."""

_SPARE: Final = 0.1
"""Of a VM that the peak leaves free, so that it needs one VM less than there are and not by a hair all of them."""

_LEAST: Final = 0.3
"""Of a VM: a pool that is open has somebody in it."""

_DAILY: Final = 0.04
_NOISE: Final = 0.02
_CLOCK: Final = re.compile(r"([0-2]?[0-9]):([0-5][0-9])")

# A pool of shops and ticket counters: quiet nights, a steep morning from 07:30 to 08:15, a peak from 12:00 to 14:00, an
# evening that fades from 19:00 to 22:00. Shares of the peak by hour of the day.
_USUAL: Final = (
    *(
        (0.0, 0.27),
        (2.0, 0.13),
        (5.0, 0.11),
        (6.0, 0.11),
        (7.0, 0.12),
        (7.5, 0.22),
        (8.25, 0.72),
        (9.0, 0.82),
    ),
    *((10.0, 0.85), (12.0, 0.97), (13.0, 1.0), (14.0, 0.96), (16.0, 0.84), (18.0, 0.8), (19.0, 0.7)),
    *((20.5, 0.48), (22.0, 0.33), (24.0, 0.27)),
)


@dataclass(frozen=True, slots=True)
class Day:
    """Demand over 24 hours in a unit of its own: straight lines between points, `seconds` from midnight, rising."""

    name: str
    seconds: tuple[float, ...]
    values: tuple[float, ...]

    def at(self, second: float) -> float:
        """The demand at a second of the day; the day repeats."""
        second %= DAY_SECONDS
        place = bisect_right(self.seconds, second)
        if place == 0 or place == len(self.seconds):
            # From the last point over midnight to the first.
            begin, end = self.seconds[-1] - DAY_SECONDS * (place == 0), self.seconds[0]
            end += DAY_SECONDS * (place != 0)
            first, last = self.values[-1], self.values[0]
        else:
            begin, end = self.seconds[place - 1], self.seconds[place]
            first, last = self.values[place - 1], self.values[place]
        return first if end <= begin else first + (last - first) * (second - begin) / (end - begin)


def usual() -> Day:
    """The built-in day, which is nobody's: made to look like a transactional pool's."""
    return Day(
        "the built-in day",
        tuple(hour * 3600 for hour, _ in _USUAL[:-1]),
        tuple(share for _, share in _USUAL[:-1]),
    )


def of_file(path: Path) -> Day:
    """The last 24 hours of a trace, at the hours (UTC) that it says; values without times are spread over one day.

    Raises:
        TraceError: the file is no trace.
        CurveError: nothing is demanded in it.
    """
    rows = rows_of.read(path)
    if rows.times:
        apart = np.diff(np.unique(np.array(rows.times, dtype=np.float64)))
        step = max(1, round(float(np.median(apart)))) if len(apart) else 1
        trace = gridded(path.name, rows, step)
        places = np.arange(len(trace.demand))
        seconds, values = (trace.start_seconds + places * step).astype(np.float64), trace.demand
        kept = seconds > seconds[-1] - DAY_SECONDS
        seconds, values = seconds[kept] % DAY_SECONDS, values[kept]
        order = np.argsort(seconds, kind="stable")
        seconds, values = seconds[order], values[order]
    else:
        trace = gridded(path.name, rows, 1)
        values = trace.demand
        seconds = np.arange(len(values)) * (DAY_SECONDS / len(values))
    if float(values.max()) <= 0:
        raise CurveError(f"{path.name} demands nothing in its last 24 hours, so there is nothing to play.")
    return Day(path.name, tuple(seconds.tolist()), tuple(values.tolist()))


def second_of(text: str) -> int:
    """The second of the day that `07:00` names; `24:00` is its end. Raises `CurveError`."""
    found = _CLOCK.fullmatch(text)
    if found is None or (second := int(found[1]) * 3600 + int(found[2]) * 60) > DAY_SECONDS:
        raise CurveError(f"{text!a:.40} is no time of the day: write it as 07:00, up to 24:00.")
    return second


def hour_of(second: int) -> str:
    """`07:00`; the end of the day is `24:00`."""
    return f"{second // 3600:02}:{second // 60 % 60:02}"


def clock_of(second: float) -> str:
    """`07:30:15`, of any second; the day repeats."""
    whole = int(second) % DAY_SECONDS
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


@dataclass(frozen=True, slots=True)
class Piece:
    """The stretch of a day that is played: `speed` seconds of it in each real second, in VMs of a pool that has `vms`."""

    day: Day
    from_second: int
    to_second: int
    speed: float
    vms: int
    factor: float

    @property
    def seconds(self) -> float:
        """How long it takes to play."""
        return (self.to_second - self.from_second) / self.speed

    def day_second(self, elapsed: float) -> float:
        """The second of the day after so many real seconds; before 0 the day has not yet come to the piece."""
        return self.from_second + elapsed * self.speed

    def vms_at(self, elapsed: float) -> float:
        """VMs that demand would fill, `elapsed` real seconds after the piece began."""
        return max(_LEAST, self.day.at(self.day_second(elapsed)) * self.factor)


def piece_of(day: Day, from_second: int, to_second: int, speed: float, vms: int) -> Piece:
    """The piece, scaled so that its highest point needs one VM less than there are. Raises `CurveError`."""
    if to_second <= from_second:
        raise CurveError(
            f"From {hour_of(from_second)} to {hour_of(to_second)} is no stretch of one day: let it end later."
        )
    if not 1 <= speed <= MOST_SPEED:
        raise CurveError(f"A day cannot be played at {speed:g} times its speed: choose 1 to {MOST_SPEED:g}.")
    inside = [second for second in day.seconds if from_second <= second <= to_second]
    most = max(map(day.at, (from_second, to_second, *inside)))
    if most <= 0:
        raise CurveError(f"{day.name} demands nothing from {hour_of(from_second)} to {hour_of(to_second)}.")
    return Piece(day, from_second, to_second, speed, vms, (vms - 1 - _SPARE) / most)


def former(piece: Piece, began: dt.datetime) -> Iterator[tuple[int, int]]:
    """The ticks of the seven days before `began`, oldest first, and the demand of each in thousandths of a VM.

    As if at this very time of each of these days the same piece had begun, and the day had gone on behind it at the same
    speed: some days a little more, some a little less, and never twice the same. The same every time it is asked.
    """
    last = int(began.timestamp()) // TICK_SECONDS
    ticks = DAY_SECONDS // TICK_SECONDS
    for number in range(last - FORMER_DAYS * ticks, last):
        place = number - last
        back, offset = divmod(place, ticks)
        daily = 1 + _DAILY * noise("day", back)
        noisy = 1 + _NOISE * noise("tick", place)
        demand = piece.vms_at((offset + 0.5) * TICK_SECONDS) * daily * noisy
        yield number, round(demand * 1000)


def noise(*parts: object) -> float:
    """Between -1 and 1, the same for the same parts on any machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**63 - 1


def steepest_per_minute(piece: Piece) -> float:
    """VMs that demand rises by in the steepest real minute of the piece."""
    minutes = max(1, math.ceil(piece.seconds / 15))
    levels = [piece.vms_at(at * 15.0) for at in range(minutes + 1)]
    # Four steps of 15 s make a minute.
    return max(
        (after - before for before, after in zip(levels, levels[4:] or levels[-1:], strict=False)),
        default=0.0,
    )
