"""A what-if as plain values: the same for a table and for JSON."""

from collections import Counter

from events.gate import Answer
from events.sentences import binding, sentence, unit
from replay.metering import moment_of, rounded
from replay.whatif.answers import Changed, Said
from replay.whatif.asking import WhatIf
from replay.whatif.costs import costs
from services.gate.decide import RULES

Row = dict[str, object]

_HOUR_DIGITS = 3
_EURO_DIGITS = 2

_COOLDOWN = (
    "a trigger keeps still for its cooldown by itself: what it asked within a longer one is undecidable, and what it would "
    "have asked sooner by a shorter one is not made up"
)


def document(told: WhatIf, settings: tuple[str, ...]) -> Row:
    """All of it."""
    effects = Counter(one.effect for one in told.changed)
    return {
        "window": {
            "first_seq": told.first_seq,
            "last_seq": told.last_seq,
            "first_stored_at": moment_of(told.first_ns),
            "last_stored_at": moment_of(told.last_ns),
        },
        "set": settings,
        "notes": notes(told),
        "rules": RULES,
        "rounds": {"decided_again": told.rounds, "same_bytes": told.same, "by_other_rules": told.foreign},
        "answers": {
            "recorded": told.answers,
            "changed": len(told.changed),
            "same_by_other_numbers": told.renumbered,
            "undecidable": len(told.undecidable),
            "unanswered": told.unanswered,
            "refused_then": told.refused_then,
            "refused_now": told.refused_now,
            "refused_then_without_an_answer_now": told.refused_apart,
            "refusals_avoided": effects["refusal avoided"],
            "newly_refused": effects["newly refused"],
        },
        "changed": changed(told),
        "undecidable": undecidable(told),
        "modelled": modelled(told),
        "pools": pools(told),
    }


def notes(told: WhatIf) -> list[str]:
    """What is to be known of the answers, in a sentence each."""
    return [_COOLDOWN] if told.cooldown_set else []


def changed(told: WhatIf) -> list[Row]:
    """Each request whose answer differs, in ledger order."""
    ordered = sorted(told.changed, key=lambda one: one.then.answer.request_seq)
    return [_change(one, told) for one in ordered]


def _change(one: Changed, told: WhatIf) -> Row:
    answer = one.then.answer
    return {
        "request": answer.request,
        "seq": answer.request_seq,
        "org": one.then.org,
        "pool": answer.pool,
        "effect": one.effect,
        "then": _said(one.then),
        "now": _said(one.now),
        "outcome_now": _outcome(one.now.answer, told),
    }


def _outcome(answer: Answer, told: WhatIf) -> str:
    """Whether what came of it is recorded or modelled; nothing comes of an answer that moves no VM."""
    if not answer.granted:
        return "none"
    return "modelled" if answer.request in told.modelled else "recorded"


def _said(said: Said) -> Row:
    answer = said.answer
    return {
        "outcome": answer.outcome,
        "code": answer.code,
        "granted": answer.granted,
        "asked": answer.asked,
        "numbers": numbers(answer),
        "evidence": answer.evidence,
        "retry_at": answer.retry_at,
        "sentence": sentence(said.org, answer, said.contract),
    }


def numbers(answer: Answer) -> str:
    """The line that the answer hangs on: what it would have come to, and the limit; the instant where time decides."""
    if answer.retry_at is not None:
        return f"until {answer.retry_at:%H:%M:%S}"
    line = binding(answer) or max(
        answer.evidence, key=lambda one: one.projected / max(1, one.limit), default=None
    )
    return f"{line.projected} of {line.limit} {unit(line)}" if line is not None else ""


def undecidable(told: WhatIf) -> list[Row]:
    """Each request that lost its cause."""
    return [
        {
            "request": one.id,
            "seq": one.seq,
            "org": one.org,
            "pool": one.pool,
            "why": one.why,
            "then": None if one.then is None else _said(one.then),
        }
        for one in told.undecidable
    ]


def modelled(told: WhatIf) -> list[Row]:
    """How many outcomes were modelled, and by what."""
    return [
        {"trip": trip, "outcomes": count, "takes": basis}
        for (trip, basis), count in sorted(told.models.items())
    ]


def pools(told: WhatIf) -> list[Row]:
    """Hours and EUR by pool; decimal numbers as text, so that no reader rounds them."""
    return [
        {
            "org": one.org,
            "pool": one.pool,
            "vm_hours_then": rounded(one.vm_hours_then, _HOUR_DIGITS),
            "vm_hours_now": rounded(one.vm_hours_now, _HOUR_DIGITS),
            "vm_hours_more": rounded(one.vm_hours_now - one.vm_hours_then, _HOUR_DIGITS),
            "vcpu_hours_more": rounded(one.vcpu_hours_now - one.vcpu_hours_then, _HOUR_DIGITS),
            "eur_more": None if one.eur_more is None else rounded(one.eur_more, _EURO_DIGITS),
        }
        for one in costs(told)
    ]
