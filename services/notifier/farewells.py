"""Deletions that people have not been told of, and the mails that tell them: what goes when, and until when it can be taken back.

Each technical contact has a mail when a deletion is scheduled, when its preparation begins (unless that was at once), when the VM is
stopped, when it is gone, and when it is cancelled after all. One mail of a deletion is under way to a person at a time, and it names
all that was not told yet; while the next stage is overdue it waits, so that after a long silence one mail says what happened.
"""

import datetime as dt
import textwrap
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from events.deletion import DeletionBegun, DeletionCancelled, DeletionCompleted, DeletionScheduled
from events.envelope import Recorded
from events.ids import derive
from events.mail import deletion_id
from events.maintenance import notice_of
from schemas.deletion import STAGES, Schedule, Stage
from schemas.ics import Appointment, uid_of
from schemas.zones import both
from services.notifier.errand import Errand, when

OfDeletion = DeletionScheduled | DeletionBegun | DeletionCompleted | DeletionCancelled

HOLD_SECONDS: Final = 900
"""A mail waits no longer for stages that are overdue: whatever keeps them, people hear how far it is."""

_NOTICE: Final = dt.timedelta(seconds=60)
"""How long the entry in the calendar lasts: as the one that the steward makes."""

_NS: Final = 1_000_000_000
_WIDTH: Final = 76
_WAITED_FOR: Final[tuple[Stage, ...]] = ("soft", "hard", "purge", "recycle")

_NAMES: Final[Mapping[Stage, str]] = {
    "prepare": "prepared",
    "soft": "shut down",
    "hard": "disk gone",
    "purge": "backups gone",
    "recycle": "name free",
}


@dataclass(slots=True)
class Story:
    """One deletion, as far as it is."""

    scheduled: DeletionScheduled
    completed: list[Stage] = field(default_factory=list[Stage])
    cancelled: DeletionCancelled | None = None
    newest_ns: int = 0
    """When the last of it was said, by the clock of who said it: as its instants are, which the bus's may not be near."""

    @property
    def over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.cancelled is not None or "recycle" in self.completed

    def held_until_ns(self, now_ns: int) -> int | None:
        """Until when a mail waits for stages that are overdue; None when it may go."""
        if self.over:
            return None
        due = dict(self.scheduled.schedule.instants())
        overdue = any(
            stage not in self.completed and due[stage].timestamp() * _NS <= now_ns for stage in _WAITED_FOR
        )
        until_ns = self.newest_ns + HOLD_SECONDS * _NS
        return until_ns if overdue and now_ns < until_ns else None


@dataclass(frozen=True, slots=True)
class Farewell:
    """One mail to one person about one deletion, as it is when it is written."""

    person: str
    story: Story
    news: tuple[tuple[str, OfDeletion], ...]
    """What was not told, by its event's id; the last is what the mail is about."""
    stored_ns: int

    @property
    def place(self) -> Hashable:
        """What its errand is about: one mail of a deletion is under way to a person at a time."""
        scheduled = self.story.scheduled
        return "deletion", scheduled.org, self.person, scheduled.deletion

    def errand(self) -> Errand:
        """The mail."""
        scheduled, events = self.story.scheduled, tuple(event for event, _ in self.news)
        name = derive("deletion", self.person, *events)
        return Errand(
            place=self.place,
            org=scheduled.org,
            person=self.person,
            name=name,
            message_id=deletion_id(scheduled.org, name),
            requests=events,
            refused_at=when(self.stored_ns),
            digest_at=None,
            subject=self._subject(),
            text=self._text(),
            about="deletions",
            appointment=self._appointment(),
        )

    def _subject(self) -> str:
        told = self.story.scheduled
        vm, schedule = f"{told.org}/{told.vm}", told.schedule
        if self.story.cancelled is not None:
            return f"Not deleted after all: {vm}"
        match self._last():
            case "scheduled":
                return f"To be deleted: {vm}, shut down {_local(schedule.soft, schedule)}"
            case "prepare":
                return f"Soon to be deleted: {vm}, shut down {_local(schedule.soft, schedule)}"
            case "soft":
                return f"Shut down to be deleted: {vm}, gone {_local(schedule.hard, schedule)}"
            case "hard":
                return f"Deleted: {vm}, backups until {_local(schedule.purge, schedule)}"
            case _:
                return f"Deleted: {vm}, and nothing of it is left"

    def _last(self) -> Stage | str:
        """How far it is, for somebody who was told all but the news."""
        if "soft" in self.story.completed:
            return self.story.completed[-1]
        return "scheduled" if any(isinstance(fact, DeletionScheduled) for _, fact in self.news) else "prepare"

    def _appointment(self) -> Appointment | None:
        told = self.story.scheduled
        start, cancelled = told.schedule.soft, self.story.cancelled is not None
        if not cancelled and self.story.completed not in ([], ["prepare"]):
            return None  # what is over is in the calendar as it was
        return Appointment(
            uid=uid_of(notice_of(told.deletion), f"virtscale.{told.org}"),
            revision=int(cancelled),
            written=when(self.stored_ns),
            start=start,
            end=start + _NOTICE,
            summary=f"Deletion of {told.org}/{told.vm}",
            description="The VM is shut down at this time, to be deleted.",
            cancelled=cancelled,
        )

    def _text(self) -> str:
        told = self.story.scheduled
        lines = [self._sentence(), "", *self._dates(), "", f"Why: {told.reason.rstrip('.')}.", ""]
        if self.story.cancelled is not None:
            lines += [f"Taken back: {self.story.cancelled.reason.rstrip('.')}.", ""]
        elif "hard" not in self.story.completed:
            lines += [
                (
                    "Until its disk is gone nothing is lost. To have it back, ask the operators of the platform. They write "
                    f"`virtscale vm undelete {told.org}/{told.vm}`."
                ),
                "",
            ]
        lines += [
            f"Virtscale wrote this because the contract of {told.org} names you. The ledger holds the same.",
            "",
        ]
        return "\n".join(
            line if line.startswith("  ") else textwrap.fill(line, _WIDTH, break_long_words=False)
            for line in lines
        )

    def _sentence(self) -> str:
        told = self.story.scheduled
        vm = f"VM {told.org}/{told.vm}"
        if self.story.cancelled is not None:
            return f"{vm} was to be deleted, and is not."
        match self._last():
            case "scheduled":
                at_once = (
                    " The day of the preparation had come already, so that it was prepared at once."
                    if told.schedule.prepared_at_once
                    else ""
                )
                return f"{vm} will be deleted.{at_once}"
            case "prepare":
                return f"{vm} will be deleted; its preparation has begun."
            case "soft":
                return (
                    f"{vm} was shut down to be deleted. Its disk is still there, and its alerts are silent."
                )
            case "hard":
                return f"{vm} was deleted: its disk and its snapshots are gone. Backups of it, where there are any, are still there."
            case "purge":
                return f"{vm} was deleted: its disk, its snapshots and its backups are gone."
            case _:
                return f"{vm} was deleted: its disk, its snapshots and its backups are gone, and its name is free."

    def _dates(self) -> Iterator[str]:
        schedule = self.story.scheduled.schedule
        width = max(map(len, _NAMES.values())) + 1
        cancelled = self.story.cancelled is not None
        for stage, instant in schedule.instants():
            done = stage in self.story.completed
            if cancelled and not done:
                continue
            ahead = "" if done else ", at once" if stage == "prepare" and schedule.prepared_at_once else ""
            mark = "  done" if done else ""
            yield f"  {_NAMES[stage] + ':':<{width}} {both(instant, schedule.zone)}{ahead}{mark}"
        yield f"  in the zone {schedule.zone}, by policy {schedule.policy}"


class Farewells:
    """Mails about deletions that are to go, of each person and deletion one."""

    def __init__(self, contacts: Mapping[str, tuple[str, ...]]) -> None:
        self._contacts = contacts
        """Who is told, by org, as it is now."""
        self._stories: dict[str, Story] = {}
        """Deletions that are not over, or of which somebody is still to be told."""
        self._seen: set[str] = set()
        """Every deletion there ever was: one that is over and told is not told anew because a line of it comes twice."""
        self._untold: dict[tuple[str, str, str], dict[str, tuple[OfDeletion, int]]] = {}
        """By org, person and deletion, then by the event's id: what is to be told, and when it was stored."""
        self._events: dict[tuple[str, str, str], str] = {}
        """The deletion that each event is about, by org, person and event."""

    def take(self, fact: OfDeletion, recorded: Recorded) -> None:
        """Whoever is to hear of it has a mail that waits; what is said twice is nothing new."""
        if isinstance(fact, DeletionScheduled):
            if fact.deletion in self._seen:
                return
            self._seen.add(fact.deletion)
            self._stories[fact.deletion] = Story(fact)
        story = self._stories.get(fact.deletion)
        if story is None or (story.over and not isinstance(fact, DeletionScheduled)):
            return
        if isinstance(fact, DeletionCompleted):
            if len(story.completed) == len(STAGES) or STAGES[len(story.completed)] != fact.stage:
                return
            story.completed.append(fact.stage)
        elif isinstance(fact, DeletionCancelled):
            story.cancelled = fact
        story.newest_ns = int(recorded.time.timestamp() * 1e6) * 1000
        if _is_news(fact, story):
            for person in self._contacts.get(fact.org, ()):
                self._untold.setdefault((fact.org, person, fact.deletion), {}).setdefault(
                    recorded.id, (fact, recorded.stored_ns)
                )
                self._events[fact.org, person, recorded.id] = fact.deletion
        self._let_go(fact.deletion)

    def tell(self, org: str, person: str, events: Iterable[str]) -> None:
        """A mail to the person told of these, or failed for good."""
        for event in events:
            deletion = self._events.pop((org, person, event), None)
            if deletion is None:
                continue
            waiting = self._untold[org, person, deletion]
            del waiting[event]
            if not waiting:
                del self._untold[org, person, deletion]
            self._let_go(deletion)

    def due(self, now_ns: int) -> Iterable[tuple[str, list[Farewell]]]:
        """The mails that may go now, of each org that has one."""
        found: dict[str, list[Farewell]] = defaultdict(list)
        for (org, person, deletion), waiting in self._untold.items():
            story = self._stories[deletion]
            if story.held_until_ns(now_ns) is None:
                news = tuple((event, fact) for event, (fact, _) in waiting.items())
                stored_ns = next(iter(waiting.values()))[1]
                found[org].append(Farewell(person, story, news, stored_ns))
        return found.items()

    def times(self, now_ns: int) -> Iterator[int]:
        """When mails that wait may go at the latest."""
        for _, _, deletion in self._untold:
            held = self._stories[deletion].held_until_ns(now_ns)
            if held is not None:
                yield held

    def _let_go(self, deletion: str) -> None:
        """A story that is over and told is forgotten."""
        if self._stories[deletion].over and not any(of == deletion for _, _, of in self._untold):
            del self._stories[deletion]


def _local(instant: dt.datetime, schedule: Schedule) -> str:
    """As the clocks there show it: a subject has one line, and the mail has the rest."""
    return both(instant, schedule.zone).partition(" (")[0]


def _is_news(fact: OfDeletion, story: Story) -> bool:
    match fact:
        case DeletionScheduled() | DeletionCancelled():
            return True
        case DeletionBegun(stage=stage):
            return stage == "prepare" and not story.scheduled.schedule.prepared_at_once
        case DeletionCompleted(stage=stage):
            return stage in {"soft", "hard"}
