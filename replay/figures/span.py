"""The stretch of a ledger that a figure is about. No clock is asked: the newest event's stored time is the present."""

import datetime as dt
from dataclasses import dataclass
from typing import Final

MONTH_DAYS: Final = 30
YEAR_DAYS: Final = 365

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_DAY_NS: Final = 86_400 * 10**9


@dataclass(frozen=True, slots=True)
class Span:
    """From `from_ns` up to `until_ns`, both Unix nanoseconds on the bus's clock; the end belongs to it."""

    from_ns: int
    until_ns: int

    def holds(self, at_ns: int) -> bool:
        """Whether something stored then lies in it."""
        return self.from_ns < at_ns <= self.until_ns


def trailing(until_ns: int, days: int) -> Span:
    """So many days of 24 hours, up to and including this instant."""
    return Span(until_ns - days * _DAY_NS, until_ns)


def moment(at_ns: int) -> dt.datetime:
    """The instant, rounded down to the microsecond."""
    return _EPOCH + dt.timedelta(microseconds=at_ns // 1000)


def nanoseconds(at: dt.datetime) -> int:
    """The instant in Unix nanoseconds, exact to its microsecond."""
    return (at - _EPOCH) // dt.timedelta(microseconds=1) * 1000
