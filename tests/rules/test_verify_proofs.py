"""Which event is meant by a sequence, an id, or the id of a request that was answered."""

import datetime as dt

import pytest

from events.bus.port import Stored
from events.envelope import address
from events.gate import Answer, GateDecided
from events.tlog.reader import Archive
from replay.audit.proofs import Found, NotFoundError, find, tell
from tests.rules.archives import MemoryFiles, messages, sealed

NOW = dt.datetime(2026, 11, 22, 9, 0, tzinfo=dt.UTC)
ASKED, OWN = "ab" * 16, "cd" * 16
REFUSAL = Answer(
    request=ASKED,
    request_seq=300,
    pool="web",
    outcome="refused",
    code="CapExceeded",
    asked=4,
    granted=0,
    evidence=(),
    retry_at=None,
)


def decided(*answers: Answer) -> bytes:
    fact = GateDecided(
        org="acme",
        gate="gate-1",
        through=300,
        follows=0,
        state_seq=300,
        now=NOW,
        contract=None,
        rules="1",
        answers=answers,
        orders=(),
    )
    return address(fact, writer="gate", id=OWN, time=NOW, cause=ASKED, correlation=ASKED).payload


@pytest.fixture(scope="module")
def files() -> MemoryFiles:
    """Sequence 300 is the request's event, 301 the decision that refuses it; 302 only tells of both ids."""
    stored = messages(700)
    stored[299] = Stored(300, 1, "vs.acme.signal.pool.web.scale.requested", ASKED, b"{}")
    stored[300] = Stored(301, 2, "vs.acme.gate.org.acme.gate.decided", OWN, decided(REFUSAL))
    stored[301] = Stored(302, 3, "vs.acme.x", "f" * 32, f'{{"about": "{ASKED}", "and": "{OWN}"}}'.encode())
    return sealed(stored)


def found(files: MemoryFiles, asked: str) -> Found:
    return find(Archive(files), files, asked)


def test_a_sequence_means_its_event(files: MemoryFiles) -> None:
    assert found(files, "300") == Found(seq=300)


def test_a_request_means_the_decision_that_answered_it(files: MemoryFiles) -> None:
    assert found(files, ASKED) == Found(seq=301, request_seq=300)


def test_an_event_means_itself_and_the_first_digits_do(files: MemoryFiles) -> None:
    assert found(files, OWN) == found(files, OWN[:6]) == Found(seq=301)


def test_what_only_speaks_of_an_id_is_not_meant(files: MemoryFiles) -> None:
    assert found(files, "ff" * 16).seq == 302


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("0", "events 1 to 700; there is no 0"),
        ("701", "there is no 701"),
        ("abcabc", "no id begins with abcabc"),
        ("abab", "the first 6 do"),
        ("ABABABAB", "is no sequence and no id"),
        (f"{1:028x}0000"[:31] + "a", "no id begins"),
    ],
)
def test_what_means_nothing_is_refused_with_what_there_is(files: MemoryFiles, asked: str, says: str) -> None:
    with pytest.raises(NotFoundError, match=says):
        found(files, asked)


def test_digits_that_mean_more_than_one_event_are_too_few() -> None:
    stored = [Stored(seq, seq, "vs.a", f"abcdef{seq:026x}", b"") for seq in range(1, 4)]
    with pytest.raises(NotFoundError, match="3 ids begin with abcdef: give more digits"):
        found(sealed(stored), "abcdef")


def test_an_entry_tells_its_answers_or_what_stands_around_them(files: MemoryFiles) -> None:
    [entry] = Archive(files).entries(301, 301)
    told = tell(entry)
    assert (told.seq, told.type, told.writer) == (301, "gate.decided.v4", "gate")
    assert told.answers == (("acme", REFUSAL, None),)
    [entry] = Archive(files).entries(302, 302)
    assert (tell(entry).type, tell(entry).id) == ("", "f" * 32)
