"""What is supposed to have been answered is what the gate answers, had it been asked; and asking changes nothing."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from events.envelope import Recorded, read
from events.gate import GateDecided
from events.ids import derive
from events.quiesce import QuiesceRequested
from events.registry import NEWEST
from events.scale import ScaleRequested
from replay.why import asked
from schemas.pool import Pool
from services.gate.state import State
from tests import papers
from tests.given import ORG, Past
from tests.papers import NOW
from tests.rules.why_past import TRIGGER, cordoned, expired, frozen, setting
from tests.simulation.run import run


def full_of_requests(past: Past) -> None:
    for _ in range(70):
        past.scale(add=1, up_to=True)


def ripe(past: Past) -> None:
    """An addendum that halves the quota takes effect today."""
    terms = papers.terms(ORG, 10)
    less = papers.addendum(terms, NOW, quota=papers.terms(ORG, 4).quota)
    past.happened(papers.accepted(less, NOW))


def shrinking(past: Past) -> None:
    past.quiesce(count=2)


@pytest.mark.parametrize(
    "what", [frozen, cordoned, expired, full_of_requests, ripe, shrinking, lambda _: None]
)
@pytest.mark.parametrize("vms", [1, 3])
@pytest.mark.parametrize("origin", ["trigger", "person"])
def test_what_is_supposed_is_what_the_gate_would_have_said(
    what: Callable[[Past], None], vms: int, origin: Any
) -> None:
    past = setting(vcpu=10, triggers=(TRIGGER,)).keys().serving("web", 3).asleep("web", 1)
    what(past)
    pool: Pool = past.fleet.pools[ORG, "web"]
    wishes: list[ScaleRequested | QuiesceRequested] = [
        asked.grow(pool, vms, origin, past.now),
        asked.shrink(pool, vms, origin, past.now),
    ]
    for wish in wishes:
        before = copy.deepcopy(past.state)
        supposition = asked.ask(past.state, wish, past.now, past.seq)
        assert supposition is not None
        assert asked.ask(past.state, wish, past.now, past.seq) == supposition, "asking changes nothing"
        assert list(past.docket.pending(ORG)) == list(before.docket.pending(ORG))
        assert past.fleet.vms == before.fleet.vms
        real = _really(past, wish)
        assert supposition.answer.code == real.code
        assert supposition.answer.granted == real.granted
        assert supposition.answer.evidence == real.evidence
        assert supposition.answer.retry_at == real.retry_at


def _really(past: Past, wish: ScaleRequested | QuiesceRequested) -> Any:
    """The gate's answer in a world in which it was asked."""
    world = copy.deepcopy(past)
    row = NEWEST[type(wish)]
    request = world.happened(wish, derive("really"))
    assert isinstance(request, Recorded)
    assert row.writer == "signal"
    for _ in range(5):
        for answer in world.round().answers:
            if answer.request == request.id:
                return answer
    raise AssertionError("the gate never answered")


def asked_again(seed: int) -> int:
    """How many decisions of a simulated ledger were found again, each from what was known before its request."""
    messages = run(seed).stored
    lines = [read(one.seq, one.stored_ns, one.payload, one.subject) for one in messages if one.id]
    by_seq = {line.seq: line for line in lines}
    found = 0
    for line in lines:
        decided = line.fact
        if not isinstance(decided, GateDecided) or not decided.answers:
            continue
        answer = decided.answers[0]
        wish = by_seq[answer.request_seq].fact
        if decided.state_seq != answer.request_seq or not isinstance(wish, ScaleRequested | QuiesceRequested):
            continue  # more was known by then than the request's own moment had
        state = State()
        for before in lines:
            if before.seq < answer.request_seq:
                state.apply(before)
        supposition = asked.ask(state, wish, decided.now, answer.request_seq - 1)
        assert supposition is not None
        would, did = supposition.answer, answer
        assert (would.outcome, would.code, would.granted) == (did.outcome, did.code, did.granted), line.seq
        assert (would.evidence, would.retry_at) == (did.evidence, did.retry_at)
        assert supposition.contract == decided.contract
        found += 1
    return found


def test_the_answers_of_simulated_ledgers_are_what_would_have_been_supposed_a_moment_before() -> None:
    assert sum(asked_again(seed) for seed in (4, 7, 11)) > 5


def test_more_waiting_requests_than_are_decided_give_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    past = setting()
    full_of_requests(past)
    pool = past.fleet.pools[ORG, "web"]
    monkeypatch.setattr(asked, "MOST_ROUNDS", 1)
    assert asked.ask(past.state, asked.grow(pool, 1, "person", past.now), past.now, past.seq) is None
