"""A maintenance as its contacts read it: what is done to which VM, when on the clock of its zone, and what its guest feels."""

import datetime as dt
from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Final

from schemas.activity import IMPACTS, Activity, Impact, Kind, Maintenance
from schemas.ics import Appointment, uid_of
from schemas.names import shorten
from schemas.zones import ZoneError, zone

_CALLED: Final = MappingProxyType[Kind, str](
    {
        "reboot": "reboot",
        "cold-reboot": "cold reboot",
        "resize": "resize",
        "image-update": "image update",
        "deletion-notice": "deletion",
        "other": "maintenance work",
    }
)

_FELT: Final = MappingProxyType[Impact, str](
    {
        "none": "The VM keeps running.",
        "reboot": "The VM is rebooted once, at the end.",
        "cold-reboot": "The VM is switched off and on again once, at the end.",
    }
)


def appointment(
    entry: Maintenance, steps: Sequence[Activity], origin: str, written: dt.datetime
) -> Appointment:
    """The entry for calendars: the same one through every move, by its id and where it is from.

    `steps` are what is really done of all that was asked; a cancelled entry has none left and is told by what was asked.
    """
    return Appointment(
        uid=uid_of(entry.id, origin),
        revision=entry.revision,
        written=written,
        start=entry.slot.start,
        end=entry.slot.end,
        summary=title(entry, steps),
        description=shorten("\n".join(lines(entry, steps))),
        cancelled=entry.stage == "cancelled",
        tentative=entry.stage in {"planned", "postponed"},
    )


def title(entry: Maintenance, steps: Sequence[Activity]) -> str:
    """One line: whose VM, and what is done to it."""
    kinds = dict.fromkeys(_CALLED[step.kind] for step in steps or entry.asked)
    return shorten(f"{entry.org}/{entry.vm}: {', '.join(kinds)}")


def lines(entry: Maintenance, steps: Sequence[Activity]) -> Iterator[str]:
    """When, what, what the guest feels of it, and why it was last changed."""
    if entry.stage == "cancelled":
        yield "Cancelled: nothing of this is done."
    yield when(entry)
    for step in steps or entry.asked:
        changes = ", ".join(f"{change.what} {change.before} to {change.after}" for change in step.changes)
        said = ": ".join(part for part in (_CALLED[step.kind], changes) if part)
        yield f"- {said}. {step.summary}".rstrip()
    if any(step.kind == "deletion-notice" for step in steps or entry.asked):
        yield "The VM is shut down at this time, to be deleted."
    elif steps:
        yield _FELT[IMPACTS[max(IMPACTS.index(step.impact) for step in steps)]]
    if entry.reason:
        yield entry.reason


def when(entry: Maintenance) -> str:
    """From and until on the clock of the entry's zone with its offset, so that an hour that comes twice is told apart.

    In UTC where the zone is no longer known.
    """
    name = entry.window.zone
    try:
        place: dt.tzinfo = zone(name)
    except ZoneError:
        name, place = "UTC", dt.UTC
    start, end = (instant.astimezone(place) for instant in (entry.slot.start, entry.slot.end))
    offsets = [instant.strftime("%z") for instant in (start, end)]
    shown = [f"UTC{offset[:3]}:{offset[3:5]}" for offset in dict.fromkeys(offsets)]
    until = f"{end:%H:%M}" if end.date() == start.date() else f"{end:%Y-%m-%d %H:%M}"
    return f"{start:%A %Y-%m-%d %H:%M} to {until} in {name} ({', then '.join(shown)})."
