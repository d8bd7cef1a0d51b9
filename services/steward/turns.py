"""What is to be done now, of all that the calendar holds: told, begun, postponed, let go.

Level-triggered: it looks at the entries and the time alone, so that a steward that was down for a night says after its restart
what it should have said, and never begins what its contacts no longer expect.
"""

import datetime as dt
from collections.abc import Iterable
from typing import Literal

from schemas.activity import Maintenance
from schemas.maintenance import AtOnce, Policy
from schemas.names import Id, Text
from schemas.struct import Value
from services.steward.crowd import has_hands, is_notice

TurnStep = Literal["announce", "fall-due", "lapse", "begin", "postpone", "replan"]


class Turn(Value, frozen=True):
    """The next step of one entry, as in the table of stages."""

    id: Id
    step: TurnStep
    reason: Text = ""


def turns(
    now: dt.datetime, known: Iterable[Maintenance], policy: Policy, at_once: AtOnce
) -> tuple[Turn, ...]:
    """At most one step of each entry, in the order of their starts; of those that wait for hands, the first to start comes first.

    `known` are all entries of an org. What is said to begin counts as running for whatever comes after it.
    """
    entries = sorted(known, key=lambda entry: (entry.slot.start, entry.id))
    running = [entry for entry in entries if entry.stage == "running"]
    said: list[Turn] = []
    for entry in entries:
        match entry.stage:
            case "planned":
                said.append(Turn(entry.id, "announce"))
            case "postponed":
                said.append(Turn(entry.id, "replan"))
            case "announced" if now >= entry.slot.start:
                said.append(Turn(entry.id, "lapse" if is_notice(entry) else "fall-due"))
            case "due":
                reason = missed(now, entry, policy)
                if reason is not None:
                    said.append(Turn(entry.id, "postpone", reason))
                elif now >= entry.slot.start and has_hands(entry, running, at_once):
                    said.append(Turn(entry.id, "begin"))
                    running.append(entry)
            case "announced" | "running" | "ended" | "cancelled":
                pass
    return tuple(said)


def missed(now: dt.datetime, entry: Maintenance, policy: Policy) -> str | None:
    """Why the entry can no longer begin in its slot; None while it can."""
    start, closes = entry.slot.start, entry.slot.closes
    length = entry.slot.end - start
    if now > start + dt.timedelta(seconds=policy.overdue_seconds):
        minutes = policy.overdue_seconds // 60
        return f"It had not begun {minutes} minutes after its start at {start:%Y-%m-%d %H:%M} UTC."
    if now + length > closes:
        minutes = -(-length // dt.timedelta(minutes=1))
        return f"It takes {minutes} minutes, and its window closes at {closes:%Y-%m-%d %H:%M} UTC."
    return None
