"""Maintenance that people have not been told of, and the mails that tell them, each with the entry for their calendar.

What is announced, moved, cancelled or not done is one mail to each technical contact, in the order in which it was said: the next
one about an entry waits until the one before was taken. What contacts need not hear of has raised no revision, and is no mail.
"""

import textwrap
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from events.envelope import Recorded
from events.ids import derive
from events.mail import maintenance_id
from events.maintenance import (
    MaintenanceBegun,
    MaintenanceCancelled,
    MaintenanceEnded,
    MaintenanceRescheduled,
    MaintenanceScheduled,
)
from schemas.activity import Activity
from schemas.ics import Appointment, uid_of
from schemas.zones import both
from services.notifier.errand import Errand, when

Told = MaintenanceScheduled | MaintenanceRescheduled | MaintenanceCancelled | MaintenanceEnded
"""What contacts are told of."""

OfEntry = Told | MaintenanceBegun

_WIDTH: Final = 76

_FELT: Final = {
    "none": "The guest is not interrupted.",
    "reboot": "The guest is rebooted once.",
    "cold-reboot": "The guest is shut down and started again once.",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One mail to one person about one event of an entry."""

    person: str
    fact: Told
    event: str
    stored_ns: int
    steps: tuple[Activity, ...]

    @property
    def place(self) -> Hashable:
        """What its errand is about: one mail of an entry is under way to a person at a time."""
        return "maintenance", self.fact.org, self.person, self.fact.entry.id

    def errand(self) -> Errand:
        """The mail."""
        fact, entry = self.fact, self.fact.entry
        name = derive("maintenance", self.person, self.event)
        return Errand(
            place=self.place,
            org=fact.org,
            person=self.person,
            name=name,
            message_id=maintenance_id(fact.org, name),
            requests=(self.event,),
            refused_at=when(self.stored_ns),
            digest_at=None,
            subject=f"{_headline(fact)}maintenance of {entry.org}/{entry.vm}, {both(entry.slot.start, entry.window.zone)}",
            text=self._text(),
            about="maintenance",
            appointment=self._appointment(),
        )

    def _appointment(self) -> Appointment | None:
        fact, entry = self.fact, self.fact.entry
        if isinstance(fact, MaintenanceEnded) or entry.stage == "postponed":
            return None  # what is over is in the calendar as it was, and what has no slot is in none
        return Appointment(
            uid=uid_of(entry.id, f"virtscale.{entry.org}"),
            revision=entry.revision,
            written=when(self.stored_ns),
            start=entry.slot.start,
            end=entry.slot.end,
            summary=f"Maintenance of {entry.org}/{entry.vm}",
            description="\n".join(_done(self.steps)),
            cancelled=isinstance(fact, MaintenanceCancelled),
        )

    def _text(self) -> str:
        fact, entry = self.fact, self.fact.entry
        zone = entry.window.zone
        lines = [_sentence(fact), ""]
        lines += [
            f"  from: {both(entry.slot.start, zone)}",
            f"  to:   {both(entry.slot.end, zone)}",
            f"  in the window {entry.window}, by policy {entry.policy}",
            "",
        ]
        if not isinstance(fact, MaintenanceCancelled):
            lines += [
                "What is done:" if not isinstance(fact, MaintenanceEnded) else "What was to be done:",
                "",
            ]
            lines += [f"  - {one}" for one in _done(self.steps)]
            lines += [
                "",
                _FELT[max((step.impact for step in self.steps), key=list(_FELT).index, default="none")],
                "",
            ]
        if not isinstance(fact, MaintenanceCancelled | MaintenanceEnded):
            lines += [
                (
                    "What you can do: have it done later, or taken back, by asking the operators of the platform. They write "
                    f"`virtscale maintenance postpone {entry.id[:12]}` or `virtscale maintenance cancel {entry.id[:12]}`, each with "
                    "`--reason`."
                ),
                "",
            ]
        lines += [
            f"Virtscale wrote this because the contract of {entry.org} names you. The ledger holds the same.",
            "",
        ]
        return "\n".join(
            line if line.startswith("  ") else textwrap.fill(line, _WIDTH, break_long_words=False)
            for line in lines
        )


class Notices:
    """Mails about maintenance that are to go, for each person and entry the oldest first."""

    def __init__(self, contacts: Mapping[str, tuple[str, ...]]) -> None:
        self._contacts = contacts
        """Who is told, by org, as it is now."""
        self._untold: dict[tuple[str, str, str], dict[str, Notice]] = {}
        """By org, person and entry, then by the event's id."""
        self._entries: dict[tuple[str, str, str], str] = {}
        """The entry that each event is about, by org, person and event."""
        self._last: dict[str, tuple[int, int]] = {}
        """The number and the revision of the last event about each entry that is not over."""
        self._steps: dict[str, tuple[Activity, ...]] = {}

    def take(self, fact: OfEntry, recorded: Recorded) -> None:
        """Whoever is to hear of it has a mail that waits."""
        entry = fact.entry
        if all(asked.kind == "deletion-notice" for asked in entry.asked):
            return  # the deletion has mails of its own, and they carry the same entry
        number, revision = self._last.get(entry.id, (0, -1))
        if fact.number != number + 1:
            return
        self._last[entry.id] = fact.number, entry.revision
        if isinstance(fact, MaintenanceScheduled | MaintenanceRescheduled):
            self._steps[entry.id] = fact.steps
        if not isinstance(fact, MaintenanceBegun) and _is_news(fact, revision):
            for person in self._contacts.get(fact.org, ()):
                notice = Notice(person, fact, recorded.id, recorded.stored_ns, self._steps.get(entry.id, ()))
                self._untold.setdefault((fact.org, person, entry.id), {})[recorded.id] = notice
                self._entries[fact.org, person, recorded.id] = entry.id
        if entry.stage in {"ended", "cancelled"}:
            self._steps.pop(entry.id, None)

    def tell(self, org: str, person: str, events: Iterable[str]) -> None:
        """A mail to the person told of these, or failed for good."""
        for event in events:
            entry = self._entries.pop((org, person, event), None)
            if entry is not None:
                waiting = self._untold[org, person, entry]
                del waiting[event]
                if not waiting:
                    del self._untold[org, person, entry]

    def due(self) -> Iterable[tuple[str, list[Notice]]]:
        """The mails that may go now, of each org that has one."""
        found: dict[str, list[Notice]] = defaultdict(list)
        for (org, _, _), waiting in self._untold.items():
            found[org].append(next(iter(waiting.values())))
        return found.items()


def _is_news(fact: Told, revision: int) -> bool:
    match fact:
        case MaintenanceScheduled():
            return True
        case MaintenanceRescheduled():
            return fact.entry.revision > revision
        case MaintenanceCancelled():
            return fact.entry.told
        case MaintenanceEnded():
            return fact.entry.result != "done"


def _headline(fact: Told) -> str:
    match fact:
        case MaintenanceScheduled():
            return "Announced: "
        case MaintenanceRescheduled():
            return "Postponed: " if fact.entry.stage == "postponed" else "Changed: "
        case MaintenanceCancelled():
            return "Cancelled: "
        case MaintenanceEnded():
            return "Not done: "


def _sentence(fact: Told) -> str:
    entry = fact.entry
    vm, why = f"VM {entry.org}/{entry.vm}", f" {entry.reason.rstrip('.')}." if entry.reason else ""
    match fact:
        case MaintenanceScheduled():
            return f"{vm} will be worked on."
        case MaintenanceRescheduled() if entry.stage == "postponed":
            return f"The work on {vm} is not done when it was announced; you hear when a new time was found.{why}"
        case MaintenanceRescheduled():
            return f"The work on {vm} that was announced is another, or at another time: what follows holds from now on.{why}"
        case MaintenanceCancelled():
            return f"The work on {vm} that was announced is not done.{why}"
        case MaintenanceEnded():
            what = "was not begun" if entry.result == "refused" else "did not end as it should"
            return f"The work on {vm} {what} ({fact.code}).{why}"


def _done(steps: Iterable[Activity]) -> list[str]:
    """Each step in words."""
    said: list[str] = []
    for step in steps:
        changes = [f"{change.what} from {change.before} to {change.after}" for change in step.changes]
        words = "; ".join([*changes, *([step.summary] if step.summary else [])])
        said.append(f"{step.kind}: {words}" if words else step.kind)
    return said
