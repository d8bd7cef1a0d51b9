"""Appointments as iCalendar, read back by a library that others wrote."""

import datetime as dt
import re
from typing import Any

import icalendar
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.ics import AddressError, Appointment, calendar, invitation, uid_of
from tests.laws.strength import examples

START = dt.datetime(2026, 11, 22, 21, tzinfo=dt.UTC)
STEWARD = "steward@virtscale.example"
NIGHT = Appointment(
    uid=uid_of("0" * 31 + "7", "ledger.example"),
    revision=3,
    written=dt.datetime(2026, 11, 22, 8, 0, 1, tzinfo=dt.UTC),
    start=START,
    end=START + dt.timedelta(minutes=20),
    summary="Maintenance of acme/web-1: cold reboot",
    description="22:00 to 22:20 in Europe/Berlin.",
)


def read(octets: bytes) -> icalendar.Calendar:
    found = icalendar.Calendar.from_ical(octets)
    assert isinstance(found, icalendar.Calendar)
    for component in found.walk():
        assert component.errors == []
    return found


def event(octets: bytes) -> Any:
    (found,) = read(octets).walk("VEVENT")
    return found


def test_an_invitation_is_read_by_others_as_it_was_meant() -> None:
    octets = invitation(NIGHT, STEWARD, ["ada@acme.example", "bob@acme.example"])
    assert read(octets)["METHOD"] == "REQUEST"
    found = event(octets)
    assert (found["UID"], found["SEQUENCE"], found["STATUS"]) == (NIGHT.uid, 3, "CONFIRMED")
    times = [found[name].dt for name in ("DTSTAMP", "DTSTART", "DTEND")]
    assert times == [NIGHT.written, NIGHT.start, NIGHT.end]
    assert (str(found["SUMMARY"]), str(found["DESCRIPTION"])) == (NIGHT.summary, NIGHT.description)
    assert str(found["ORGANIZER"]) == f"mailto:{STEWARD}"
    assert [str(person) for person in found["ATTENDEE"]] == [
        "mailto:ada@acme.example",
        "mailto:bob@acme.example",
    ]


def test_a_cancellation_names_the_same_appointment_with_a_higher_sequence() -> None:
    gone = replace(NIGHT, cancelled=True, revision=4)
    octets = invitation(gone, STEWARD, ["ada@acme.example"])
    assert read(octets)["METHOD"] == "CANCEL"
    found = event(octets)
    assert (found["UID"], found["SEQUENCE"], found["STATUS"]) == (NIGHT.uid, 4, "CANCELLED")


def test_instants_are_written_in_utc_wherever_they_came_from() -> None:
    berlin = dt.timezone(dt.timedelta(hours=1))
    octets = invitation(replace(NIGHT, start=NIGHT.start.astimezone(berlin)), STEWARD, ["a@b.example"])
    assert b"\r\nDTSTART:20261122T210000Z\r\n" in octets
    assert b"TZID" not in octets


def test_a_calendar_of_many_holds_what_is_announced_planned_and_cancelled() -> None:
    other = replace(NIGHT, uid="2@ledger.example", tentative=True)
    gone = replace(NIGHT, uid="3@ledger.example", cancelled=True)
    octets = calendar([NIGHT, other, gone], STEWARD, "Maintenance of acme")
    found = read(octets)
    assert (found["METHOD"], found["X-WR-CALNAME"]) == ("PUBLISH", "Maintenance of acme")
    assert [(each["UID"], each["STATUS"]) for each in found.walk("VEVENT")] == [
        (NIGHT.uid, "CONFIRMED"),
        ("2@ledger.example", "TENTATIVE"),
        ("3@ledger.example", "CANCELLED"),
    ]
    assert b"ATTENDEE" not in octets


def test_a_text_ends_no_line_and_begins_no_property() -> None:
    evil = "one; two, three\\four\r\nATTENDEE:mailto:x@y\rEND:VEVENT\n\x00\u2028five"
    found = event(invitation(replace(NIGHT, summary=evil), STEWARD, ["a@b.example"]))
    assert str(found["SUMMARY"]) == "one; two, three\\four\nATTENDEE:mailto:x@y\nEND:VEVENT\nfive"
    assert str(found["ATTENDEE"]) == "mailto:a@b.example"


@pytest.mark.parametrize(
    "address",
    ["", "ada", "ada@", "a b@c.example", "a@b.example\r\nX-EVIL:1", "a@b@c.example", "<a@b.example>"],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(AddressError) as refused:
        invitation(NIGHT, STEWARD, [address])
    assert refused.value.code == "AddressUnreadable"
    assert "\n" not in str(refused.value)


def test_an_address_keeps_its_plus_and_what_else_is_not_plain_is_escaped() -> None:
    octets = invitation(NIGHT, STEWARD, ["ada+vm@acme.example", "jürgen;x@acme.example"])
    assert b"mailto:ada+vm@acme.example" in octets
    assert b"mailto:j%C3%BCrgen%3Bx@acme.example" in octets.replace(b"\r\n ", b"")


@given(st.text(max_size=300), st.text(max_size=300))
@examples(60)
def test_whatever_is_said_lines_are_short_end_as_they_should_and_are_read_back(
    summary: str, description: str
) -> None:
    octets = invitation(replace(NIGHT, summary=summary, description=description), STEWARD, ["a@b.example"])
    lines = octets.split(b"\r\n")
    assert lines.pop() == b""
    for line in lines:
        assert 0 < len(line) <= 75
        assert b"\n" not in line
        assert b"\r" not in line
        line.decode()  # no character is cut in two
    found = event(octets)
    assert plain(str(found["SUMMARY"])) == plain(summary)
    assert plain(str(found.get("DESCRIPTION", ""))) == plain(description)


def plain(text: str) -> str:
    """The text without what may not stand in a calendar, its line ends as one kind."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u2029]", "", text)
