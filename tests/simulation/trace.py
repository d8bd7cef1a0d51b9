"""The trace of a world: what happened when, in words, and its digest."""

import hashlib
from collections.abc import Iterable

from events.envelope import Recorded
from events.gate import GateDecided

Note = tuple[float, str | Recorded]
"""Virtual seconds, and what was so; an event stands for its own line."""


def lines(notes: Iterable[Note]) -> tuple[str, ...]:
    """The trace, line by line."""
    return tuple(f"{at:11.4f} {what if isinstance(what, str) else _line(what)}" for at, what in notes)


def digest(trace: Iterable[str]) -> str:
    """Of the whole trace: two runs of one world have the same."""
    return hashlib.sha256("\n".join(trace).encode()).hexdigest()[:16]


def _line(line: Recorded) -> str:
    return f"#{line.seq} {line.type} {_short(line)}"


def _short(line: Recorded) -> str:
    fact = line.fact
    if isinstance(fact, GateDecided):
        answers = ", ".join(f"{one.outcome} {one.code} {one.granted}/{one.asked}" for one in fact.answers)
        orders = ", ".join(f"{type(order).__name__} {order.vm}" for order in fact.orders)
        return f"{fact.org} by {fact.gate} through {fact.through} at {fact.state_seq}: [{answers}] [{orders}]"
    named = (
        f"{name}={getattr(fact, name)}"
        for name in ("vm", "host", "pool", "code", "found", "cause")
        if hasattr(fact, name)
    )
    held = getattr(fact, "reservation", None)
    return f"{fact.org} {' '.join(named)} {f'under {held[:8]}' if held else ''}"
