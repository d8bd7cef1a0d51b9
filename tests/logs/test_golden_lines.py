"""One line of every event version, as it was first written. These files are never written again."""

import json
from pathlib import Path

import msgspec
import pytest

from events.envelope import Envelope, address, read
from events.registry import BY_TAG, NEWEST, ROWS, UnknownEventError, decode

LINES = {path.stem: path for path in Path(__file__).parent.glob("v*/*.v*.json")}


def test_every_event_version_has_a_line_and_every_line_an_event() -> None:
    assert sorted(LINES) == sorted(BY_TAG), "write one line of a new event to tests/logs; never remove one"


@pytest.mark.parametrize("tag", sorted(BY_TAG))
def test_a_line_is_read_and_written_again_byte_for_byte(tag: str) -> None:
    line = LINES[tag].read_bytes()
    assert line.count(b"\n") == 1
    recorded = read(7, 1_763_802_000_000_000_000, line.rstrip(b"\n"))
    assert (recorded.seq, recorded.type) == (7, tag)
    row = BY_TAG[tag]
    if NEWEST.get(row.struct) is row:
        written = address(
            recorded.fact,
            writer=recorded.writer,
            id=recorded.id,
            time=recorded.time,
            cause=recorded.cause,
            correlation=recorded.correlation,
        )
        assert written.payload + b"\n" == line
    envelope = msgspec.json.decode(line, type=Envelope)
    assert msgspec.json.encode(msgspec.json.decode(envelope.data, type=row.struct)) == bytes(envelope.data)


@pytest.mark.parametrize("tag", sorted(BY_TAG))
def test_a_line_with_a_field_more_or_less_or_renamed_is_not_understood(tag: str) -> None:
    data = json.loads(LINES[tag].read_text(encoding="utf-8"))["data"]
    more = {**data, "surprise": 1}
    with pytest.raises(UnknownEventError):
        decode(tag, json.dumps(more).encode())
    for name in data:
        less = {key: value for key, value in data.items() if key != name}
        with pytest.raises(UnknownEventError):
            decode(tag, json.dumps(less).encode())


def test_a_type_that_nobody_registered_is_not_understood() -> None:
    with pytest.raises(UnknownEventError, match=r"scale.requested.v2"):
        decode("scale.requested.v2", b"{}")


def test_every_subject_says_who_wrote_about_what() -> None:
    subjects = {
        tag: address(
            (recorded := read(1, 0, LINES[tag].read_bytes())).fact,
            writer=recorded.writer,
            id=recorded.id,
            time=recorded.time,
            cause=None,
            correlation=recorded.correlation,
        ).subject
        for tag in ("scale.requested.v1", "gate.decided.v1", "vm.resumed.v1", "mail.accepted.v1")
    }
    assert list(subjects.values()) == [
        "vs.acme.signal.pool.web.scale.requested",
        "vs.acme.gate.org.acme.gate.decided",
        "vs.acme.waker-h1.vm.web-3.vm.resumed",
        "vs.acme.notifier.person.acme-owner.mail.accepted",
    ]
    assert len({row.tag for row in ROWS}) == len(ROWS)
