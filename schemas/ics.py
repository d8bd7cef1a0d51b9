"""Appointments as an iCalendar object (RFC 5545), for mail (RFC 5546) and for a calendar that is subscribed to.

Instants are written in UTC and not with a TZID. What was promised is an instant, every calendar shows it in its reader's own zone,
and a TZID needs a VTIMEZONE beside it: rules that a reader would keep after a zone's law had changed, and move the appointment by.
"""

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Final, Literal
from urllib.parse import quote

import msgspec

from schemas.moment import Moment
from schemas.names import Count, Text
from schemas.struct import Value

PRODUCT: Final = "-//Virtscale//Maintenance//EN"

Method = Literal["REQUEST", "CANCEL", "PUBLISH"]

_OCTETS: Final = 75
"""Of a line, without its end (RFC 5545, 3.1)."""

_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u2029\ud800-\udfff]")
"""What may not stand in a text: a bare carriage return would be a line's end to some readers."""

_ADDRESS: Final = re.compile(r"[^\s@\x00-\x1f\x7f<>\"]{1,64}@[^\s@\x00-\x1f\x7f<>\"]{1,255}")


class AddressError(ValueError):
    """What was given is no mail address, and would be something else in a calendar."""

    code = "AddressUnreadable"


class Appointment(Value, frozen=True):
    """One VEVENT. It is the same one in every calendar for as long as `uid` is the same; of two the higher `revision` counts."""

    uid: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    revision: Count
    written: Moment
    """When this revision was written."""
    start: Moment
    end: Moment
    summary: Text
    description: Text = ""
    cancelled: bool = False
    tentative: bool = False
    """Planned, and not yet announced."""


def uid_of(key: str, origin: str) -> str:
    """The name of a maintenance in every calendar, from its id alone and where it is from: no move and no change touches it."""
    return f"{key}@{origin}"


def invitation(appointment: Appointment, organizer: str, attendees: Iterable[str]) -> bytes:
    """What is put beside a mail: a REQUEST, or a CANCEL for what was cancelled, to send as `text/calendar` with that method.

    Addresses are not kept anywhere: they are the vault's. `AddressError` for one that is none, as one with a line's end in it would
    write lines of its own.
    """
    method: Method = "CANCEL" if appointment.cancelled else "REQUEST"
    invited = [
        f"ATTENDEE;CUTYPE=INDIVIDUAL;ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=FALSE:{_mailto(address)}"
        for address in attendees
    ]
    return _calendar(method, [_event(appointment, organizer, invited)], ())


def calendar(appointments: Iterable[Appointment], organizer: str, name: str) -> bytes:
    """A calendar of many, to subscribe to: what is announced, what is planned, and what was cancelled, each marked as such."""
    # X-WR-CALNAME is what readers show today, NAME what RFC 7986 calls it.
    named = (f"NAME:{_text(name)}", f"X-WR-CALNAME:{_text(name)}")
    return _calendar("PUBLISH", [_event(appointment, organizer, ()) for appointment in appointments], named)


def _calendar(method: Method, events: Iterable[Iterable[str]], more: Iterable[str]) -> bytes:
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        f"PRODID:{PRODUCT}",
        "CALSCALE:GREGORIAN",
        f"METHOD:{method}",
        *more,
        *(line for event in events for line in event),
        "END:VCALENDAR",
    ]
    return b"".join(_fold(line) for line in lines)


def _event(appointment: Appointment, organizer: str, invited: Iterable[str]) -> Iterator[str]:
    status = "CANCELLED" if appointment.cancelled else "TENTATIVE" if appointment.tentative else "CONFIRMED"
    yield "BEGIN:VEVENT"
    yield f"UID:{_text(appointment.uid)}"
    yield f"SEQUENCE:{appointment.revision}"
    yield f"DTSTAMP:{_utc(appointment.written)}"
    yield f"DTSTART:{_utc(appointment.start)}"
    yield f"DTEND:{_utc(appointment.end)}"
    yield f"SUMMARY:{_text(appointment.summary)}"
    if appointment.description:
        yield f"DESCRIPTION:{_text(appointment.description)}"
    yield f"STATUS:{status}"
    yield "CATEGORIES:MAINTENANCE"
    yield "TRANSP:TRANSPARENT"  # the VM is busy, not the person
    yield f"ORGANIZER:{_mailto(organizer)}"
    yield from invited
    yield "END:VEVENT"


def _utc(instant: dt.datetime) -> str:
    return instant.astimezone(dt.UTC).strftime("%Y%m%dT%H%M%SZ")


def _text(said: str) -> str:
    """The text with its backslashes, semicolons, commas and line ends escaped (RFC 5545, 3.3.11), and without control characters."""
    said = _CONTROLS.sub("", said.replace("\r\n", "\n").replace("\r", "\n"))
    return said.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")


def _mailto(address: str) -> str:
    if _ADDRESS.fullmatch(address) is None:
        raise AddressError("An address for the calendar is no mail address: write it as name@example.org.")
    plain = "!$&'*+-./=@_~"
    return f"mailto:{quote(address, safe=plain)}"


def _fold(line: str) -> bytes:
    """The line as octets, in pieces of at most 75 with their ends; no character is cut in two, as some readers decode each piece."""
    pieces: list[bytes] = []
    piece = b""
    for character in line:
        octets = character.encode()
        if len(piece) + len(octets) > _OCTETS:
            pieces.append(piece)
            piece = b" "
        piece += octets
    return b"\r\n".join([*pieces, piece]) + b"\r\n"
