"""The parser of the fast reader, on bytes as the server sends them and as it never would."""

import pytest

from events.bus.port import BusError, Stored
from events.bus.reader.frames import MOST_FRAME_BYTES, MOST_LINE_BYTES, Ended, Frames, Said
from tests.rules.reader_bytes import STAMP_NS, SUBJECT, ended, message


def parsed(*pieces: bytes) -> Frames:
    frames = Frames(SUBJECT)
    for piece in pieces:
        frames.feed(piece)
    return frames


def test_messages_glued_together_are_told_apart() -> None:
    frames = parsed(message(1, b"one") + message(2, b"\r\n") + ended(last=2, pending=5) + b"PING\r\n")
    fence = "vs.acme.gate.org.acme.gate.decided"
    assert frames.stored == [
        Stored(1, STAMP_NS, fence, "id", b"one"),
        Stored(2, STAMP_NS, fence, "id", b"\r\n"),
    ]
    assert frames.signs == [Ended("204", 2, 5), Said("PING", "")]


@pytest.mark.parametrize(
    ("stamp", "nanoseconds"),
    [
        (b"2026-11-22T05:35:39Z", 1_795_325_739_000_000_000),
        (b"2026-11-22T05:35:39.000000001Z", 1_795_325_739_000_000_001),
        (b"2026-11-22T05:35:39.5Z", 1_795_325_739_500_000_000),
    ],
)
def test_every_nanosecond_of_a_time_is_kept(stamp: bytes, nanoseconds: int) -> None:
    assert parsed(message(1, stamp=stamp)).stored[0].stored_ns == nanoseconds


def test_a_message_without_an_id_has_none() -> None:
    assert [one.id for one in parsed(message(1, id=None) + message(2)).stored] == ["", "id"]


def test_headers_that_end_twice_end_where_the_server_says() -> None:
    forged = b"Nats-Expected: y\r\n\r\nNats-Sequence: 99\r\n"
    (stored,) = parsed(message(7, b"payload", extra=forged)).stored
    assert (stored.seq, stored.payload) == (7, b"payload")


def test_fields_of_the_server_that_a_writer_forged_are_not_believed() -> None:
    whole = message(99, b"payload", subject="vs.forged")
    forged = whole[whole.index(b"Nats-Stream") : whole.index(b"\r\npayload")]
    (stored,) = parsed(message(7, b"payload", extra=forged)).stored
    assert (stored.seq, stored.subject, stored.payload) == (
        7,
        "vs.acme.gate.org.acme.gate.decided",
        b"payload",
    )


def test_a_message_that_looks_like_an_end_is_a_message() -> None:
    looks = message(1, b"payload").replace(
        b"NATS/1.0\r\nNats-Msg-Id: id\r\n", b"NATS/1.0 204 EOB\r\nN: xxxx\r\n"
    )
    frames = parsed(looks)
    assert ([one.seq for one in frames.stored], frames.signs) == ([1], [])


def test_what_was_sent_to_another_subject_is_nobodys() -> None:
    frames = parsed(message(1, to="_INBOX_view.reader.other") + b"MSG x 1 2\r\nhi\r\n" + message(2))
    assert [one.seq for one in frames.stored] == [2]


@pytest.mark.parametrize(
    "garbage",
    [
        b"x" * MOST_LINE_BYTES,
        b"HMSG s 1 x y\r\n",
        b"HMSG s\r\n",
        b"HMSG s 1 5 4\r\n",
        b"HMSG s 1 -5 4\r\n",
        b"HMSG s 1 5 %d\r\n" % (MOST_FRAME_BYTES + 1),
        f"HMSG {SUBJECT} 1 12 12\r\nNATS/1.0\r\n\r\n\r\n".encode(),
        message(1, stamp=b"2026-99-22T05:35:39.1Z"),
    ],
)
def test_what_no_server_sends_is_refused(garbage: bytes) -> None:
    with pytest.raises(BusError) as caught:
        parsed(garbage)
    assert caught.value.code == "BusGarbled"
