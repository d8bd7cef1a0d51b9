"""Answers then and now, put side by side; only what differs is kept."""

from dataclasses import dataclass, field
from typing import Final, Literal

from events.envelope import Recorded
from events.fact import Fact
from events.gate import Answer, ContractRef, GateDecided
from services.gate.draft import Decision
from services.gate.state import Wish

Effect = Literal["refusal avoided", "newly refused", "more granted", "less granted", "otherwise"]

_GIVEN: Final = frozenset({"admitted", "partial"})


@dataclass(frozen=True, slots=True)
class Said:
    """One answer, and the contract by which it was given."""

    org: str
    answer: Answer
    contract: ContractRef | None


@dataclass(frozen=True, slots=True)
class Changed:
    """A request whose answer differs."""

    then: Said
    now: Said

    @property
    def effect(self) -> Effect:
        """What the difference comes to for whoever asked."""
        then, now = self.then.answer, self.now.answer
        if then.outcome == "refused" and now.outcome in _GIVEN:
            return "refusal avoided"
        if now.outcome == "refused" and then.outcome != "refused":
            return "newly refused"
        if now.granted != then.granted:
            return "more granted" if now.granted > then.granted else "less granted"
        return "otherwise"


@dataclass(frozen=True, slots=True)
class Undecidable:
    """A request that lost its cause, what it was answered then, and why nobody can say whether it would have been asked."""

    seq: int
    id: str
    org: str
    pool: str
    why: str
    then: Said | None = None


@dataclass(frozen=True, slots=True)
class Unlike:
    """A round that is not the recorded one when it is decided again."""

    recorded: Recorded
    told: tuple[Fact, ...]
    """The facts that stand with the recorded round."""
    again: Decision | None


@dataclass(slots=True)
class Answers:
    """Every answer of both courses, by the place of its request, until it has met the other."""

    changed: list[Changed] = field(default_factory=list[Changed])
    undecidable: dict[int, Undecidable] = field(default_factory=dict[int, Undecidable])
    total: int = 0
    renumbered: int = 0
    """Answers that are the same but for the numbers that they were given by."""
    refused_then: int = 0
    refused_now: int = 0
    """Both are of the requests that have an answer in both courses, so that one can be held against the other."""
    _then: dict[int, Said] = field(default_factory=dict[int, Said])
    _now: dict[int, Said] = field(default_factory=dict[int, Said])

    def lost(self, recorded: Recorded, org: str, pool: str, why: str) -> None:
        """The request is not answered in the new course."""
        self.undecidable[recorded.seq] = Undecidable(recorded.seq, recorded.id, org, pool, why)

    def both(self, decided: GateDecided) -> None:
        """The round is the same in both courses."""
        self.total += len(decided.answers)
        refused = sum(one.outcome == "refused" for one in decided.answers)
        self.refused_then += refused
        self.refused_now += refused

    def then(self, decided: GateDecided) -> None:
        """The round is of the recorded course."""
        for answer in decided.answers:
            self.total += 1
            said, place = Said(decided.org, answer, decided.contract), answer.request_seq
            lost = self.undecidable.get(place)
            if lost is not None:
                self.undecidable[place] = Undecidable(lost.seq, lost.id, lost.org, lost.pool, lost.why, said)
            elif (now := self._now.pop(place, None)) is not None:
                self._meet(said, now)
            else:
                self._then[place] = said

    def now(self, decided: GateDecided) -> None:
        """The round is of the new course."""
        for answer in decided.answers:
            said, place = Said(decided.org, answer, decided.contract), answer.request_seq
            then = self._then.pop(place, None)
            if then is None:
                self._now[place] = said
            else:
                self._meet(then, said)

    def unanswered(self) -> int:
        """Requests that were answered then, and in the new course not before the window ends."""
        return len(self._then)

    def refused_apart(self) -> int:
        """Requests that were refused then and have no answer in the new course: undecidable ones, and those unanswered."""
        lost = [one.then for one in self.undecidable.values() if one.then is not None]
        return sum(said.answer.outcome == "refused" for said in (*lost, *self._then.values()))

    def _meet(self, then: Said, now: Said) -> None:
        self.refused_then += then.answer.outcome == "refused"
        self.refused_now += now.answer.outcome == "refused"
        if _gist(then.answer) != _gist(now.answer):
            self.changed.append(Changed(then, now))
        elif then.answer != now.answer:
            self.renumbered += 1


def _gist(answer: Answer) -> tuple[object, ...]:
    return answer.outcome, answer.code, answer.asked, answer.granted, answer.retry_at


def is_wish(recorded: Recorded) -> bool:
    """Whether the gate answers it."""
    return isinstance(recorded.fact, Wish)
