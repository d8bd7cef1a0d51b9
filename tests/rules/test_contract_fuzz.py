"""Thousands of contract files and requests made wrong at random: each is refused with a sentence, or is what it was.

Nothing but `ContractError` and `Rejection` may come out, whatever goes in; and what is accepted is canonical, reads back
equal, and was signed by both sides.
"""

import datetime as dt
import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events.contract import ContractSubmitted
from schemas.contract.acceptance import objection
from schemas.contract.document import MOST_BYTES, Signature, Signed, examine, read
from schemas.intake import Submit
from services.signal.decide import Asked, judge
from services.signal.decide import read as read_request
from services.signal.known import Known
from tests import papers
from tests.given import Past
from tests.papers import NOW
from tests.rules.contract_files import (
    CONTRACT,
    FILES,
    assert_rejected,
    assert_spoken,
    assert_whole,
    is_genuine,
    read_or_refused,
)

USUAL_EXAMPLES = 10_000
MANY_EXAMPLES = 100_000

NASTY_VALUES = (
    "-1",
    "0",
    "0.5",
    "1e400",
    "-1e400",
    "1E5",
    "nan",
    "-nan",
    "inf",
    "NaN",
    "Infinity",
    "-Infinity",
    "2.0",
    "9007199254740993",
    "9223372036854775808",
    "18446744073709551616",
    "null",
    "true",
    "[]",
    "{}",
    "''",
    '""',
    '"100"',
    '"NaN"',
    "1_0",
    "0x10",
    "07:00:00",
    "1979-05-27",
    "1979-05-27T07:32:00",
    "2026-12-01T00:00:00+23:59",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z",
    '"acme.x"',
    '"*"',
    '">"',
    '"a\\nb"',
    '"a\\u0000"',
    '"\\ud800"',
    '"\\ud83d\\ude00"',
    '"../x"',
    '"\u0430cme"',
    '"\uff41cme"',
    '"acme\u200b"',
)
NASTY_BYTES = (
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\x1b[31m",
    b"\xe2\x80\xae",
    b"\xed\xa0\x80",
    b'"""',
    b"'''",
    b"\\",
    b"{",
    b"[[",
    b"]",
    b"#",
    b"=",
    b".",
    b",",
    b"\n[[signatures]]\n",
    b"\n[quota]\n",
    b"\nsignatures = []\n",
    b"[" * 3000,
    b'{"a":' * 3000,
    b"9" * 5000,
)
MUTATIONS = (
    "flip",
    "cut",
    "drop",
    "insert",
    "value",
    "line",
    "swap",
    "case",
    "encode",
    "fill",
)
_LONGEST = 1 << 30

mutations = st.lists(
    st.tuples(st.sampled_from(MUTATIONS), st.integers(0, _LONGEST), st.integers(0, _LONGEST)),
    min_size=1,
    max_size=3,
)


def mutated(raw: bytes, kind: str, one: int, other: int) -> bytes:
    """The bytes, wrong in one way."""
    place = one % (len(raw) + 1)
    match kind:
        case "flip":
            at = one % max(1, len(raw))
            return raw[:at] + bytes([raw[at] ^ (1 << other % 8)]) + raw[at + 1 :] if raw else raw
        case "cut":
            return raw[:place]
        case "drop":
            return raw[:place] + raw[place + other % 40 :]
        case "insert":
            return raw[:place] + NASTY_BYTES[other % len(NASTY_BYTES)] + raw[place:]
        case "value":
            return _with_value(
                raw, one, NASTY_VALUES[other % len(NASTY_VALUES)].encode(errors="surrogatepass")
            )
        case "line":
            lines = raw.split(b"\n")
            lines.insert(other % (len(lines) + 1), lines[one % len(lines)])
            return b"\n".join(lines)
        case "swap":
            lines = raw.split(b"\n")
            first, second = one % len(lines), other % len(lines)
            lines[first], lines[second] = lines[second], lines[first]
            return b"\n".join(lines)
        case "case":
            return (
                raw[:place] + raw[place : place + 1 + other % 20].swapcase() + raw[place + 1 + other % 20 :]
            )
        case "encode":
            encoding = ("utf-8-sig", "utf-16", "utf-32", "utf-7")[other % 4]
            return raw.decode(errors="replace").encode(encoding, errors="replace")
        case _:
            return raw + b" " * max(0, MOST_BYTES + one % 3 - 1 - len(raw))


def _with_value(raw: bytes, one: int, value: bytes) -> bytes:
    """Another value behind one of the separators between a key and its value."""
    separators = [at for at, byte in enumerate(raw) if byte in b"=:" and raw[at - 1 : at] in {b" ", b'"'}]
    if not separators:
        return raw
    begin = separators[one % len(separators)] + 1
    end = min((at for at in (raw.find(b",", begin), raw.find(b"\n", begin)) if at > 0), default=len(raw))
    return raw[:begin] + b" " + value + raw[end:]


def broken(raw: bytes, ways: list[tuple[str, int, int]]) -> bytes:
    for kind, one, other in ways:
        raw = mutated(raw, kind, one, other)
    return raw


class Door:
    """An intake that knows both sides' keys, with the contract in force or not."""

    def __init__(self, *, in_force: bool) -> None:
        past = Past().keys()
        if in_force:
            past.happened(papers.accepted(CONTRACT, NOW))
            past.happened(papers.took_effect(CONTRACT, NOW))
        self.known = Known(past.usage, past.fleet, past.state.contracts)

    def file(self, raw: bytes) -> Signed | None:
        """What `document.read` and everything behind it makes of a file; None where it was refused."""
        signed = read_or_refused(lambda: read(raw))
        if signed is None:
            return None
        contract = assert_whole(signed)
        found = objection(signed, contract, self.known.contracts.standing("acme"), NOW)
        if found is None:
            assert is_genuine(signed), signed
        else:
            assert_spoken(found.code, found.text)
        self.hand_in("in.acme.operator.contract", msgspec.json.encode(Submit(key="k", document=signed)))
        return signed

    def text(self, text: str, signatures: tuple[Signature, ...]) -> None:
        """What `examine` and the rules make of a text that says it is canonical."""
        signed = Signed(text, signatures)
        if read_or_refused(lambda: (examine(signed), signed)[1]) is not None:
            assert_whole(signed)

    def hand_in(self, subject: str, payload: bytes) -> None:
        """What the door makes of a request: a rejection, or the event of a document that both sides signed."""
        asked = read_request(subject, payload)
        if not isinstance(asked, Asked):
            assert_rejected(asked)
            return
        fact = judge(asked, self.known, NOW + dt.timedelta(seconds=1))
        if isinstance(fact, ContractSubmitted):
            assert fact.org == "acme"
            assert is_genuine(fact.document), fact
            assert_whole(fact.document)
        else:
            assert_rejected(fact)


DOORS = (Door(in_force=False), Door(in_force=True))
PAYLOADS = tuple(msgspec.json.encode(Submit(key="k", document=read(raw))) for raw in FILES)
SUBJECT = b"in.acme.operator.contract"


def assault(number: int, ways: list[tuple[str, int, int]], aim: str) -> None:
    """One wrong input, at the file, at the text inside a request, at the whole request, or at its subject."""
    door = DOORS[number % 2]
    place = number // 2 % len(FILES)
    if aim == "file":
        door.file(broken(FILES[place], ways))
        return
    if aim == "request":
        door.hand_in(SUBJECT.decode(), broken(PAYLOADS[place], ways))
        return
    if aim == "subject":
        door.hand_in(broken(SUBJECT, ways).decode(errors="replace"), PAYLOADS[place])
        return
    whole: dict[str, Any] = json.loads(PAYLOADS[place])
    text = broken(whole["document"]["text"].encode(), ways).decode(errors="surrogateescape")
    signatures = msgspec.convert(whole["document"]["signatures"], tuple[Signature, ...])
    door.text(text, signatures)
    whole["document"]["text"] = text
    door.hand_in(SUBJECT.decode(), json.dumps(whole).encode())


attacks = given(
    number=st.integers(0, 4 * len(FILES) - 1),
    ways=mutations,
    aim=st.sampled_from(("file", "file", "text", "text", "request", "subject")),
)
quiet = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=USUAL_EXAMPLES, suppress_health_check=quiet)
@attacks
def test_nothing_that_is_made_wrong_at_random_is_taken_or_crashes(
    number: int, ways: list[tuple[str, int, int]], aim: str
) -> None:
    assault(number, ways, aim)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(max_examples=MANY_EXAMPLES, suppress_health_check=quiet)
@attacks
def test_nothing_that_is_made_wrong_at_random_is_taken_or_crashes_however_often(
    number: int, ways: list[tuple[str, int, int]], aim: str
) -> None:
    assault(number, ways, aim)


@settings(max_examples=500, suppress_health_check=quiet)
@given(st.binary(max_size=400))
def test_bytes_that_mean_nothing_are_refused(raw: bytes) -> None:
    assert DOORS[0].file(raw) is None
    DOORS[0].hand_in(SUBJECT.decode(), raw)
    DOORS[0].hand_in(raw.decode(errors="replace"), PAYLOADS[0])


@settings(max_examples=500, suppress_health_check=quiet)
@given(st.text(max_size=200))
def test_text_that_means_nothing_is_refused(text: str) -> None:
    DOORS[0].file(text.encode(errors="surrogatepass"))
    DOORS[0].text(text, papers.signed(CONTRACT).signatures)
    DOORS[0].hand_in(text, PAYLOADS[0])


def test_every_nasty_value_in_every_place_of_every_file() -> None:
    """Not at random: each value of the list behind each key."""
    for raw in FILES[:4]:
        for value in NASTY_VALUES:
            for place in range(40):
                DOORS[0].file(_with_value(raw, place, value.encode(errors="surrogatepass")))


def test_what_is_right_passes_the_same_doors() -> None:
    """Or the fuzz would only show that everything is refused."""
    for raw in FILES:
        assert DOORS[0].file(raw) is not None
    fact = judge(read_request(SUBJECT.decode(), PAYLOADS[0]), DOORS[0].known, NOW)  # pyright: ignore[reportArgumentType]
    assert isinstance(fact, ContractSubmitted)
