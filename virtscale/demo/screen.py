"""What a person sees while the day goes by: a block that is written over on a terminal, a line every 5 s elsewhere."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TextIO

from replay.figures.clients import Clients
from virtscale.demo.day import clock_of
from virtscale.demo.units import Units

LINE_SECONDS: Final = 5.0
_REFRESH_SECONDS: Final = 0.2
_BAR: Final = 32
_WIDTH: Final = 78


@dataclass(frozen=True, slots=True)
class Look:
    """One moment of a run."""

    day_second: float
    share: float
    """Of the piece that is over, from 0 to 1."""
    left_seconds: float
    demand_vms: float
    per_second: float
    """Requests sent in a second."""
    target: int | None
    """VMs that the newest forecast wants for demand; None before the first."""
    reserve: int
    serving: int
    rising: int
    leaving: int
    paused: int
    saved: int
    units: Units
    told: Clients | None
    """What users saw so far; None where there are none."""
    news: Sequence[str]


def block(look: Look, vms: int) -> list[str]:
    """The moment in a dozen lines."""
    full = round(look.share * _BAR)
    minutes, seconds = divmod(max(0, round(look.left_seconds)), 60)
    target = "-" if look.target is None else str(look.target)
    units = look.units
    rate = f" ({look.per_second:.0f} requests/s)" if look.per_second else ""
    return [
        f"{clock_of(look.day_second)}  [{'#' * full}{'.' * (_BAR - full)}]  {minutes}:{seconds:02} left",
        f"  demand    {_dots(look.demand_vms, vms)}  {look.demand_vms:.1f} VMs{rate}",
        f"  serving   {_dots(look.serving, vms)}  {look.serving}, forecast {target} + reserve {look.reserve}",
        f"  on the way up {look.rising}, down {look.leaving}; asleep in memory {look.paused}, on disk {look.saved}",
        f"  units     {units.hits} hit, {units.absorbed} on the reserve, {units.late} late; short {units.short_seconds} s",
        *_requests(look.told),
        *(f"  {line:.{_WIDTH}}" for line in look.news),
    ]


def line(look: Look) -> str:
    """The moment in one line."""
    target = "-" if look.target is None else str(look.target)
    units = look.units
    words = [
        clock_of(look.day_second),
        f"demand {look.demand_vms:.1f}",
        f"forecast {target}+{look.reserve}",
        f"serving {look.serving}",
        f"up {look.rising} down {look.leaving}",
        f"asleep {look.paused}+{look.saved}",
        f"units {units.hits}/{units.units}",
        f"short {units.short_seconds} s",
    ]
    if look.told is not None:
        told = look.told
        words.append(f"requests {told.requests:,} waited {told.waited} failed {told.failed}")
        if told.p50_ms is not None:
            words.append(f"p50 {told.p50_ms:.1f} ms")
    return " | ".join(words)


def _requests(told: Clients | None) -> list[str]:
    if told is None:
        return []
    took = "" if told.p50_ms is None else f", {told.p50_ms:.1f} ms p50, {told.p99_ms or 0:.1f} ms p99"
    return [f"  requests  {told.requests:,}, {told.waited} waited, {told.failed} failed{took}"]


class Screen:
    """Where a run is shown. In a run whose time jumps, a line stands for an hour of the day and not for 5 s."""

    def __init__(self, vms: int, out: TextIO | None = None, *, hourly: bool = False) -> None:
        self._out = sys.stdout if out is None else out
        self._vms = vms
        self._live = self._out.isatty()
        self._hourly = hourly
        self._began = time.monotonic()
        self._next = 0.0
        self._hour = -1
        self._height = 0

    def say(self, text: str) -> None:
        """A line with the seconds since the start, above the block."""
        self.plain(f"[{time.monotonic() - self._began:6.1f} s] {text}")

    def plain(self, text: str) -> None:
        """The text as it is, above the block, which comes back with the next moment."""
        self._erase()
        self._out.write(text + "\n")
        self._out.flush()

    def due(self, day_second: float) -> bool:
        """Whether it is time to show a moment again."""
        if self._hourly and not self._live:
            former, self._hour = self._hour, int(day_second // 3600)
            return former != self._hour
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + (_REFRESH_SECONDS if self._live else LINE_SECONDS)
        return True

    def show(self, look: Look) -> None:
        """The moment is on the screen."""
        if not self._live:
            self._out.write(line(look) + "\n")
            self._out.flush()
            return
        lines = block(look, self._vms)
        self._erase()
        self._out.write("\n".join(lines) + "\n")
        self._out.flush()
        self._height = len(lines)

    def leave(self) -> None:
        """The last block stays as it is."""
        self._height = 0

    def _erase(self) -> None:
        if self._height:
            self._out.write(f"\x1b[{self._height}A\x1b[J")
            self._height = 0


def _dots(vms: float, most: int) -> str:
    """So many of so many; of many VMs each sign stands for several."""
    signs = min(most, _BAR)
    full = min(signs, round(vms / most * signs))
    return "#" * full + "." * (signs - full)
