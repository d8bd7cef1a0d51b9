"""The time of day, as an argument: whoever decides is told what time it is.

A house for trying things out may have a clock that is moved ahead, so that what lies weeks apart happens today. It is the machine's plus
an offset, and nothing runs faster: orders have deadlines of seconds, and guests boot as fast as they do.
"""

import datetime as dt
import math
from pathlib import Path
from typing import Final, Protocol

from events import durable

MOST_AHEAD: Final = dt.timedelta(days=3650)
"""A clock is moved no further ahead than ten years in all; the oldest contract has ended long before."""


class Clock(Protocol):
    """Tells the time; the simulation brings its own."""

    def now(self) -> dt.datetime:
        """The present in UTC, aware."""
        ...


class SystemClock:
    """The clock of the machine, in UTC."""

    def now(self) -> dt.datetime:
        """The present in UTC, to the microsecond."""
        return dt.datetime.now(dt.UTC)


class ClockError(ValueError):
    """The file of a clock that can be moved says no offset, or it was to be moved where it cannot go."""

    def __init__(self, text: str, code: str = "ClockUnreadable") -> None:
        super().__init__(text)
        self.code = code


class MovedClock:
    """The machine's clock plus the seconds that a file says, which only ever become more.

    The file is looked at for each reading: 2 µs while it stays as it is. Whoever runs meanwhile is told the new time at the next look,
    so that all programs of a house jump within the second in which each looks at the time anyway.
    """

    def __init__(self, file: Path) -> None:
        """Raises `ClockError` where the file is missing or says something else than seconds."""
        self._file = file
        self._seen: tuple[int, int] | None = None
        self.offset = dt.timedelta()
        """How far ahead it is, as of the last reading."""
        self.machine = SystemClock()
        """What it is ahead of."""
        self._look()

    def now(self) -> dt.datetime:
        """The present of the house in UTC; raises `ClockError` once the file is spoilt, since any other time would be a step back."""
        self._look()
        return self.machine.now() + self.offset

    def _look(self) -> None:
        try:
            found = self._file.stat()
        except OSError as error:
            raise ClockError(_unreadable(self._file, error.strerror or "it is not there")) from error
        seen = found.st_mtime_ns, found.st_ino
        if seen != self._seen:
            self.offset = max(self.offset, offset(self._file))
            self._seen = seen


def offset(file: Path) -> dt.timedelta:
    """How far ahead the file says that the clock is; `ClockError` where it says something else."""
    try:
        seconds = float(file.read_text())
    except (OSError, ValueError) as error:
        raise ClockError(_unreadable(file, "it holds no number of seconds")) from error
    if not (math.isfinite(seconds) and 0 <= seconds <= MOST_AHEAD.total_seconds()):
        raise ClockError(_unreadable(file, f"{seconds:g} s is not from 0 s to {MOST_AHEAD.days} days"))
    return dt.timedelta(seconds=seconds)


def move(file: Path, ahead: dt.timedelta) -> dt.timedelta:
    """The clock is further ahead by this; how far it is in all. A clock is never set back: what it said is in the ledger.

    `ClockError` for what is not ahead, and beyond `MOST_AHEAD`. The file is whole at any moment, and after a power cut.
    """
    if ahead < dt.timedelta():
        raise ClockError(
            f"The clock was to be moved by {ahead.total_seconds():g} s: it goes ahead only, since the ledger holds what was "
            "decided at later times. Begin a new house for earlier ones.",
            "ClockBackwards",
        )
    now = offset(file) if file.exists() else dt.timedelta()
    if ahead > MOST_AHEAD - now:
        raise ClockError(
            f"The clock was to be {(now + ahead).days} days ahead; the most are {MOST_AHEAD.days}. Begin a new house.",
            "ClockTooFar",
        )
    durable.write(file, f"{(now + ahead).total_seconds():.6f}\n".encode(), mode=0o644)
    return now + ahead


def clock_of(file: str) -> Clock:
    """The clock of a house: the machine's, or with a file the one that is moved by it."""
    return MovedClock(Path(file)) if file else SystemClock()


def machine(clock: Clock) -> Clock:
    """The clock that everything outside the house goes by: guests, the bus, Prometheus. The same where nobody can move ours.

    The trap: what one of those says of the time is compared with this one, or a clock that is weeks ahead makes it weeks old.
    """
    return clock.machine if isinstance(clock, MovedClock) else clock


def _unreadable(file: Path, why: str) -> str:
    return f"The clock {file} cannot be read: {why}. Write there by how many seconds it is ahead, not fewer than it was."
