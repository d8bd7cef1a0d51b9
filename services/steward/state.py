"""What the steward must know: what is wanted of kept VMs, what was asked about entries, and how what has begun went."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from itertools import takewhile
from operator import attrgetter
from typing import Final, Literal

from events.deletion import DeletionBegun, DeletionCancelled, DeletionScheduled
from events.drift import DomainDrifted
from events.envelope import Recorded
from events.fact import Fact
from events.fences import Fences
from events.fold import FoldsOfReader
from events.gate import (
    BootOrdered,
    CopyOrdered,
    DropOrdered,
    GateDecided,
    PlugOrdered,
    RebootOrdered,
    WakeOrdered,
)
from events.ids import derive
from events.keep import VmChangeRequested, VmCreated, VmResized
from events.maintenance import (
    MaintenanceBegun,
    MaintenanceCancelled,
    MaintenanceChangeRequested,
    MaintenanceDeclined,
    MaintenanceEnded,
    MaintenanceRequested,
    MaintenanceRescheduled,
    MaintenanceScheduled,
)
from events.vm import (
    VmBooted,
    VmPlugFailed,
    VmPlugged,
    VmReady,
    VmRebootFailed,
    VmStopped,
    VmUnready,
    VmWakeFailed,
)
from projections.deletions.fold import Deletions
from projections.directory.fold import Directory, Kept
from projections.fleet.fold import Fleet, Vm
from projections.fleet.life import UP
from projections.maintenance.fold import Calendar, OfEntry
from schemas.activity import Maintenance
from schemas.capacity import Size
from schemas.vm_intake import MaintenanceWork

Outcome = Literal["done", "failed"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A reboot, or somebody's own work, that was asked for and is to be announced."""

    org: str
    vm: str
    pool: str
    id: str
    """The request's."""
    summary: str
    work: MaintenanceWork = "reboot"
    estimate_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """What the gate said to an entry that has begun, and how its order ended, if it has."""

    code: str
    order: str | None
    """None where it ordered nothing."""
    outcome: Outcome | None = None
    said: str = ""
    """The code of the outcome."""


def event_id(entry: str, number: int) -> str:
    """The id of an entry's event, whatever it says: of two that follow the same one, the bus takes one."""
    return derive("maintenance", entry, number)


class Desk:
    """Everything that waits for a word of the steward's, folded from the ledger."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {
            VmChangeRequested,
            VmResized,
            DomainDrifted,
            GateDecided,
            MaintenanceRequested,
            MaintenanceChangeRequested,
            MaintenanceScheduled,
            MaintenanceRescheduled,
            MaintenanceCancelled,
            MaintenanceBegun,
            MaintenanceEnded,
            MaintenanceDeclined,
            VmBooted,
            VmReady,
            VmUnready,
            VmStopped,
            VmWakeFailed,
            VmRebootFailed,
            VmPlugged,
            VmPlugFailed,
            DeletionScheduled,
            DeletionBegun,
            DeletionCancelled,
        }
    )

    def __init__(self) -> None:
        self.reboots: dict[str, Wanted] = {}
        """Announced reboots and people's own work by the id of their request, until one was declined or nothing more becomes of it."""
        self.resized: dict[tuple[str, str], str] = {}
        """The newest event of each VM by which what it runs with is not what it shall have: `vm.resized`, or somebody's hand."""
        self.deciding: dict[str, set[str]] = {}
        """VMs by org whose new size was read and the decision that stands behind it was not: it may order what gives it to them."""
        self.plugs: dict[tuple[str, str], str] = {}
        """Orders to plug more vCPU into a VM that have no outcome: until then nobody knows whether it must be rebooted."""
        self.changes: dict[str, MaintenanceChangeRequested] = {}
        """What was asked about entries and is not answered."""
        self.farewells: dict[str, str] = {}
        """The last event that says something of each deletion to its VM's calendar."""
        self.declined: set[str] = set()
        """Resizes that cannot be planned: said once."""
        self.answers: dict[str, Answered] = {}
        """What the gate said, by the id of the event that said that an entry begins."""
        self._asked: dict[str, VmChangeRequested] = {}
        self._orders: dict[str, tuple[str, bool]] = {}
        """Orders without an outcome: the beginning that each follows from, and whether its guest is waited for."""
        self._begun: dict[str, int] = {}
        """Where in the ledger each beginning stands that has not ended, by the event's id."""
        self._numbers: dict[str, int] = {}
        self._fences = Fences()

    def apply(self, recorded: Recorded) -> None:
        """The desk now includes the event."""
        if isinstance(recorded.fact, GateDecided):
            self.deciding.pop(recorded.fact.org, None)
        match recorded.fact:
            case VmChangeRequested(change="reboot", when="window") as wish:
                self._asked[recorded.id] = wish
            case VmResized(org=org, vm=vm) | DomainDrifted(org=org, vm=vm, what="size", size=Size()):
                self.resized[org, vm] = recorded.id
                if isinstance(recorded.fact, VmResized):
                    self.deciding.setdefault(org, set()).add(vm)
            case GateDecided() as decided if self._fences.pass_on(recorded, decided):
                self._hear(decided)
            case MaintenanceChangeRequested() as wish:
                self.changes.setdefault(recorded.id, wish)
            case MaintenanceRequested(org=org, vm=vm, pool=pool) as wish:
                self.reboots.setdefault(
                    recorded.id,
                    Wanted(org, vm, pool, recorded.id, wish.reason, wish.work, wish.estimate_seconds),
                )
            case MaintenanceDeclined(request=request):
                self._decline(request)
            case (
                DeletionScheduled(deletion=deletion)
                | DeletionBegun(deletion=deletion, stage="prepare")
                | DeletionCancelled(deletion=deletion)
            ):
                self.farewells[deletion] = recorded.id
            case fact if isinstance(fact, OfEntry):
                if fact.number == self._numbers.get(fact.entry.id, 0) + 1:
                    self._numbers[fact.entry.id] = fact.number
                    self._follow(fact, recorded)
            case fact:
                self._prove(fact)

    def _follow(self, fact: OfEntry, recorded: Recorded) -> None:
        match fact:
            case MaintenanceRescheduled(request=request):
                self.changes.pop(request or "", None)
            case MaintenanceBegun():
                self._begun[recorded.id] = recorded.seq
            case MaintenanceCancelled(request=request):
                self.changes.pop(request or "", None)
                self._settle(fact.entry)
            case MaintenanceEnded(entry=entry):
                begun = event_id(entry.id, fact.number - 1)
                self._begun.pop(begun, None)
                self.answers.pop(begun, None)
                if entry.result == "done":
                    self._settle(entry)
            case _:
                pass

    def _settle(self, entry: Maintenance) -> None:
        for asked in entry.asked:
            self.reboots.pop(asked.id, None)

    def _hear(self, decided: GateDecided) -> None:
        ordered = {
            order.request: order
            for order in decided.orders
            if isinstance(order, RebootOrdered | BootOrdered | WakeOrdered)
        }
        for order in decided.orders:
            if isinstance(order, PlugOrdered):
                self.plugs[decided.org, order.vm] = order.id
        for answer in decided.answers:
            wish = self._asked.pop(answer.request, None)
            if wish is not None and answer.code == "Announced":
                self.reboots[answer.request] = Wanted(
                    wish.org, wish.vm, wish.pool, answer.request, wish.reason
                )
            if self._begun.get(answer.request) == answer.request_seq:
                order = ordered.get(answer.request)
                self.answers[answer.request] = Answered(answer.code, None if order is None else order.id)
                if order is not None:
                    self._orders[order.id] = (answer.request, order.ready_seconds > 0)

    def _decline(self, request: str) -> None:
        if self.changes.pop(request, None) is None and self.reboots.pop(request, None) is None:
            self.declined.add(request)

    def _prove(self, fact: Fact) -> None:
        match fact:
            case VmBooted(reservation=order) if order in self._orders and not self._orders[order][1]:
                self._end(order, "done", "Done")
            case VmReady(reservation=order):
                self._end(order, "done", "Done")
            case VmUnready(reservation=order):
                self._end(order, "failed", "VmUnready")
            case VmStopped(org=org, vm=vm, reservation=order):
                self.plugs.pop((org, vm), None)
                self._end(order, "failed", "VmStopped")
            case VmPlugged(org=org, vm=vm, order=order) | VmPlugFailed(org=org, vm=vm, order=order):
                if self.plugs.get((org, vm)) == order:
                    del self.plugs[org, vm]
            case VmWakeFailed(reservation=order, code=code) | VmRebootFailed(reservation=order, code=code):
                self._end(order, "failed", code)
            case _:
                pass

    def _end(self, order: str | None, outcome: Outcome, said: str) -> None:
        begun, _ = self._orders.pop(order or "", ("", False))
        answered = self.answers.get(begun)
        if answered is not None:
            self.answers[begun] = Answered(answered.code, answered.order, outcome, said)


class Touched:
    """When each kept VM was last spoken of: whoever looked at all of them needs to look at those alone that were since."""

    TAKES: Final[frozenset[type[Fact]]] = (
        Desk.TAKES | Calendar.TAKES | Directory.TAKES | Fleet.TAKES | Deletions.TAKES
    )

    def __init__(self) -> None:
        self.news = 0
        """How often something happened that the steward may have something to say to at once. Decisions about copies alone are none of
        it: at night there are as many as VMs."""
        self._seqs: dict[tuple[str, str], int] = {}
        """The newest event about each, in the order of these."""

    def apply(self, recorded: Recorded) -> None:
        """Whatever the event is about may be another now. A host that dies leaves none of its VMs running, and is about none."""
        fact = recorded.fact
        if type(fact) not in self.TAKES:
            return
        if isinstance(fact, VmCreated):
            self._seqs[fact.org, fact.vm] = recorded.seq
        if isinstance(fact, GateDecided):
            vms = [order.vm for order in fact.orders]
            copies = [isinstance(order, CopyOrdered | DropOrdered) for order in fact.orders]
            self.news += not copies or not all(copies)
        else:
            vms = [getattr(fact, "vm", "")]
            self.news += 1
        for key in [(fact.org, vm) for vm in vms]:
            if self._seqs.pop(key, None) is not None:
                self._seqs[key] = recorded.seq

    def since(self, seq: int) -> list[tuple[tuple[str, str], int]]:
        """VMs, by org and name, with an event after this one, and the newest such; the newest first."""
        newer = takewhile(lambda one: one[1] > seq, reversed(self._seqs.items()))
        return list(newer)


class Misfits:
    """VMs that run with another size than they shall have, found at the cost of those that were spoken of since the last look.

    No fold: it is what one reader has seen of others.
    """

    def __init__(self) -> None:
        self._seen = 0
        self._vms: dict[tuple[str, str], None] = {}

    def look(self, touched: Touched, directory: Directory, fleet: Fleet) -> Iterable[tuple[str, str]]:
        """By org and name; all folds are as far as each other."""
        newer = touched.since(self._seen)
        self._seen = max((seq for _, seq in newer), default=self._seen)
        for key, _ in newer:
            if _misfits(directory.vms.get(key), fleet.vms.get(key)):
                self._vms[key] = None
            else:
                self._vms.pop(key, None)
        return self._vms


def _misfits(kept: Kept | None, vm: Vm | None) -> bool:
    if kept is None or vm is None or vm.state not in UP:
        return False
    return (vm.size.vcpu, vm.size.memory_mib) != (kept.size.vcpu, kept.size.memory_mib)


@dataclass(frozen=True, slots=True)
class State:
    """All that the steward decides from: six folds over the same events, to the same sequence."""

    desk: Desk = field(default_factory=Desk)
    calendar: Calendar = field(default_factory=Calendar)
    directory: Directory = field(default_factory=Directory)
    fleet: Fleet = field(default_factory=Fleet)
    deletions: Deletions = field(default_factory=Deletions)
    touched: Touched = field(default_factory=Touched)
    misfits: Misfits = field(default_factory=Misfits, init=False)

    @classmethod
    def of(cls, reader: FoldsOfReader) -> "State":
        """The folds that a reader keeps up to date."""
        return cls(
            reader.fold(Desk),
            reader.fold(Calendar),
            reader.fold(Directory),
            reader.fold(Fleet),
            reader.fold(Deletions),
            reader.fold(Touched),
        )

    def apply(self, recorded: Recorded) -> None:
        """All of them include the event; for who has no reader."""
        for part in [one for one in fields(self) if one.init]:
            getattr(self, part.name).apply(recorded)

    def kept(self) -> dict[str, list[Kept]]:
        """The VMs of each org of which anything may be to say, in the order in which they were made; orgs without one as well.

        That is so of those with an entry, a wish, a deletion, or another size than they shall have. Of all others there is nothing.
        """
        orgs = dict.fromkeys(self.calendar.orgs())
        keys = dict.fromkeys(self.misfits.look(self.touched, self.directory, self.fleet))
        keys.update(((org, planned.entry.vm), None) for org in orgs for planned in self.calendar.open(org))
        keys.update(((wish.org, wish.vm), None) for wish in self.desk.reboots.values())
        keys.update(((one.org, one.vm), None) for one in self.deletions.standing())
        orgs.update((wish.org, None) for wish in self.desk.changes.values())
        found: dict[str, list[Kept]] = {org: [] for org in (*orgs, *(org for org, _ in keys))}
        for org, name in keys:
            if (kept := self.directory.vms.get((org, name))) is not None:
                found[org].append(kept)
        for vms in found.values():
            vms.sort(key=attrgetter("created_seq"))
        return found
