"""The time of day, as an argument: whoever decides is told what time it is.

A house for trying things out may have a clock that is moved ahead, so that what lies weeks apart happens today. It is the machine's plus
an offset, and nothing runs faster: orders have deadlines of seconds, and guests boot as fast as they do.
"""

import datetime as dt
import fcntl
import logging
import math
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from events import durable

log = logging.getLogger("virtscale.clock")

MOST_AHEAD: Final = dt.timedelta(days=3650)
"""A clock is moved no further ahead than ten years in all; the oldest contract has ended long before."""

_MOVING_SECONDS: Final = 10.0
"""Whoever moves a clock holds its lock for some milliseconds."""
_POLL_SECONDS: Final = 0.01


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
    so that all programs of a house jump within the second in which each looks at the time anyway. Whoever starts reads it whole or
    not at all; whoever runs goes on by what it said while it was whole, since nothing that it could say then would be earlier.
    """

    def __init__(self, file: Path) -> None:
        """Raises `ClockError` where the file is missing or says something else than seconds."""
        self._file = file
        self.offset = offset(file)
        """How far ahead it is, as of the last reading."""
        self._seen: tuple[int, int] | None = None
        self._spoilt = False
        self.machine = SystemClock()
        """What it is ahead of."""

    def now(self) -> dt.datetime:
        """The present of the house in UTC. A file that was spoilt since is said in the log, once, and looked at again each time."""
        try:
            self._look()
        except ClockError as error:
            if not self._spoilt:
                log.warning(
                    "%s Until then this program goes on %.6f s ahead.", error, self.offset.total_seconds()
                )
            self._spoilt = True
        return self.machine.now() + self.offset

    def _look(self) -> None:
        try:
            found = self._file.stat()
        except OSError as error:
            raise ClockError(_unreadable(self._file, error.strerror or "it is not there")) from error
        seen = found.st_mtime_ns, found.st_ino
        if seen != self._seen:
            self.offset = max(self.offset, offset(self._file))
            self._seen, self._spoilt = seen, False


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

    `ClockError` for what is not ahead, beyond `MOST_AHEAD`, and where the file cannot be written. The file is whole at any moment, and
    after a power cut; of two who move it at once, the second moves it on from where the first left it.
    """
    if ahead < dt.timedelta():
        raise ClockError(
            f"The clock was to be moved by {ahead.total_seconds():g} s: it goes ahead only, since the ledger holds what was "
            "decided at later times. Begin a new house for earlier ones.",
            "ClockBackwards",
        )
    try:
        with _alone(file):
            now = offset(file) if file.exists() else dt.timedelta()
            if ahead > MOST_AHEAD - now:
                raise ClockError(
                    f"The clock was to be {(now + ahead).days} days ahead; the most are {MOST_AHEAD.days}. Begin a new house.",
                    "ClockTooFar",
                )
            durable.write(file, f"{(now + ahead).total_seconds():.6f}\n".encode(), mode=0o644)
    except OSError as error:
        raise ClockError(
            f"The clock {file} cannot be moved: {error.strerror}. It stays as it is; move it as the user whose house it is.",
            "ClockUnwritable",
        ) from error
    return now + ahead


@contextmanager
def _alone(file: Path) -> Generator[None]:
    """Nobody else moves this clock. The lock is gone with its holder, and its file stays: who removed it would invite a second one."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(file.with_name(f"{file.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + _MOVING_SECONDS
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise ClockError(
                        f"Somebody else has been moving the clock {file} for {_MOVING_SECONDS:g} s. It was not moved; try again.",
                        "ClockTaken",
                    ) from None
                time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(handle)


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
