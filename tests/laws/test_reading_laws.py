"""An event is read in one pass where that can be; what comes of it is what the careful way makes of it."""

import datetime as dt
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from events.envelope import Recorded, _read, address, read
from events.gate import GateDecided, SuspendOrdered
from events.ids import derive
from events.registry import UnknownEventError
from events.scale import ScaleRequested
from events.vm import VmQuiesced

AT = dt.datetime(2026, 11, 22, 9, 0, tzinfo=dt.UTC)
ID = derive("reading")
FACTS = (
    (
        "waker-h1",
        VmQuiesced(org="acme", vm="web-1", host="h1", reservation=ID, cause="ordered", quiesced_at=AT),
    ),
    (
        "signal",
        ScaleRequested(
            org="acme",
            pool="web",
            publisher="shop",
            key="k",
            origin="person",
            add=1,
            want=None,
            up_to=False,
            received_at=AT,
            sample=None,
        ),
    ),
    (
        "gate",
        GateDecided(
            org="acme",
            gate="g",
            through=1,
            follows=0,
            state_seq=1,
            now=AT,
            contract=None,
            rules="1",
            answers=(),
            orders=(SuspendOrdered(id=ID, vm="web-1", pool="web", host="h1", reservation=ID, request=None),),
        ),
    ),
)
LINES = tuple(
    address(fact, writer=writer, id=ID, time=AT, cause=cause, correlation=ID)
    for writer, fact in FACTS
    for cause in (None, ID)
)
KEYS = [
    "id",
    "source",
    "type",
    "time",
    "subject",
    "correlationid",
    "traceparent",
    "data",
    "causationid",
    "specversion",
    "datacontenttype",
    "extra",
    "org",
    "vm",
    "host",
    "pool",
    "reservation",
    "cause",
    "add",
    "want",
    "origin",
    "orders",
    "now",
]
VALUES = st.one_of(
    st.none(),
    st.integers(-2, 2**54),
    st.sampled_from(
        [
            "",
            "acme",
            "globex",
            "web-2",
            "h2",
            "a.b",
            "Acme",
            "acme\n",
            ID,
            ID.upper(),
            ID[:-1],
            ID + "0",
            ID[:-1] + "g",
            "ٱ" * 32,
            "٣" * 32,
            "vm.quiesced.v1",
            "vm.quiesced.v2",
            "scale.requested.v1",
            "/virtscale/gate",
            "/virtscale/waker-h2",
            "/virtscale/a.b",
            "waker-h1",
            "2026-11-22T09:00:00Z",
            "2026-11-22T09:00:00",
            "1.0",
            "2.0",
            [],
            [{}],
            {},
        ]
    ),
)
CHANGES = st.lists(st.tuples(st.booleans(), st.sampled_from(KEYS), st.booleans(), VALUES), max_size=3)
SUBJECTS = st.sampled_from([*(line.subject for line in LINES), "vs.acme.gate.org.acme.gate.decided", "x", ""])


def changed(payload: bytes, changes: list[tuple[bool, str, bool, Any]]) -> bytes:
    whole = json.loads(payload)
    for inside, key, gone, value in changes:
        place = whole.get("data") if inside else whole
        if not isinstance(place, dict):
            continue
        if gone:
            place.pop(key, None)
        else:
            place[key] = value
    return json.dumps(whole).encode()


def outcome(way: Any, payload: bytes, subject: str) -> Recorded | str:
    try:
        return way(7, 9, payload, subject)
    except UnknownEventError as error:
        return str(error)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(LINES), CHANGES, st.none() | SUBJECTS)
def test_what_is_read_in_one_pass_is_what_the_careful_way_reads(
    line: Any, changes: list[tuple[bool, str, bool, Any]], subject: str | None
) -> None:
    payload = changed(line.payload, changes)
    stood = line.subject if subject is None else subject
    assert outcome(read, payload, stood) == outcome(_read, payload, stood)


def test_what_a_pen_writes_is_read_as_it_was_meant() -> None:
    for line, (writer, fact) in zip(LINES, [one for one in FACTS for _ in range(2)], strict=True):
        recorded = read(7, 9, line.payload, line.subject)
        assert (recorded.fact, recorded.writer, recorded.id, recorded.time) == (fact, writer, ID, AT)
