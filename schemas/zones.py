"""Time zones, and when a day begins in one: calendars are counted in local days and converted afterwards.

The traps: some days have no midnight, because the clocks skip it, and some have two. Adding 86,400 seconds for a day comes an
hour early or late after every change of clocks.
"""

import datetime as dt
import re
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

Zone = Annotated[
    str, msgspec.Meta(max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}(?![\s\S])")
]
"""A time zone's name as an event keeps it. Whether there is such a zone is asked where it is used: one that is renamed some day
must not make an old event unreadable."""

BERLIN: Final = "Europe/Berlin"
"""The zone of whoever names none."""

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")
_MOST: Final = 64
_NOT_OURS: Final = frozenset({"right", "posix", "posixrules", "localtime", "leapseconds", "Factory"})
"""Files beside the zones: `right/` counts leap seconds, so that its days begin 27 s late, `localtime` is another zone on
another machine, and `Factory` is none."""


class ZoneError(ValueError):
    """There is no such time zone."""

    code = "ZoneUnknown"


def zone(name: str) -> ZoneInfo:
    """The time zone of an IANA name; `ZoneError` for anything else, also for a name that is only a file's."""
    if len(name) <= _MOST and _NAME.fullmatch(name) and name.partition("/")[0] not in _NOT_OURS:
        try:
            return ZoneInfo(name)
        except (
            ZoneInfoNotFoundError,
            ValueError,
            OSError,
        ):  # no zone, no zone's file, or a directory of zones
            pass
    raise ZoneError(f"{name!a:.80} is no time zone: write its IANA name, as Europe/Berlin or UTC.")


def both(instant: dt.datetime, name: str) -> str:
    """The instant as clocks there show it, and in UTC: 2026-11-22 22:00 CET (21:00 UTC). In UTC alone where nobody knows the zone."""
    universal = instant.astimezone(dt.UTC)
    try:
        local = instant.astimezone(zone(name))
    except ZoneError:
        return f"{universal:%Y-%m-%d %H:%M} UTC"
    if local.utcoffset() == dt.timedelta():
        return f"{universal:%Y-%m-%d %H:%M} UTC"
    day = "" if universal.date() == local.date() else f"{universal:%Y-%m-%d} "
    return f"{local:%Y-%m-%d %H:%M %Z} ({day}{universal:%H:%M} UTC)"


def day_begins(day: dt.date, place: ZoneInfo) -> dt.datetime:
    """The instant, in UTC, from which on it is this local day and stays so; the later one where there is a choice.

    A midnight that comes twice counts the second time. One that is skipped counts at the time on the old clock, which is when the
    clocks jump or shortly after. Nothing that waits for a day is ever early by this, and at most an hour or so late.
    """
    local = dt.datetime.combine(day, dt.time(), place)
    return max(local.astimezone(dt.UTC), local.replace(fold=1).astimezone(dt.UTC))
