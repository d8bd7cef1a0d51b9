"""`why ID`: what led to an event, an order or a mail, and what came of it, as the ledger has it.

Three readings: one finds what the id names, one goes back from there to where it began, one goes on from there to the
end. An event that has none of the ids in its bytes is not even decoded, so that reading is nearly all there is to it.
"""

import datetime as dt
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, Literal, Protocol

import msgspec

from events.bus.port import Stored
from events.envelope import Recorded, read
from events.gate import Evidence, GateDecided
from replay.history import Told
from replay.source import Source
from replay.why.chain import Following, Link, Origins
from replay.why.named import Named, Naming
from replay.why.words import answered, by_rules, happened, moment, ordered, tag_of
from services.gate.state import Wish

BLOCK: Final = 5000
"""Events that are read at a time on the way back; causes are seldom further away than that."""

MOST_NEEDLES: Final = 48
"""With more ids to look for than this, decoding an event is cheaper than looking for all of them in it."""

MOST_CAUSES: Final = 40
"""Sentences that say because: a digest names up to a thousand refusals."""

Part = Literal["cause", "this", "then"]


class Step(msgspec.Struct, frozen=True):
    """One event, one order, or the answers of one decision: when it was stored, where, by whom, and what it says."""

    seq: int
    at: dt.datetime
    writer: str
    event: str
    id: str
    what: str
    part: Part = "then"
    evidence: tuple[Evidence, ...] = ()


class Why(msgspec.Struct, frozen=True):
    """What an id names, why it is there, and the chain of events around it in ledger order."""

    id: str
    kind: str
    seq: int
    because: tuple[str, ...]
    """The thing itself in a sentence, then what it came from, nearest first."""
    steps: tuple[Step, ...]
    left_out: int
    """Events of the chain that are not among the steps, because they are too many."""
    read_to: int
    """The last sequence that was looked at: what came later is not in this answer."""


async def why(source: Source, text: str, progress: Told | None = None) -> Why:
    """The chain around what `text` names; `IdError` where that is nothing, or more than one thing.

    Errors of reading as in `replay.history`. Writes nothing, so that it may be interrupted at any time.
    """
    last = await source.last()
    named, origins = await located(source, text, last, progress)
    following = Following.of(origins.links, named)
    if following.needles:
        first = min(link.recorded.seq for link in origins.links)
        async for recorded in _holding(_told(source, first, last, progress), lambda: following.needles):
            following.look_at(recorded)
    causes = {link.recorded.seq for link in origins.links[1:]}
    links = [following.links[seq] for seq in sorted(following.links)]
    steps = [step for link in links for step in steps_of(link, _part_of(link, named, causes), named)]
    return Why(
        id=named.id,
        kind=named.kind,
        seq=named.seq,
        because=tuple(_because(origins.links, links, named, last)),
        steps=tuple(steps),
        left_out=following.left_out,
        read_to=last,
    )


async def located(source: Source, text: str, last: int, progress: Told | None) -> tuple[Named, Origins]:
    """What `text` names up to the sequence `last`, and what it came from; `IdError` as `why`."""
    naming = Naming(text)
    async for recorded in _holding(_told(source, 1, last, progress), lambda: {naming.needle}):
        naming.apply(recorded)
    named = naming.the_one()
    origins = Origins(named)
    await _look_back(source, named.seq, origins)
    return named, origins


def steps_of(link: Link, part: Part, named: Named | None = None) -> list[Step]:
    """The event as it is shown; a decision as its answers, and each of its orders."""
    recorded = link.recorded
    whole = Step(
        seq=recorded.seq,
        at=recorded.stored_at,
        writer=recorded.writer,
        event=recorded.type,
        id=recorded.id,
        what="",
        part=part,
    )
    if not isinstance(recorded.fact, GateDecided):
        return [msgspec.structs.replace(whole, what=happened(recorded.fact))]
    decided = recorded.fact
    words = [answered(decided.org, answer, decided.contract) for answer in link.answers]
    if named is not None and named.kind == "order" and part == "this":
        whole = msgspec.structs.replace(whole, part="cause")
    steps = [
        msgspec.structs.replace(
            whole,
            what=" ".join([*words, f"Rules {decided.rules}."]),
            evidence=tuple(line for answer in link.answers for line in answer.evidence),
        )
    ]
    if not (link.answers or part == "this"):
        steps = []
    for order in link.orders:
        its_part: Part = "this" if named is not None and order.id == named.id else part
        steps.append(
            msgspec.structs.replace(
                whole, event=tag_of(order), id=order.id, what=ordered(order), part=its_part
            )
        )
    return steps


def _part_of(link: Link, named: Named, causes: set[int]) -> Part:
    if link.recorded.seq == named.seq:
        return "this"
    return "cause" if link.recorded.seq in causes else "then"


# ---------------------------------------------------------------------------------------------------------- reading


class _Looking(Protocol):
    """A chain that still looks for events with certain ids in them."""

    @property
    def needles(self) -> set[str]: ...

    def look_at(self, recorded: Recorded) -> None: ...


async def _told(source: Source, first: int, last: int, progress: Told | None) -> AsyncGenerator[list[Stored]]:
    if first > last:
        return
    async with aclosing(source.read(first, last)) as groups:
        async for group in groups:
            yield group
            if progress is not None:
                progress(group[-1].seq, last)


async def _holding(
    groups: AsyncGenerator[list[Stored]], needles: Callable[[], set[str]]
) -> AsyncGenerator[Recorded]:
    """The events that hold one of the needles, which may become others after each of them."""
    wanted = _bytes(needles())
    async with aclosing(groups) as opened:
        async for group in opened:
            for stored in group:
                if stored.id and _holds(stored.payload, wanted):
                    yield read(stored.seq, stored.stored_ns, stored.payload, stored.subject)
                    wanted = _bytes(needles())


async def _look_back(source: Source, seq: int, chain: _Looking) -> None:
    """Events from `seq` back to the first, until the chain looks for nothing more."""
    last = seq
    while last > 0 and chain.needles:
        first = max(1, last - BLOCK + 1)
        block = [stored async for group in _told(source, first, last, None) for stored in group]
        wanted = _bytes(chain.needles)
        for stored in reversed(block):
            if stored.id and _holds(stored.payload, wanted):
                chain.look_at(read(stored.seq, stored.stored_ns, stored.payload, stored.subject))
                wanted = _bytes(chain.needles)
        last = first - 1


def _bytes(needles: set[str]) -> tuple[bytes, ...] | None:
    """What to look for; None where it is too much, and every event is worth a look."""
    return tuple(needle.encode() for needle in needles) if len(needles) <= MOST_NEEDLES else None


def _holds(payload: bytes, wanted: tuple[bytes, ...] | None) -> bool:
    return wanted is None or any(needle in payload for needle in wanted)


# ------------------------------------------------------------------------------------------------------------ words


def _because(origins: list[Link], links: list[Link], named: Named, last: int) -> list[str]:
    first, *others = [line for link in origins for line in _said(link, named)]
    if others:
        shown = [f"because {line}" for line in others[:MOST_CAUSES]]
        more = len(others) - len(shown)
        return [first, *shown, *([f"and because of {more} more events"] if more else [])]
    if not isinstance(origins[0].recorded.fact, Wish):
        return [first]
    # Nothing in the ledger led to a request: what it was answered is what there is to say.
    for link in links:
        decided = link.recorded.fact
        answers = [answer for answer in link.answers if answer.request == named.id]
        if isinstance(decided, GateDecided) and answers:
            said = answered(decided.org, answers[0], decided.contract)
            return [first, f"then {_place(link)}: {said} {by_rules(decided)}"]
    return [first, f"and it has no answer up to sequence {last}"]


def _said(link: Link, named: Named) -> list[str]:
    fact, place = link.recorded.fact, _place(link)
    if not isinstance(fact, GateDecided):
        return [f"{place}: {happened(fact)}"]
    words = [answered(fact.org, answer, fact.contract) for answer in link.answers]
    orders = [f"{_place(link, tag_of(order))}: {ordered(order)}" for order in link.orders]
    decision = [f"{place}: {' '.join([*words, by_rules(fact)])}"]
    if link.recorded.id == named.id:
        return [*decision, *orders]
    return [*orders, *(decision if words else [])]


def _place(link: Link, event: str = "") -> str:
    recorded = link.recorded
    return f"{event or recorded.type} at sequence {recorded.seq}, {moment(recorded.stored_at)}, by {recorded.writer}"
