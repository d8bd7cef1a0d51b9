"""What a request would have been answered: the gate's own rules, asked at a moment of the past. Nothing is written.

The question stands in line like any other: requests that waited at that moment are answered before it, as the gate would
have done, and what they were granted counts.
"""

import copy
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from events.envelope import Recorded
from events.fact import Fact
from events.gate import Answer, ContractRef
from events.ids import derive
from events.quiesce import QuiesceRequested
from events.registry import NEWEST
from events.scale import Origin, Sample, ScaleRequested
from schemas.pool import Pool
from services.gate.decide import decide
from services.gate.state import State

MOST_ROUNDS: Final = 64
"""So many rounds of waiting requests are decided before the question is given up: 4,096 answers, at 64 a round."""

_NOBODY: Final = "nobody"
"""The publisher and the gate of what was never asked and never decided."""


@dataclass(frozen=True, slots=True)
class Supposed:
    """The answer that there would have been, and the contract it would have been given by."""

    answer: Answer
    contract: ContractRef | None


def grow(pool: Pool, vms: int, origin: Origin, now: dt.datetime) -> ScaleRequested:
    """A request for so many more VMs; a trigger's comes with the sample that would just have set it off.

    Of several triggers it is the one that asks for so many, or the first: what the gate answers rests on the sample's time alone.
    """
    sample = None
    if pool.triggers and origin == "trigger":
        trigger = next((one for one in pool.triggers if one.add == vms), pool.triggers[0])
        sample = Sample(query=trigger.query, value=trigger.above, above=trigger.above, observed_at=now)
    return ScaleRequested(
        org=pool.org,
        pool=pool.name,
        publisher=_NOBODY,
        key=_NOBODY,
        origin=origin,
        add=vms,
        want=None,
        up_to=False,
        received_at=now,
        sample=sample,
    )


def shrink(pool: Pool, vms: int, origin: Origin, now: dt.datetime) -> QuiesceRequested:
    """A request for so many VMs fewer."""
    return QuiesceRequested(
        org=pool.org,
        pool=pool.name,
        publisher=_NOBODY,
        key=_NOBODY,
        origin=origin,
        count=vms,
        received_at=now,
        sample=None,
    )


def ask(state: State, wish: ScaleRequested | QuiesceRequested, now: dt.datetime, seq: int) -> Supposed | None:
    """What the gate would have answered to the wish, stored right behind `seq`, by its clock `now`.

    `state` includes everything up to `seq` and stays as it is. None when so many requests waited before it that
    `MOST_ROUNDS` rounds did not come to it.
    """
    name = derive("supposed", wish.org, wish.pool, seq)
    seq += 1
    asked = _event(wish, name, seq, now)
    # Only the docket knows requests; the other folds are looked at and stay untouched.
    docket = copy.deepcopy(state.docket)
    docket.apply(asked)
    world = replace(state, docket=docket)
    for round_ in range(MOST_ROUNDS):
        decision = decide(wish.org, world, now=now, gate=_NOBODY, state_seq=seq)
        if decision is None:
            return None
        for answer in decision.decided.answers:
            if answer.request == name:
                return Supposed(answer, decision.decided.contract)
        if round_ == 0:  # a round before it: what that grants and orders must count, in a world of its own
            world = copy.deepcopy(world)
        facts: Sequence[Fact] = (*decision.facts, decision.decided)
        for fact in facts:
            seq += 1
            world.apply(_event(fact, derive("supposed", name, seq), seq, now))
    return None


def _event(fact: Fact, name: str, seq: int, now: dt.datetime) -> Recorded:
    stored_ns = (now - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1) * 1000
    row = NEWEST[type(fact)]
    return Recorded(seq, stored_ns, name, row.writer, now, None, name, row.tag, fact)
