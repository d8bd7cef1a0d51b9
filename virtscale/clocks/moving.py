"""Moving a house's clock, where it has one that can be moved, and what it shows.

The new time is a file. Nobody is asked: whatever falls due by it is said by whoever looks at the time, within a second.
"""

import datetime as dt
import re
from pathlib import Path
from typing import Final

from events.clock import MOST_AHEAD, ClockError, clock_of, move, offset
from schemas.house import House, load
from schemas.zones import both, day_begins, zone
from virtscale.exits import EXIT_DONE
from virtscale.invocation import UsageError
from virtscale.show import Format, say, show

_DURATION: Final = re.compile(r"([0-9]{1,9})([smhd])", re.ASCII)
_UNIT: Final = {
    "s": dt.timedelta(seconds=1),
    "m": dt.timedelta(minutes=1),
    "h": dt.timedelta(hours=1),
    "d": dt.timedelta(days=1),
}
_TIME: Final = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:T[0-9]{2}:[0-9]{2}(?::[0-9]{2})?)?", re.ASCII)


def show_time(directory: Path, where: str, form: Format) -> int:
    """The house's time is told; the exit code."""
    _tell(load(directory), where, form)
    return EXIT_DONE


def ahead(directory: Path, duration: str, where: str, form: Format) -> int:
    """The clock shows a later time by the duration; the exit code. `ClockError` in a house whose clock is the machine's."""
    house = _movable(directory)
    found = _DURATION.fullmatch(duration)
    if found is None or int(found.group(1)) == 0:
        raise UsageError(f"{duration!a:.40} is no duration: write 90s, 15m, 2h or 5d.")
    by = min(int(found.group(1)) * _UNIT[found.group(2)].total_seconds(), 2 * MOST_AHEAD.total_seconds())
    move(Path(house.clock), dt.timedelta(seconds=by))
    _tell(house, where, form)
    return EXIT_DONE


def to(directory: Path, moment: str, where: str, form: Format) -> int:
    """The clock shows that moment, which is still to come by it; the exit code. `ClockError` as for `ahead`."""
    house = _movable(directory)
    now = clock_of(house.clock).now()
    move(Path(house.clock), instant(moment, where, now) - now)
    _tell(house, where, form)
    return EXIT_DONE


def instant(text: str, where: str, now: dt.datetime) -> dt.datetime:
    """The moment that `22:00` (the next one), `2026-12-01` or `2026-12-01T22:00` is on the clocks there, in UTC.

    `UsageError` for anything else. One that those clocks skip counts by the clock before the change, one that comes twice the first time.
    """
    place = zone(where)
    try:
        if _TIME.fullmatch(text):
            today = now.astimezone(place).date()
            days = (
                dt.datetime.combine(today + dt.timedelta(days=n), dt.time.fromisoformat(text), place)
                for n in range(3)
            )
            return next(at for at in (day.astimezone(dt.UTC) for day in days) if at > now)
        if _DAY.fullmatch(text):
            found = dt.datetime.fromisoformat(text)
            if "T" not in text:
                return day_begins(found.date(), place)
            return found.replace(tzinfo=place).astimezone(dt.UTC)
    except (ValueError, OverflowError):
        pass  # no such day
    raise UsageError(
        f"{text!a:.40} is no moment: write 22:00, 2026-12-01, or 2026-12-01T22:00, for the clocks of {where}."
    )


def _movable(directory: Path) -> House:
    house = load(directory)
    if not house.clock:
        raise ClockError(
            "The clock of this house is the machine's, and nobody moves it: orders, contracts and deletions go by it. To try out what "
            "happens in weeks, start a house of its own with `virtscale up --movable-clock`.",
            "ClockFixed",
        )
    return house


def _tell(house: House, where: str, form: Format) -> None:
    place, now = zone(where), clock_of(house.clock).now()
    by = offset(Path(house.clock)) if house.clock else dt.timedelta()
    if form == "json":
        show(
            [
                {
                    "now": now.isoformat(timespec="seconds"),
                    "local": now.astimezone(place).isoformat(timespec="seconds"),
                    "zone": where,
                    "ahead_seconds": round(by.total_seconds(), 3),
                    "movable": bool(house.clock),
                }
            ],
            form,
        )
        return
    say(f"It is {both(now, where)} in this house, {said(by)} the machine's clock.")


def said(by: dt.timedelta) -> str:
    """How far ahead that is, in days, hours, minutes and seconds."""
    left = round(by.total_seconds())
    parts: list[str] = []
    for unit, seconds in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count} {unit}")
    return f"{' '.join(parts)} ahead of" if parts else "as by"


__all__ = ["ahead", "instant", "said", "show_time", "to"]
