"""Deletions, folded from the ledger: their instants as they were fixed, the stages that began, and what is done of them."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import replace

from events.dead import DeadHosts
from events.deletion import (
    BackupsErased,
    DeletionBegun,
    DeletionCancelled,
    DeletionCompleted,
    DeletionDue,
    DeletionScheduled,
    EraseFailed,
    SilenceEnded,
    SilenceFailed,
    SilenceSet,
    VmUndefined,
    VolumeErased,
)
from events.envelope import Recorded
from events.fact import Fact
from events.fences import Fences
from events.gate import EraseOrdered, GateDecided
from events.host import HostAdmitted, HostFenced, HostRegistered, HostRemoved
from schemas.deletion import STAGES, Schedule, Stage

Over = Literal["", "cancelled", "recycled"]
"""How it ended; nothing while it stands."""


class Deletion(msgspec.Struct, frozen=True):
    """One deletion of one VM."""

    id: str
    org: str
    vm: str
    pool: str
    schedule: Schedule
    actor: str
    reason: str
    scheduled_at: dt.datetime
    seq: int
    begun: tuple[Stage, ...] = ()
    completed: tuple[Stage, ...] = ()
    tried: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    """How often each stage was said to be due, in the order of `STAGES`."""
    ran: bool = False
    """Whether the VM ran when it was stopped for this."""
    over: Over = ""
    ended_at: dt.datetime | None = None
    silence: str | None = None
    """The Alertmanager's id of what silences the VM's alerts; None where nothing does."""
    silence_trouble: str | None = None
    disk: EraseOrdered | None = None
    """The order to erase the VM itself, whatever became of it."""
    backups: EraseOrdered | None = None
    undefined: bool = False
    """Whether the order's host has no domain of it; `defined_on` says where else one may be."""
    undefined_on: tuple[str, ...] = ()
    """Hosts that said so."""
    erased: bool = False
    """Whether the disk is gone."""
    backups_erased: bool = False
    trouble: str | None = None
    """Why the last try to erase something failed; None once it is gone."""

    @property
    def next(self) -> Stage | None:
        """The stage that begins next; None when all have begun, or it is over."""
        left = STAGES[len(self.begun) :]
        return left[0] if left and not self.over else None

    @property
    def running(self) -> Stage | None:
        """The stage that has begun and is not complete."""
        return self.begun[-1] if len(self.begun) > len(self.completed) and not self.over else None

    @property
    def stops(self) -> bool:
        """Whether the VM is stopped for it, or gone: nothing more is done to it but this."""
        return "soft" in self.begun and self.over != "cancelled"

    def attempts(self, stage: Stage) -> int:
        """How often the stage was said to be due."""
        return self.tried[STAGES.index(stage)]

    def defined_on(self, last: str | None) -> set[str]:
        """Hosts that may have its domain still: the order's, and the one on which it was last.

        They are two where somebody ran it elsewhere than where its disk is. One of them that is dead says nothing any more: that is
        for the reader to know.
        """
        ordered = self.disk.host if self.disk is not None and not self.undefined else None
        return {host for host in (ordered, last) if host is not None and host not in self.undefined_on}

    def instant(self, stage: Stage) -> dt.datetime:
        """When the stage comes at the earliest."""
        instant: dt.datetime = getattr(self.schedule, stage)
        return instant


class Deletions:
    """Every deletion there ever was; of one VM at most one stands."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {
            GateDecided,
            DeletionScheduled,
            DeletionDue,
            DeletionBegun,
            DeletionCompleted,
            DeletionCancelled,
            SilenceSet,
            SilenceEnded,
            SilenceFailed,
            VmUndefined,
            VolumeErased,
            BackupsErased,
            EraseFailed,
            HostRegistered,
            HostAdmitted,
            HostFenced,
            HostRemoved,
        }
    )

    def __init__(self) -> None:
        self._all: dict[str, Deletion] = {}
        self._standing: dict[tuple[str, str], str] = {}
        self._fences = Fences()
        self._dead = DeadHosts()
        self.erasing: dict[tuple[str, str, str], EraseOrdered] = {}
        """Orders to erase of which something is left to do, by org, VM and what."""

    def of(self, org: str, vm: str) -> Deletion | None:
        """The deletion of the VM that stands; None where there is none."""
        own = self._standing.get((org, vm))
        return self._all[own] if own is not None else None

    def get(self, id: str) -> Deletion | None:
        """The deletion of this id, also one that is over."""
        return self._all.get(id)

    def standing(self) -> Iterator[Deletion]:
        """Those that are not over, in the order in which they were scheduled."""
        return (self._all[own] for own in self._standing.values())

    def all(self) -> Iterator[Deletion]:
        """Every deletion there ever was, in that order."""
        return iter(self._all.values())

    def apply(self, recorded: Recorded) -> None:
        """The deletions now include the event; one about a deletion that is over changes nothing."""
        match recorded.fact:
            case DeletionScheduled() as scheduled:
                self._schedule(scheduled, recorded.seq)
            case GateDecided(org=org, orders=orders) as decided:
                if self._fences.pass_on(recorded, decided):
                    for order in orders:
                        if isinstance(order, EraseOrdered):
                            self._erase(org, order)
            case HostRegistered() | HostAdmitted() as fact:
                self._dead.apply(fact)
            case HostFenced(host=host) | HostRemoved(host=host) as fact:
                self._dead.apply(fact)
                for deletion in list(self.standing()):
                    if deletion.disk is not None and deletion.disk.host == host:
                        self._proven(deletion, undefined=True)
            case VmUndefined() | VolumeErased() | BackupsErased() | EraseFailed() as fact:
                self._erased(fact)
            case (
                DeletionDue()
                | DeletionBegun()
                | DeletionCompleted()
                | DeletionCancelled()
                | SilenceSet()
                | SilenceEnded()
                | SilenceFailed()
            ) as fact:
                known = self._all.get(fact.deletion)
                if known is not None:
                    self._go_on(known, fact)
            case _:
                pass

    def _schedule(self, scheduled: DeletionScheduled, seq: int) -> None:
        key = (scheduled.org, scheduled.vm)
        if key in self._standing or scheduled.deletion in self._all:
            return
        self._all[scheduled.deletion] = Deletion(
            id=scheduled.deletion,
            org=scheduled.org,
            vm=scheduled.vm,
            pool=scheduled.pool,
            schedule=scheduled.schedule,
            actor=scheduled.actor,
            reason=scheduled.reason,
            scheduled_at=scheduled.scheduled_at,
            seq=seq,
        )
        self._standing[key] = scheduled.deletion

    def _go_on(self, known: Deletion, fact: Fact) -> None:
        match fact:
            case SilenceSet(silence=silence):
                self._put(known, silence=silence, silence_trouble=None)
            case SilenceEnded(silence=silence):
                if known.silence == silence:
                    self._put(known, silence=None, silence_trouble=None)
            case SilenceFailed(code=code, text=text):
                self._put(known, silence_trouble=f"{code}: {text}")
            case _ if known.over:
                pass
            case DeletionDue(stage=stage, attempt=attempt):
                place = STAGES.index(stage)
                tried = list(known.tried)
                tried[place] = max(tried[place], attempt)
                self._put(known, tried=tuple(tried))
            case DeletionBegun(stage=stage, ran=ran):
                if known.next == stage and known.running is None:
                    self._put(known, begun=(*known.begun, stage), ran=known.ran or ran)
            case DeletionCompleted(stage=stage, completed_at=at):
                if known.running == stage:
                    over: Over = "recycled" if stage == "recycle" else ""
                    ended = at if over else None
                    self._put(known, completed=(*known.completed, stage), over=over, ended_at=ended)
            case DeletionCancelled(cancelled_at=at):
                self._put(known, over="cancelled", ended_at=at)
            case _:
                pass

    def _erase(self, org: str, order: EraseOrdered) -> None:
        known = self.of(org, order.vm)
        if known is None or known.id != order.deletion:
            return
        self.erasing[org, order.vm, order.what] = order
        if order.what == "disk":
            # On a host that is dead nothing runs, and nobody is there who could undefine it.
            nowhere = order.host is None or order.host in self._dead
            self._put(known, disk=order, undefined=nowhere)
        else:
            self._put(known, backups=order)

    def _erased(self, fact: VmUndefined | VolumeErased | BackupsErased | EraseFailed) -> None:
        known = self.of(fact.org, fact.vm)
        if known is None:
            return
        disk = known.disk.id if known.disk is not None else None
        backups = known.backups.id if known.backups is not None else None
        match fact:
            case VmUndefined(order=order, host=host) if order == disk and known.disk is not None:
                self._put(known, undefined_on=tuple(dict.fromkeys((*known.undefined_on, host))))
                if host == known.disk.host:
                    self._proven(self._all[known.id], undefined=True)
            case VolumeErased(order=order) if order == disk:
                self._proven(known, erased=True)
            case BackupsErased(order=order) if order == backups:
                self.erasing.pop((known.org, known.vm, "backups"), None)
                self._put(known, backups_erased=True, trouble=None)
            case EraseFailed(order=order, code=code, text=text):
                # Told late of what is gone since, it is in nobody's way.
                if (order == disk and not known.erased) or (order == backups and not known.backups_erased):
                    self._put(known, trouble=f"{code}: {text}")
            case _:
                pass

    def _proven(self, known: Deletion, *, undefined: bool = False, erased: bool = False) -> None:
        undefined, erased = known.undefined or undefined, known.erased or erased
        if undefined and erased:
            self.erasing.pop((known.org, known.vm, "disk"), None)
        self._put(known, undefined=undefined, erased=erased, trouble=None if erased else known.trouble)

    def _put(self, known: Deletion, **members: Any) -> None:
        changed = self._all[known.id] = replace(known, **members)
        key = (known.org, known.vm)
        # What is told of one that is over, as that its silence has ended, leaves one that was scheduled since standing.
        if changed.over and self._standing.get(key) == known.id:
            del self._standing[key]
