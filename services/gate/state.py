"""What the gate must know: which requests await an answer, where each fence stands, and the views that it decides by."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from itertools import takewhile
from typing import Final

from events.ahead import is_to_come
from events.copy import CopyDropRequested, CopyDue, CopyRequested, RestoreRequested
from events.deletion import DeletionCancelRequested, DeletionDue, DeletionRequested
from events.envelope import Recorded
from events.fences import Fences
from events.fold import FoldsOfReader
from events.gate import GateDecided
from events.keep import VmAdoptRequested, VmChangeRequested, VmCreateRequested, VmResizeRequested
from events.maintenance import MaintenanceBegun
from events.quiesce import QuiesceRequested
from events.ruling import Ruling
from events.save import SaveRequested
from events.scale import ScaleRequested
from events.stock import StockRequested
from projections.breakers.fold import Breakers
from projections.contracts.fold import Contracts
from projections.copies.fold import Copies
from projections.deletions.fold import Deletions
from projections.directory.fold import Directory
from projections.epochs.fold import Epochs
from projections.fleet.fold import Fleet
from projections.forecasts.fold import Forecasts
from projections.freezes.fold import Freezes
from projections.leases.fold import Leases
from projections.maintenance.fold import Calendar
from projections.permissions.fold import Permissions
from projections.signals.fold import Signals
from projections.usage.fold import Usage
from projections.volumes.fold import Volumes
from services.gate.saves import Saves

Scaling = ScaleRequested | QuiesceRequested | StockRequested | SaveRequested
"""Requests to have more or fewer VMs awake, or deeper asleep."""

Living = VmCreateRequested | VmAdoptRequested | VmChangeRequested | VmResizeRequested | MaintenanceBegun
"""Requests about the life of one VM that is kept for its own sake; the steward asks by saying that its maintenance has begun."""

Copying = CopyRequested | CopyDue | CopyDropRequested | RestoreRequested
"""Requests about copies of one VM's disk; storage asks for those of each night."""

Deleting = DeletionRequested | DeletionCancelRequested | DeletionDue
"""Requests about the deletion of one VM; the deleter asks whether a stage may begin."""

OfOne = Living | Copying | Deleting
"""Requests about one VM that is kept for its own sake."""

Wish = Scaling | OfOne | Ruling
"""The requests that the gate answers."""

MINUTE: Final = dt.timedelta(minutes=1)
"""What `quiesce_per_minute` is about."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A request that no decision has answered yet."""

    seq: int
    id: str
    wish: Wish


@dataclass(slots=True)
class _Desk:
    """One org's part: unanswered requests by sequence, and when its pools last grew by a trigger."""

    pending: dict[int, Pending] = field(default_factory=dict[int, Pending])
    through: int = 0
    growing: Counter[str] = field(default_factory=Counter[str])
    scaled_at: dict[str, dt.datetime] = field(default_factory=dict[str, dt.datetime])
    moved_at: dict[str, dt.datetime] = field(default_factory=dict[str, dt.datetime])
    grown_at: dict[str, dt.datetime] = field(default_factory=dict[str, dt.datetime])
    slept: dict[str, list[tuple[dt.datetime, int]]] = field(
        default_factory=dict[str, list[tuple[dt.datetime, int]]]
    )
    """VMs that forecasts sent to sleep within the last minute, and when, by pool."""


class Docket:
    """Every org's desk, folded from the ledger."""

    def __init__(self) -> None:
        self._desks: dict[str, _Desk] = {}
        self._waiting: dict[str, None] = {}
        self._fences = Fences()

    def waiting(self) -> Iterable[str]:
        """Orgs with an unanswered request."""
        return self._waiting.keys()

    def pending(self, org: str) -> Iterator[Pending]:
        """Unanswered requests of the org in ledger order."""
        desk = self._desks.get(org)
        return iter(desk.pending.values()) if desk else iter(())

    def through(self, org: str) -> int:
        """Requests at or below this sequence are answered, for ever."""
        desk = self._desks.get(org)
        return desk.through if desk else 0

    def fence_seq(self, org: str) -> int:
        """The sequence of the last decision about the org; 0 when there is none."""
        return self._fences.last(org)

    def scaled_at(self, org: str, pool: str) -> dt.datetime | None:
        """When a trigger last made the pool grow, by the clock of the gate that decided it."""
        desk = self._desks.get(org)
        return desk.scaled_at.get(pool) if desk else None

    def moved_at(self, org: str, pool: str) -> dt.datetime | None:
        """When the pool last grew or shrank, whoever asked for it, by the clock of the gate that decided it."""
        desk = self._desks.get(org)
        return desk.moved_at.get(pool) if desk else None

    def grown_at(self, org: str, pool: str) -> dt.datetime | None:
        """When the pool last grew, whoever asked for it, by the clock of the gate that decided it."""
        desk = self._desks.get(org)
        return desk.grown_at.get(pool) if desk else None

    def slept(self, org: str, pool: str, now: dt.datetime) -> list[tuple[dt.datetime, int]]:
        """VMs that forecasts sent to sleep within the last minute, and when, the first of them first."""
        desk = self._desks.get(org)
        return [one for one in (desk.slept.get(pool, ()) if desk else ()) if _lately(one[0], now)]

    def growing(self, org: str, pool: str) -> bool:
        """Whether a request to have more of the pool awake waits for its answer."""
        desk = self._desks.get(org)
        return desk is not None and desk.growing[pool] > 0

    def apply(self, recorded: Recorded) -> None:
        """The docket now includes the event."""
        match recorded.fact:
            case wish if isinstance(wish, Wish):
                desk = self._desk(wish.org)
                if recorded.seq > desk.through:
                    desk.pending[recorded.seq] = Pending(recorded.seq, recorded.id, wish)
                    self._waiting[wish.org] = None
                    if isinstance(wish, ScaleRequested):
                        desk.growing[wish.pool] += 1
            case GateDecided() as decided if self._fences.pass_on(recorded, decided):
                self._close(self._desk(decided.org), decided)
            case _:
                pass

    def _desk(self, org: str) -> _Desk:
        desk = self._desks.get(org)
        if desk is None:
            desk = self._desks[org] = _Desk()
        return desk

    def _close(self, desk: _Desk, decided: GateDecided) -> None:
        for answer in decided.answers:
            pending = desk.pending.get(answer.request_seq)
            if pending is None or answer.granted == 0:
                continue
            match pending.wish:
                case ScaleRequested(pool=pool, origin=origin):
                    desk.moved_at[pool] = desk.grown_at[pool] = decided.now
                    if origin == "trigger":
                        desk.scaled_at[pool] = decided.now
                case QuiesceRequested(pool=pool, origin=origin):
                    desk.moved_at[pool] = decided.now
                    if origin == "forecast":
                        lately = self.slept(decided.org, pool, decided.now)
                        desk.slept[pool] = [*lately, (decided.now, answer.granted)]
                case _:
                    pass
        desk.through = max(desk.through, decided.through)
        for answered in list(takewhile(lambda at: at <= desk.through, desk.pending)):
            wish = desk.pending.pop(answered).wish
            if isinstance(wish, ScaleRequested):
                desk.growing[wish.pool] -= 1
        if not desk.pending:
            self._waiting.pop(decided.org, None)


def _lately(at: dt.datetime, now: dt.datetime) -> bool:
    return now < at + MINUTE and not is_to_come(at, now)


@dataclass(frozen=True, slots=True)
class State:
    """All that a decision is made from: seventeen folds over the same events, to the same sequence."""

    docket: Docket = field(default_factory=Docket)
    usage: Usage = field(default_factory=Usage)
    fleet: Fleet = field(default_factory=Fleet)
    contracts: Contracts = field(default_factory=Contracts)
    freezes: Freezes = field(default_factory=Freezes)
    epochs: Epochs = field(default_factory=Epochs)
    signals: Signals = field(default_factory=Signals)
    breakers: Breakers = field(default_factory=Breakers)
    forecasts: Forecasts = field(default_factory=Forecasts)
    saves: Saves = field(default_factory=Saves)
    directory: Directory = field(default_factory=Directory)
    volumes: Volumes = field(default_factory=Volumes)
    calendar: Calendar = field(default_factory=Calendar)
    copies: Copies = field(default_factory=Copies)
    deletions: Deletions = field(default_factory=Deletions)
    leases: Leases = field(default_factory=Leases)
    permissions: Permissions = field(default_factory=Permissions)

    @classmethod
    def of(cls, reader: FoldsOfReader) -> "State":
        """The folds that a reader keeps up to date."""
        return cls(
            reader.fold(Docket),
            reader.fold(Usage),
            reader.fold(Fleet),
            reader.fold(Contracts),
            reader.fold(Freezes),
            reader.fold(Epochs),
            reader.fold(Signals),
            reader.fold(Breakers),
            reader.fold(Forecasts),
            reader.fold(Saves),
            reader.fold(Directory),
            reader.fold(Volumes),
            reader.fold(Calendar),
            reader.fold(Copies),
            reader.fold(Deletions),
            reader.fold(Leases),
            reader.fold(Permissions),
        )

    def apply(self, recorded: Recorded) -> None:
        """All of them include the event; for who has no reader, such as a replay."""
        for part in fields(self):
            getattr(self, part.name).apply(recorded)
