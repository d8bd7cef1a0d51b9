"""What the deleter must know: how far each deletion is, whether its VM runs, and what was said and answered about it."""

import datetime as dt
from dataclasses import dataclass, field, fields
from typing import Final

from msgspec.structs import replace

from events.copy import CopyRestoreFailed
from events.deletion import (
    DeletionBegun,
    DeletionCancelled,
    DeletionCompleted,
    DeletionDue,
    DeletionScheduled,
    SilenceFailed,
    SilenceSet,
)
from events.envelope import Recorded
from events.fact import Fact
from events.fences import Fences
from events.fold import FoldsOfReader
from events.gate import GateDecided
from events.keep import VmCreated
from projections.deletions.fold import Deletions
from projections.fleet.fold import Fleet
from projections.maintenance.fold import Calendar
from schemas.deletion import STAGES, Stage
from schemas.names import Count
from schemas.request import SeedRef
from schemas.struct import Value


class Asked(Value, frozen=True):
    """How a stage was last said to be due, and whether the gate has answered."""

    attempt: Count
    said_at: dt.datetime
    """By a deleter's clock, as is whatever it is compared with: the gate's may be ahead."""
    answered: bool = False


class Desk:
    """What no view keeps: answers to what was said to be due, what VMs were told, and which troubles were told of."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {
            VmCreated,
            CopyRestoreFailed,
            DeletionScheduled,
            DeletionDue,
            GateDecided,
            DeletionBegun,
            DeletionCompleted,
            DeletionCancelled,
            SilenceSet,
            SilenceFailed,
        }
    )

    def __init__(self) -> None:
        self.asked: dict[tuple[str, Stage], Asked] = {}
        """By deletion and stage, the last time that it was said to be due."""
        self.last: dict[str, str] = {}
        """By deletion, the event that the next one follows from."""
        self.prepared_at: dict[str, dt.datetime] = {}
        """When the first stage of each began that is not over."""
        self.cancelled: dict[str, dt.datetime] = {}
        """When those were cancelled whose alerts may be silenced."""
        self.silenced: dict[str, str] = {}
        """The last event by which alerts were silenced, by deletion."""
        self.told: dict[str, frozenset[str]] = {}
        """Codes of `silence.failed`, by deletion."""
        self.seeds: dict[tuple[str, str], SeedRef] = {}
        """What the newest VM of each name was told at its first boot, by org and VM."""
        self._waiting: dict[str, tuple[str, Stage]] = {}
        """Deletion and stage by the event that said it to be due and that nobody answered."""
        self._fences = Fences()

    def apply(self, recorded: Recorded) -> None:
        """The desk now includes the event."""
        match recorded.fact:
            case VmCreated(org=org, vm=vm, seed=seed):
                if seed is None:
                    self.seeds.pop((org, vm), None)
                else:
                    self.seeds[org, vm] = seed
            case CopyRestoreFailed(org=org, vm=vm, of=of) if of != vm:
                self.seeds.pop((org, vm), None)  # there is no such VM
            case DeletionScheduled(deletion=deletion):
                self.last.setdefault(deletion, recorded.id)
            case DeletionDue(deletion=deletion, stage=stage, attempt=attempt) if deletion in self.last:
                known = self.asked.get((deletion, stage))
                if known is None or known.attempt < attempt:  # a copy of an older one is no news
                    self.asked[deletion, stage] = Asked(attempt, recorded.time)
                    self._waiting[recorded.id] = deletion, stage
            case GateDecided() as decided if self._fences.pass_on(recorded, decided):
                self._hear(decided)
            case DeletionBegun(deletion=deletion, stage=stage) as begun if deletion in self.last:
                self.last[deletion] = recorded.id
                if stage == "prepare":
                    self.prepared_at.setdefault(deletion, begun.begun_at)
            case DeletionCompleted(org=org, vm=vm, deletion=deletion, stage=stage) if deletion in self.last:
                self.last[deletion] = recorded.id
                if stage == "hard":
                    self.seeds.pop((org, vm), None)
                if stage == "recycle":
                    self._forget(deletion)
            case DeletionCancelled(deletion=deletion, cancelled_at=at) if deletion in self.last:
                if deletion in self.prepared_at:
                    self.cancelled.setdefault(deletion, at)
                self._forget(deletion)
            case SilenceSet(deletion=deletion):
                self.silenced[deletion] = recorded.id
            case SilenceFailed(deletion=deletion, code=code):
                self.told[deletion] = self.told.get(deletion, frozenset()) | {code}
            case _:
                pass

    def own_seed(self, org: str, vm: str) -> SeedRef | None:
        """What the VM was told at its first boot, and no other VM that there is."""
        seed = self.seeds.get((org, vm))
        if seed is None or any(
            other.name == seed.name for key, other in self.seeds.items() if key != (org, vm)
        ):
            return None
        return seed

    def _hear(self, decided: GateDecided) -> None:
        for answer in decided.answers:
            about = self._waiting.pop(answer.request, None)
            asked = None if about is None else self.asked.get(about)
            if about is not None and asked is not None:
                self.asked[about] = replace(asked, answered=True)

    def _forget(self, deletion: str) -> None:
        for stage in STAGES:
            self.asked.pop((deletion, stage), None)
        for known in (self.last, self.prepared_at):
            known.pop(deletion, None)


class News:
    """How often something happened that a step of a deletion may follow from at once.

    What the gate decides is none of it: a step follows from what is done then. Most events of a house are none of it either, and none
    has the deleter look through all deletions.
    """

    TAKES: Final[frozenset[type[Fact]]] = (Desk.TAKES | Deletions.TAKES | Calendar.TAKES | Fleet.TAKES) - {
        GateDecided
    }

    def __init__(self) -> None:
        self.heard = 0

    def apply(self, recorded: Recorded) -> None:
        """The event was heard of."""
        self.heard += type(recorded.fact) in self.TAKES


@dataclass(frozen=True, slots=True)
class State:
    """All that the deleter decides from: five folds over the same events, to the same sequence."""

    desk: Desk = field(default_factory=Desk)
    deletions: Deletions = field(default_factory=Deletions)
    calendar: Calendar = field(default_factory=Calendar)
    fleet: Fleet = field(default_factory=Fleet)
    news: News = field(default_factory=News)

    @classmethod
    def of(cls, reader: FoldsOfReader) -> "State":
        """The folds that a reader keeps up to date."""
        return cls(
            reader.fold(Desk),
            reader.fold(Deletions),
            reader.fold(Calendar),
            reader.fold(Fleet),
            reader.fold(News),
        )

    def apply(self, recorded: Recorded) -> None:
        """All of them include the event; for who has no reader."""
        for part in fields(self):
            getattr(self, part.name).apply(recorded)
