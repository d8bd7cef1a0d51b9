"""When VMs may be worked on: windows, the notice before them, and the dated policies that say both.

A policy is data with a date, because its numbers changed: work that was announced in 2024 had 24 hours' notice. Whatever schedules
something keeps the instants and the policy's version, so that it is never computed anew from what is in force today.
"""

import datetime as dt
from collections.abc import Iterable
from typing import Annotated, Final, Literal

import msgspec

from schemas.dated import at, named
from schemas.moment import Moment
from schemas.names import Word
from schemas.objection import Objection
from schemas.struct import Value
from schemas.zones import BERLIN, ZoneError, zone

Zone = Annotated[
    str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z][A-Za-z0-9_+/-]*(?![\s\S])")
]
"""A name of the time zone database: Europe/Berlin. That it is known is checked where it is used, never where it is read: a zone
that the database drops one day must not make an old event unreadable."""

WallTime = Annotated[str, msgspec.Meta(pattern=r"^(?:[01][0-9]|2[0-3]):[0-5][0-9](?![\s\S])")]
"""What a clock on the wall reads, 00:00 to 23:59."""

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

WEEKDAYS: Final[tuple[Weekday, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

DAY_SECONDS: Final = 86_400
"""Of a clock on the wall, and therefore of no use for adding to an instant."""


class WindowError(ValueError):
    """What was written is no window that can be used; `code` is stable, the sentence says what to write."""

    def __init__(self, objection: Objection) -> None:
        super().__init__(objection.text)
        self.code = objection.code


class Window(Value, frozen=True):
    """From `start` up to but without `end` on the clock of `zone`; an `end` that is not after `start` is the next day's.

    `weekdays` are the days on which the window BEGINS; none means every day. The night of a Friday goes on after midnight, and
    the small hours of that Friday belong to Thursday.
    """

    zone: Zone = BERLIN
    start: WallTime = "22:00"
    end: WallTime = "05:00"
    weekdays: Annotated[tuple[Weekday, ...], msgspec.Meta(max_length=7)] = ()

    @property
    def over_midnight(self) -> bool:
        """Whether it ends on the day after the one on which it begins."""
        return self.end <= self.start

    @property
    def usual_seconds(self) -> int:
        """Its length in a night in which nobody changes the clocks."""
        minutes = _minutes(self.end) - _minutes(self.start)
        return (minutes * 60) % DAY_SECONDS

    def __str__(self) -> str:
        days = f", begun on {', '.join(self.weekdays)}" if self.weekdays else ""
        return f"{self.start}-{self.end} {self.zone}{days}"


class Slot(Value, frozen=True):
    """The window that was chosen, and the part of it in which the work is done: opens <= start < end <= closes, all in UTC."""

    opens: Moment
    closes: Moment
    start: Moment
    end: Moment


class Policy(Value, frozen=True):
    """How maintenance is announced and carried out from `valid_from` on; a project may have a window of its own."""

    version: Word
    valid_from: Moment
    notice_seconds: Annotated[int, msgspec.Meta(ge=0, le=30 * DAY_SECONDS)]
    """Elapsed time between the announcement and the start, whatever the clocks on walls do meanwhile."""
    window: Window = Window()
    overdue_seconds: Annotated[int, msgspec.Meta(ge=60, le=DAY_SECONDS)] = 1800
    """Work that has not begun this long after its start is postponed: contacts no longer expect it."""
    least_seconds: Annotated[int, msgspec.Meta(ge=0, le=DAY_SECONDS)] = 900
    """Less is never set aside, however short the work is said to be."""
    preparation_seconds: Annotated[int, msgspec.Meta(ge=0, le=DAY_SECONDS)] = 300
    """Set aside on top, for what comes before the work: silencing alarms, looking whether it is still wanted."""
    growth_seconds: Annotated[int, msgspec.Meta(ge=0, le=DAY_SECONDS)] = 1800
    """Announced work may become longer by as much without a new notice."""
    most_moves: Annotated[int, msgspec.Meta(ge=0, le=100)] = 3
    """After as many moves, further work no longer takes announced work along to a later night."""


class AtOnce(Value, frozen=True):
    """How many VMs are worked on at the same time, of one pool and of one org: the others carry the load meanwhile."""

    pool: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1
    org: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 4


POLICIES: Final[tuple[Policy, ...]] = (
    Policy("maintenance-24h", dt.datetime(1970, 1, 1, tzinfo=dt.UTC), 24 * 3600),
    Policy("maintenance-12h", dt.datetime(2025, 3, 6, tzinfo=dt.UTC), 12 * 3600),
)
"""By date. The notice was shortened on 2025-03-06; each of the two can be chosen by name at any time."""


def policy(now: dt.datetime) -> Policy:
    """The policy that holds at an instant."""
    return at(POLICIES, now)


def chosen(version: str) -> Policy:
    """The policy of this version; `PolicyError` where there is none."""
    return named(POLICIES, version)


def window(
    where: str = BERLIN, start: str = "22:00", end: str = "05:00", weekdays: Iterable[str] = ()
) -> Window:
    """A window that can be used as it is, its weekdays in order and each once.

    `ZoneError` for a zone that is none, `WindowError` for whatever else is wrong.
    """
    zone(where)
    wanted = set(weekdays)
    ordered = [day for day in WEEKDAYS if day in wanted]
    strange = sorted(wanted.difference(ordered))
    if strange:
        raise WindowError(
            Objection(
                "WindowUnreadable", f"{strange[0]!a:.60} is no weekday: write some of {', '.join(WEEKDAYS)}."
            )
        )
    try:
        made = msgspec.convert({"zone": where, "start": start, "end": end, "weekdays": ordered}, Window)
    except msgspec.ValidationError as error:
        raise WindowError(
            Objection(
                "WindowUnreadable",
                f"A window from {start!a:.20} to {end!a:.20} cannot be read: write both times as 22:00.",
            )
        ) from error
    objection = flaw(made)
    if objection is not None:
        raise WindowError(objection)
    return made


def flaw(window: Window) -> Objection | None:
    """What keeps a window from being used, where it came from a file or an event; None when nothing does."""
    try:
        zone(window.zone)
    except ZoneError as error:
        return Objection("ZoneUnknown", str(error))
    if window.start == window.end:
        return Objection(
            "WindowEmpty",
            f"A window from {window.start} to {window.end} may mean all day or never: "
            "for all day but a minute, write 00:00 to 23:59.",
        )
    return None


def _minutes(wall: str) -> int:
    hours, minutes = wall.split(":")
    return int(hours) * 60 + int(minutes)
