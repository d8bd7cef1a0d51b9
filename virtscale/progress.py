"""How far long work has come, on standard error: one line that is written over, for a person who looks at it."""

import sys
import time
from types import TracebackType
from typing import Final, Self, TextIO

_EVERY_SECONDS: Final = 0.2
_WIDTH: Final = 24


class Progress:
    """`rebuild  ######------  412,000 of 1,000,000 events, 151,220/s, 4 s left`; silent where nobody looks.

    Called with how many are done and how many there are in all; that may be every few hundred, since a line is written five
    times a second at most. The last line stands when the block ends, so that what it came to can be read.
    """

    def __init__(self, work: str, unit: str = "events", out: TextIO | None = None) -> None:
        self._work = work
        self._unit = unit
        self._out = sys.stderr if out is None else out
        self._shown = self._out.isatty()
        self._began = self._next = time.monotonic()
        self._first: int | None = None
        self._done = self._total = 0

    def __enter__(self) -> Self:
        self._began = self._next = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown and self._total:
            self._write()
            self._out.write("\n")
            self._out.flush()

    def __call__(self, done: int, total: int) -> None:
        """So much is done of so much."""
        if self._first is None:
            # What was done before, perhaps by a run that was interrupted, was not done at this speed.
            self._first = done
        self._done, self._total = done, total
        if self._shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + _EVERY_SECONDS
            self._write()

    @property
    def per_second(self) -> float:
        """What this run has done in each second so far."""
        seconds = time.monotonic() - self._began
        return (self._done - (self._first or 0)) / seconds if seconds > 0 else 0.0

    def _write(self) -> None:
        speed = self.per_second
        filled = _WIDTH * self._done // self._total if self._total else 0
        rate = f", {speed:,.0f}/s" if speed >= 1 else ""
        left = (
            f", {(self._total - self._done) / speed:.0f} s left"
            if speed >= 1 and self._done < self._total
            else ""
        )
        self._out.write(
            f"\r{self._work}  {'#' * filled}{'-' * (_WIDTH - filled)}  {self._done:,} of {self._total:,} "
            f"{self._unit}{rate}{left}\x1b[K"
        )
        self._out.flush()
