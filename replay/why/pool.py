"""`why ORG/POOL@TIME`: what a pool did around an instant, and why it did not grow or shrink. Pure.

The state is folded to the instant, and the gate's own rules are asked what a request would have been answered then. So a
thing that did not happen has an answer as well: nobody asked, or it was refused, or this is what would have refused it.
"""

import datetime as dt
from collections.abc import Iterator
from typing import Final

import msgspec

from events.gate import Evidence
from events.quiesce import QuiesceRequested
from events.scale import ScaleRequested
from replay.why import asked
from replay.why.circumstances import Circumstances, circumstances
from replay.why.foresight import Foresight, foresight
from replay.why.story import Heard, Story
from replay.why.words import answered, moment, number
from schemas.pool import Pool
from services.gate.state import State

LOOK_BACK: Final = dt.timedelta(seconds=600)
"""Events so long before the instant are told with it."""

LOOK_AHEAD: Final = dt.timedelta(seconds=60)
"""What came so soon after the instant is told with it: an activation is promised within some seconds."""


class Verdict(msgspec.Struct, frozen=True):
    """Whether the pool moved one way around the instant, and why or why not."""

    moved: bool
    because: str
    request: str | None = None
    seq: int | None = None


class Supposition(msgspec.Struct, frozen=True):
    """A request that nobody made, and what the rules would have answered it at that instant."""

    question: str
    outcome: str
    code: str
    granted: int
    text: str
    retry_at: dt.datetime | None
    evidence: tuple[Evidence, ...]


class PoolThen(msgspec.Struct, frozen=True):
    """One pool at one instant. `seq` is the last event that it knew."""

    org: str
    pool: str
    at: dt.datetime
    seq: int
    grew: Verdict
    shrank: Verdict
    suppositions: tuple[Supposition, ...]
    circumstances: Circumstances
    forecast: Foresight | None
    """None where the pool was never foreseen."""


def told(state: State, story: Story, ahead: Story, at: dt.datetime, seq: int) -> PoolThen | None:
    """The pool at the instant; None when the org had no such pool by then.

    `state` and `story` include everything up to `seq`; `ahead` is the story's sequel, told on for `LOOK_AHEAD` or more.
    """
    pool = state.fleet.pools.get((story.org, story.pool))
    if pool is None:
        return None
    contract = state.usage.contracts.get(story.org)
    agreed = pool if contract is None else contract.pool(pool)
    return PoolThen(
        org=story.org,
        pool=story.pool,
        at=at,
        seq=seq,
        grew=_verdict(ahead, agreed, at, ScaleRequested),
        shrank=_verdict(ahead, agreed, at, QuiesceRequested),
        suppositions=tuple(_suppositions(state, agreed, at, seq)),
        circumstances=circumstances(state, story, ahead, agreed, at),
        forecast=foresight(story, ahead, at),
    )


def _verdict(
    story: Story, pool: Pool, at: dt.datetime, kind: type[ScaleRequested | QuiesceRequested]
) -> Verdict:
    """Why by the last request of its kind; one from before the pool's cooldown and horizon says nothing about now."""
    way = "growth" if kind is ScaleRequested else "shrinking"
    recent = dt.timedelta(seconds=pool.cooldown_seconds + pool.horizon_seconds)
    # The story knows no request behind the place: which those are is a matter of sequences, and not of their times.
    all_of_them = [heard for heard in story.heard.values() if isinstance(heard.wish, kind)]
    lately = [heard for heard in all_of_them if heard.at >= at - recent]
    if not lately:
        asked_for = "more" if kind is ScaleRequested else "fewer"
        last = f" The last one before was {_which(all_of_them[-1])}." if all_of_them else ""
        return Verdict(
            moved=False,
            because=f"no {way} at {moment(at)} because nobody asked: no request for {asked_for} VMs of "
            f"{story.org}/{story.pool} was received in the {recent.total_seconds():.0f} s before.{last}",
        )
    heard = lately[-1]
    before = [
        one for one in all_of_them if one is not heard and one.answer is not None and one.answer.granted
    ]
    since = (
        f" The last {way} before that was at {moment(before[-1].at)}, by request {before[-1].id}."
        if before
        else ""
    )
    which = _which(heard)
    if heard.answer is None or heard.decided_at is None:
        text = f"no {way} at {moment(at)} yet: {which} had no answer.{since}"
        return Verdict(moved=False, because=text, request=heard.id, seq=heard.seq)
    said = answered(story.org, heard.answer, heard.contract)
    if heard.answer.granted:
        return Verdict(
            moved=True,
            because=f"{way} at {moment(heard.decided_at)} because of {which}: {said}",
            request=heard.id,
            seq=heard.decided_seq,
        )
    return Verdict(
        moved=False,
        because=f"no {way} at {moment(at)} because {which} was {_fate(heard)}: {said}{since}",
        request=heard.id,
        seq=heard.decided_seq,
    )


def _which(heard: Heard) -> str:
    return f"request {heard.id} (sequence {heard.seq}, {moment(heard.at)})"


def _fate(heard: Heard) -> str:
    assert heard.answer is not None, heard
    assert heard.decided_at is not None, heard
    after = (heard.decided_at - heard.at).total_seconds()
    word = "refused" if heard.answer.outcome == "refused" else "answered without a change"
    return f"{word} {after:.1f} s later ({heard.answer.code}, sequence {heard.decided_seq})"


def _suppositions(state: State, pool: Pool, at: dt.datetime, seq: int) -> Iterator[Supposition]:
    if pool.triggers:
        its = "its trigger" if len(pool.triggers) == 1 else "one of its triggers"
        for add in sorted({1, *(trigger.add for trigger in pool.triggers)}):
            who = f"{number(add, more=True)}, asked by {its}"
            yield from _suppose(state, who, asked.grow(pool, add, "trigger", at), at, seq)
    yield from _suppose(
        state, f"{number(1, more=True)}, asked by a person", asked.grow(pool, 1, "person", at), at, seq
    )
    yield from _suppose(
        state, f"{number(1)} fewer, asked automatically", asked.shrink(pool, 1, "forecast", at), at, seq
    )
    yield from _suppose(
        state, f"{number(1)} fewer, asked by a person", asked.shrink(pool, 1, "person", at), at, seq
    )


def _suppose(
    state: State, question: str, wish: ScaleRequested | QuiesceRequested, at: dt.datetime, seq: int
) -> Iterator[Supposition]:
    supposed = asked.ask(state, wish, at, seq)
    if supposed is None:
        return
    answer = supposed.answer
    yield Supposition(
        question=question,
        outcome=answer.outcome,
        code=answer.code,
        granted=answer.granted,
        text=answered(wish.org, answer, supposed.contract),
        retry_at=answer.retry_at,
        evidence=answer.evidence,
    )
