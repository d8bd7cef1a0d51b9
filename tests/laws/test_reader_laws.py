"""However the bytes of a connection are cut, they say the same, and nobody but the server says it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from events.bus.port import BusError, Stored
from events.bus.reader.frames import Frames, Sign
from tests.rules.reader_bytes import SUBJECT, ended, message

NAMES = st.text("abc-09", min_size=1, max_size=8)
PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([b"", b"\r\n", b"PING\r\n", b"HMSG x 1 2 3\r\n", b"NATS/1.0 204 EOB\r\n\r\n"]),
)
# What a writer may have put before the server's own fields: its id and expectations, or anything else.
EXTRA = st.lists(
    st.sampled_from(
        [
            b"Nats-Expected-Last-Subject-Sequence: 7\r\n",
            b"Nats-Batch-Id: b2\r\n",
            b"Nats-Sequence: 99\r\n",
            b"Nats-Stream: LEDGER\r\n",
            b"Nats-Msg-Id: another\r\n",
            b"Foo: bar\r\n",
            b"\r\n",
            b": \xff\r\n",
        ]
    ),
    max_size=3,
).map(b"".join)
MESSAGES = st.tuples(st.integers(1, 2**53), NAMES, NAMES, EXTRA, PAYLOADS).map(
    lambda parts: message(parts[0], parts[4], subject=f"vs.{parts[1]}.x", id=parts[2], extra=parts[3])
)
LINES = st.sampled_from(
    [
        b"PING\r\n",
        b"PONG\r\n",
        b"+OK\r\n",
        b"-ERR 'Stale Connection'\r\n",
        b'INFO {"nonce":"x"}\r\n',
        b"MSG elsewhere 1 2\r\nhi\r\n",
        b"HMSG elsewhere 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
        ended(),
        ended(b"404 Message Not Found"),
    ]
)
WIRE = st.lists(st.one_of(MESSAGES, LINES), max_size=8).map(b"".join)


def heard(pieces: list[bytes]) -> tuple[list[Stored], list[Sign], str]:
    frames = Frames(SUBJECT)
    try:
        for piece in pieces:
            frames.feed(piece)
    except BusError as error:
        return frames.stored, frames.signs, error.code
    return frames.stored, frames.signs, ""


@settings(max_examples=100, deadline=None)
@given(WIRE, st.data())
def test_any_cut_of_the_bytes_gives_the_same_messages(wire: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(wire)), max_size=20)))
    pieces = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    whole = heard([wire])
    assert heard(pieces) == whole
    assert heard([wire[at : at + 1] for at in range(len(wire))]) == whole


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(NAMES, NAMES, EXTRA, PAYLOADS), max_size=8))
def test_what_a_writer_put_into_headers_or_payload_changes_no_field_of_the_server(
    written: list[tuple[str, str, bytes, bytes]],
) -> None:
    wire = b"".join(
        message(seq, payload, subject=f"vs.{name}.x", id=id_, extra=extra)
        for seq, (name, id_, extra, payload) in enumerate(written, start=1)
    )
    stored, signs, fault = heard([wire])
    assert (signs, fault) == ([], "")
    assert [(one.seq, one.subject, one.payload) for one in stored] == [
        (seq, f"vs.{name}.x", payload) for seq, (name, _, _, payload) in enumerate(written, start=1)
    ]


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=200), WIRE.map(lambda wire: wire[3:])))
def test_no_bytes_make_the_parser_fail_otherwise_than_with_its_own_error(wire: bytes) -> None:
    heard([wire])
