"""What if: the two readings of a window, and what came of them. Nothing is written anywhere; it may be broken off."""

import datetime as dt
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, fields

from events.envelope import Recorded
from replay.history import Told, fold, recorded
from replay.metering import Spent, ns_of
from replay.source import Source
from replay.whatif.answers import Changed, Undecidable, Unlike
from replay.whatif.causes import Asked
from replay.whatif.retelling import Retelling
from replay.whatif.rules import Known, Rules, WhatIfError
from replay.whatif.survey import Survey
from schemas.contract.terms import Contract
from services.gate.state import State


@dataclass(frozen=True, slots=True)
class WhatIf:
    """What would have come of the requests in a window, and what came of them."""

    first_seq: int
    last_seq: int
    first_ns: int
    last_ns: int
    rounds: int
    same: int
    """Rounds that were decided again to the recorded bytes."""
    unlike: Unlike | None
    """The first that was not; with no rules set, a reason to look at the ledger or at the program."""
    foreign: dict[str, int]
    """Rounds that another version of the rules decided, by that version; they were decided again by this one."""
    answers: int
    renumbered: int
    """Answers that are the same, by other numbers."""
    unanswered: int
    """Requests that the new course has not answered when the window ends."""
    refused_then: int
    refused_now: int
    """Of the requests that are answered in both courses."""
    refused_apart: int
    """Requests that were refused then and have no answer now, being undecidable or unanswered."""
    changed: tuple[Changed, ...]
    undecidable: tuple[Undecidable, ...]
    modelled: frozenset[str]
    """Requests that an outcome in the new course is modelled for."""
    models: dict[tuple[str, str], int]
    """Outcomes that were modelled, by what for and where the duration comes from."""
    then: dict[tuple[str, str], Spent]
    now: dict[tuple[str, str], Spent]
    cooldown_set: bool
    """Whether a trigger might have asked more often, or less, by what is set."""
    contracts: dict[str, Contract]
    """The contracts in force at the end of the window, as they were recorded."""


async def what_if(
    source: Source,
    rules: Rules,
    first: int | dt.datetime,
    last: int | dt.datetime | None = None,
    progress: Told | None = None,
) -> WhatIf:
    """The requests that were answered from `first` to `last`, decided again by these rules.

    The window is read twice and what lies before it once. Raises `WhatIfError` for an empty window and for rules about
    what the ledger does not know, `UnknownEventError` and `BusError` as every reading of the ledger.
    """
    first_seq, last_seq = await place(source, first), await source.last()
    if last is not None:
        last_seq = min(last_seq, last if isinstance(last, int) else await place(source, last) - 1)
    if first_seq > last_seq:
        raise WhatIfError(
            f"There is nothing from #{first_seq} to #{last_seq}: the ledger ends at #{await source.last()}."
        )
    window = last_seq - first_seq + 1
    total = window + last_seq

    def told(base: int) -> Told:
        def tell(seq: int, _: int) -> None:
            if progress is not None:
                progress(base + seq, total)

        return tell

    survey, state, asked, named = Survey(), State(), Asked(), Known()
    async with aclosing(recorded(source, max(0, first_seq - 2), last_seq, told(1 - first_seq))) as groups:
        async for group in groups:
            _survey(survey, group, first_seq)
            _name(named, group)
    start = survey.least_state_seq(first_seq - 1)
    folds = [getattr(state, part.name) for part in fields(state)]
    await fold(source, [*folds, asked], start, told(window))
    async with aclosing(recorded(source, start, first_seq - 1)) as groups:
        async for group in groups:
            _name(named, group)
    before = Known.by(state)
    # Before the window is decided again, which takes the longest; at its end it is asked once more, of what was folded.
    _require_known(rules, Known(before.orgs | named.orgs, before.pools | named.pools))
    again = Retelling(state, survey, rules, start, asked)
    async with aclosing(recorded(source, start, last_seq, told(window))) as groups:
        async for group in groups:
            for line in group:
                again.take(line)
    return _ended(again, survey, rules, first_seq, last_seq)


def retold(lines: Sequence[Recorded], rules: Rules, first_seq: int = 1) -> WhatIf:
    """The same for events that are at hand, all from the ledger's first on."""
    survey, state, asked = Survey(), State(), Asked()
    _survey(survey, _behind(lines, first_seq - 2), first_seq)
    start = survey.least_state_seq(first_seq - 1)
    for line in lines:
        if line.seq <= start:
            state.apply(line)
            asked.apply(line)
    again = Retelling(state, survey, rules, start, asked)
    for line in _behind(lines, start):
        again.take(line)
    return _ended(again, survey, rules, first_seq, lines[-1].seq if lines else 0)


def _survey(survey: Survey, lines: Iterable[Recorded], first_seq: int) -> None:
    for line in lines:
        if line.seq < first_seq:
            survey.preface(line)
        else:
            survey.take(line)


def _name(named: Known, lines: Iterable[Recorded]) -> None:
    for line in lines:
        named.take(line.fact)


def _require_known(rules: Rules, known: Known) -> None:
    for unknown in rules.unknown(known):
        raise WhatIfError(f"{unknown} Nothing was decided again.")


def _behind(lines: Iterable[Recorded], seq: int) -> Iterable[Recorded]:
    return (line for line in lines if line.seq > seq)


def _ended(again: Retelling, survey: Survey, rules: Rules, first_seq: int, last_seq: int) -> WhatIf:
    again.end()
    _require_known(rules, Known.by(again.state))
    then, answers = again.then or again.now, again.answers
    return WhatIf(
        first_seq=first_seq,
        last_seq=last_seq,
        first_ns=survey.first_ns,
        last_ns=survey.last_ns,
        rounds=again.rounds,
        same=again.same,
        unlike=again.unlike,
        foreign=dict(again.foreign),
        answers=answers.total,
        renumbered=answers.renumbered,
        unanswered=answers.unanswered(),
        refused_then=answers.refused_then,
        refused_now=answers.refused_now,
        refused_apart=answers.refused_apart(),
        changed=tuple(answers.changed),
        undecidable=tuple(answers.undecidable.values()),
        modelled=frozenset(again.modelled),
        models=dict(again.models),
        then=then.meter.pools,
        now=again.now.meter.pools,
        cooldown_set=any("cooldown_seconds" in one.fields for one in rules.pools),
        contracts=dict(then.usage.contracts),
    )


async def place(source: Source, where: int | dt.datetime) -> int:
    """The sequence itself, or that of the first event stored at the instant or later; one past the end if none was.

    By halving, since the bus's clock hardly ever steps back; where it did, either side of the step may be found.
    """
    if isinstance(where, int):
        return max(1, where)
    wanted, low, high = ns_of(where), 1, await source.last() + 1
    while low < high:
        middle = (low + high) // 2
        if await _stored_ns(source, middle) < wanted:
            low = middle + 1
        else:
            high = middle
    return low


async def _stored_ns(source: Source, seq: int) -> int:
    async with aclosing(source.read(seq, seq)) as groups:
        async for group in groups:
            return group[0].stored_ns
    raise WhatIfError(f"The ledger has no #{seq}.")
