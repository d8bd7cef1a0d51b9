"""A calendar month as two instants; its length is what lies between them, which is not always a whole number of days."""

import datetime as dt
import re
from dataclasses import dataclass
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from replay.metering import ns_of

_MONTH: Final = re.compile(r"([0-9]{4})-([0-9]{2})", re.ASCII)
_DECEMBER: Final = 12
_FIRST_YEAR: Final = 1970


class StatementError(Exception):
    """A statement cannot be made of what was asked; the sentence says why."""

    code = "StatementImpossible"


@dataclass(frozen=True, slots=True)
class Month:
    """From `begin_ns` up to but without `end_ns`, in Unix nanoseconds."""

    name: str
    timezone: str
    begin_ns: int
    end_ns: int


def month(name: str, timezone: str = "UTC") -> Month:
    """The month from its first local midnight to the next month's.

    Each of the two is a local date that is then converted, so that a month with a change of clocks has its own length. A
    midnight that the clocks skip is the instant at which they do; of one that comes twice it is the first.
    """
    found = _MONTH.fullmatch(name)
    year, number = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (1 <= number <= _DECEMBER and _FIRST_YEAR <= year < dt.MAXYEAR):
        raise StatementError(f"{name!a:.40} is no month: write 2026-11.")
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise StatementError(f"{timezone!a:.60} is no time zone: write UTC, or Europe/Berlin.") from error
    after = (year + 1, 1) if number == _DECEMBER else (year, number + 1)
    return Month(name, timezone, _midnight(year, number, zone), _midnight(*after, zone))


def _midnight(year: int, number: int, zone: ZoneInfo) -> int:
    return ns_of(dt.datetime(year, number, 1, tzinfo=zone).astimezone(dt.UTC))
