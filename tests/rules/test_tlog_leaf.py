"""A leaf binds all that the bus keeps of a message."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.bus import wire
from events.stored import Stored
from events.tlog.leaf import MOST_ENTRY_BYTES, EntryError, entry, leaf_hash, parse

MESSAGE = Stored(7, 1_763_802_000_123_456_789, "vs.acme.gate.org.acme.gate.decided", "0a1b", b'{"x":1}')


def test_an_entry_is_what_the_document_says() -> None:
    assert entry(MESSAGE) == (
        b"virtscale-entry/v1\n"
        + (7).to_bytes(8, "big")
        + (1_763_802_000_123_456_789).to_bytes(8, "big")
        + (34).to_bytes(2, "big")
        + b"vs.acme.gate.org.acme.gate.decided"
        + (4).to_bytes(2, "big")
        + b'0a1b{"x":1}'
    )


def test_an_empty_leaf_hashes_as_rfc_6962_says() -> None:
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


def test_an_entry_is_read_back_as_it_was() -> None:
    assert parse(entry(MESSAGE)) == MESSAGE
    bare = Stored(1, 0, "", "", b"")
    assert parse(entry(bare)) == bare


@pytest.mark.parametrize(
    "other",
    [
        msgspec.structs.replace(MESSAGE, seq=8),
        msgspec.structs.replace(MESSAGE, stored_ns=MESSAGE.stored_ns + 1),
        msgspec.structs.replace(MESSAGE, subject=MESSAGE.subject[:-1]),
        msgspec.structs.replace(MESSAGE, id="0a1c"),
        msgspec.structs.replace(MESSAGE, payload=b'{"x":2}'),
        msgspec.structs.replace(MESSAGE, id="0a", payload=b'1b{"x":1}'),
        msgspec.structs.replace(MESSAGE, subject=MESSAGE.subject[:-1], id="d0a1b"),
    ],
)
def test_whatever_is_altered_or_moved_from_one_field_to_the_next_is_another_leaf(other: Stored) -> None:
    assert leaf_hash(entry(other)) != leaf_hash(entry(MESSAGE))


def test_an_entry_as_long_as_a_bundle_takes_is_made_and_a_longer_one_refused() -> None:
    room = MOST_ENTRY_BYTES - len(entry(msgspec.structs.replace(MESSAGE, payload=b"")))
    longest = msgspec.structs.replace(MESSAGE, payload=b"x" * room)
    assert len(entry(longest)) == MOST_ENTRY_BYTES
    with pytest.raises(EntryError, match=r"Message 7 would be an entry of 65536 bytes"):
        entry(msgspec.structs.replace(MESSAGE, payload=b"x" * (room + 1)))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "does not begin with"),
        (b"virtscale-entry/v2\n" + bytes(30), "does not begin with"),
        (entry(MESSAGE)[:30], "ends before its message id"),
        (entry(MESSAGE)[:40], "ends before its message id"),
        (entry(MESSAGE)[:76], "ends within its message id"),
    ],
)
def test_what_is_no_entry_is_not_read_as_one(data: bytes, why: str) -> None:
    with pytest.raises(EntryError, match=why) as refused:
        parse(data)
    assert refused.value.code == "EntryUnreadable"


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_a_subject_that_is_no_utf_8_is_another_leaf_for_each_of_its_bytes(one: bytes, other: bytes) -> None:
    first, second = (
        Stored(7, 1, wire.text(raw), wire.text(raw), b"{}") for raw in (b"vs." + one, b"vs." + other)
    )
    assert parse(entry(first)) == first
    assert (entry(first) == entry(second)) == (one == other)
