"""Pools, VMs and hosts, folded from the ledger; each event costs the same however many VMs there are."""

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec.structs import replace

from events.dead import DeadHosts
from events.deletion import DeletionCompleted
from events.drift import DomainDrifted, DomainSettled
from events.envelope import Recorded
from events.fact import Fact
from events.fences import Fences
from events.gate import (
    BootOrdered,
    DrainCancelled,
    DrainOrdered,
    GateDecided,
    Order,
    RebootOrdered,
    SaveOrdered,
    StopOrdered,
    SuspendOrdered,
    WakeOrdered,
)
from events.host import HostAdmitted, HostCordoned, HostFenced, HostRegistered, HostRemoved
from events.once import Once
from events.order import OrderOverdue
from events.pool import PoolDefined
from events.vm import (
    Rest,
    VmAnnounced,
    VmAnnounceFailed,
    VmBooted,
    VmDefined,
    VmDrained,
    VmFoundAwake,
    VmPlugged,
    VmQuiesced,
    VmReady,
    VmRebootFailed,
    VmResumed,
    VmSaved,
    VmSaveFailed,
    VmStopped,
    VmUnready,
    VmWakeFailed,
)
from projections.fleet.known import (
    Host,
    HostState,
    OfHost,
    Vm,
    host_after,
    ordered_up,
)
from projections.fleet.life import ASLEEP, EVERY, INDEXED, NEXT, STAYING, State
from projections.fleet.roster import Roster
from projections.fleet.taken import TAKEN
from schemas.capacity import Size
from schemas.pool import Pool

_Way = DrainOrdered | DrainCancelled | SuspendOrdered | StopOrdered

PATIENCE: Final = dt.timedelta(seconds=60)
"""How long an order that starts nothing may take until it is overdue."""
SAVING: Final = dt.timedelta(seconds=300)
"""The same, for one that writes a guest's RAM to disk: 10 GiB at 100 MB/s take 107 s."""

__all__ = ["PATIENCE", "Fleet", "Host", "HostState", "Vm"]


class Fleet:
    """All pools, VMs and hosts, with an index of each pool's VMs by state and of VMs that await the gate."""

    TAKES: Final[frozenset[type[Fact]]] = TAKEN

    def __init__(self) -> None:
        self.pools: dict[tuple[str, str], Pool] = {}
        self.hosts: dict[str, Host] = {}
        self._roster = Roster()
        self._fences = Fences()
        self._once = Once()
        self._dead = DeadHosts()
        self._told: set[str] = set()
        self._drifted: dict[tuple[str, str], tuple[str, Size, Size]] = {}
        """Of a VM that runs with another size than was ordered: its reservation, the size that was ordered, and the one it has."""
        self._forecasting: dict[str, int] = {}

    @property
    def vms(self) -> dict[tuple[str, str], Vm]:
        """Every VM that the ledger tells of, by org and name."""
        return self._roster.vms

    def forecasting(self, org: str) -> int:
        """How many of the org's pools a forecast moves: they share its warm reserve."""
        return self._forecasting.get(org, 0)

    def free_mib(self, host: str) -> int:
        """Memory that a new VM could take on the host; paused guests hold theirs, guests that are off do not."""
        return self.hosts[host].memory_mib - self._roster.loads.lent_mib.get(host, 0)

    def members(self, org: str, pool: str, state: State) -> dict[str, None]:
        """The pool's VMs in a state, in the order they came into it."""
        return self._roster.members.get((org, pool), {}).get(state, {})

    def by_host(self, org: str, pool: str, state: State) -> dict[str, dict[str, None]]:
        """The same, apart for each host that has any; only for the states in `INDEXED`."""
        assert state in INDEXED, state
        return self._roster.on_host.get((org, pool, state), {})

    def awake(self, host: str) -> int:
        """VMs that are awake on the host, or about to be; a host without any may idle."""
        return self._roster.loads.awake.get(host, 0)

    def paused(self, host: str) -> int:
        """VMs that are asleep in the host's memory, and can be woken there and nowhere else."""
        return self._roster.loads.paused.get(host, 0)

    def saved(self, host: str) -> int:
        """VMs that are asleep on the host's disk, and hold none of its memory."""
        return self._roster.loads.saved.get(host, 0)

    def imaging_mib(self, host: str) -> int:
        """Memory that is being written to the host's disk, or read back from there, or waits for that."""
        return self._roster.loads.imaging_mib.get(host, 0)

    def saving(self, host: str) -> int:
        """VMs of the host whose RAM is being written to its disk; they are among the paused."""
        return self._roster.loads.saving.get(host, 0)

    def count(self, org: str, pool: str, states: frozenset[State]) -> int:
        """How many VMs of the pool are in one of the states."""
        return sum(len(self.members(org, pool, state)) for state in states)

    def total(self, org: str, pool: str) -> int:
        """How many VMs the pool has, in any state."""
        return sum(len(names) for names in self._roster.members.get((org, pool), {}).values())

    def staying(self, org: str, pool: str) -> int:
        """VMs that serve the pool or soon will; stock under preparation, leavers, and what hangs are not among them."""
        return (
            self.count(org, pool, STAYING)
            - self._roster.loads.stock.get((org, pool), 0)
            - self.hanging(org, pool)
        )

    def hanging(self, org: str, pool: str) -> int:
        """VMs of which nothing is heard though they should serve long since: they count, and nobody waits for them."""
        return self._roster.loads.hanging.get((org, pool), 0)

    def is_silent(self, host: str) -> bool:
        """Whether the host lets starts go by unanswered, so that nothing should be started there that can be elsewhere."""
        return self._roster.loads.is_silent(host)

    def attention(self, org: str) -> Iterator[Vm]:
        """VMs whose next step is the gate's to order, in the order they came to need it."""
        return (self.vms[org, name] for name in self._roster.attention.get(org, {}))

    def needing(self) -> Iterable[str]:
        """Orgs with a VM whose next step is the gate's to order."""
        return self._roster.attention.keys()

    def overdue(self, now: dt.datetime) -> Iterator[Vm]:
        """VMs whose order is past its time without an outcome, and without an alarm yet."""
        under_order = (self.vms[key] for key in self._roster.under_order)
        return (vm for vm in under_order if not vm.alarmed and vm.due_at is not None and vm.due_at < now)

    def highest(self, org: str, pool: str) -> int:
        """The highest number that a VM of the pool ever had; names are not given twice."""
        return self._roster.highest.get((org, pool), 0)

    def apply(self, recorded: Recorded) -> None:
        """The fleet now includes the event."""
        seq = recorded.seq
        match recorded.fact:
            case HostRegistered() | HostCordoned() | HostAdmitted() | HostFenced() | HostRemoved() as fact:
                self._dead.apply(fact)
                self._change(fact, seq)
            case PoolDefined(org=org, pool=pool, definition=definition):
                former = self.pools.get((org, pool))
                more = (definition.forecast == "on") - (former is not None and former.forecast == "on")
                self._forecasting[org] = self._forecasting.get(org, 0) + more
                self.pools[org, pool] = definition
            case GateDecided(org=org, orders=orders, now=now) as decided:
                if self._fences.pass_on(recorded, decided):
                    for order in orders:
                        self._order(org, order, now, seq)
            case DeletionCompleted(org=org, vm=vm, deletion=deletion, stage="hard"):
                if self._once.first(deletion):
                    self._roster.forget((org, vm))
            case OrderOverdue(org=org, vm=vm, order=order):
                known = self.vms.get((org, vm))
                if known is not None and known.order == order:
                    self._roster.put(replace(known, alarmed=True))
            case VmFoundAwake() as stray:
                self._stray(stray, seq)
            case DomainDrifted(
                org=org, vm=vm, what="size", reservation=str(reservation), size=Size() as size
            ):
                self._drift(self._held(org, vm, reservation), size)
            case DomainSettled(org=org, vm=vm, what="size"):
                self._settle(org, vm)
            case fact:
                self._live(fact, seq)

    def _change(self, fact: OfHost, seq: int) -> None:
        """What became of a host, and of the VMs on one that is dead: they are off, and count no more."""
        host = host_after(self.hosts.get(fact.host), fact)
        if host is None:
            return
        self.hosts[fact.host] = host
        if isinstance(fact, HostFenced):
            self._bury(fact.host, seq)
        elif isinstance(fact, HostRemoved):
            self._bury(fact.host, seq, ASLEEP)

    def _bury(self, host: str, seq: int, states: frozenset[State] = EVERY) -> None:
        """Its VMs in these states are off for good. Seldom, so that looking through all VMs is cheap enough."""
        for vm in [one for one in self.vms.values() if one.host == host and one.state in states]:
            off = replace(vm, state="stopped", reservation=None, proven=False, order=None, purpose="serve")
            self._roster.put(replace(off, since_seq=seq, asleep_since=None))

    def _live(self, fact: Fact, seq: int) -> None:
        """One event of a VM's life; an outcome of another reservation, or of another order, changes nothing."""
        match fact:
            case VmDefined(org=org, vm=vm, domain=domain, address=address):
                if (org, vm) in self.vms:
                    self._roster.put(replace(self.vms[org, vm], domain=domain, address=address))
            case VmResumed() | VmBooted():
                self._prove(fact.org, fact.vm, fact.reservation, seq)
            case VmRebootFailed(org=org, vm=vm, reservation=reservation, size=size):
                known = self._held(org, vm, reservation)
                if known is not None:
                    runs_on = replace(known, proven=True, size=size, order=None, due_at=None)
                    self._step(runs_on, "vm.reboot-failed", seq)
            case VmPlugged(org=org, vm=vm, reservation=reservation, size=size):
                known = self._held(org, vm, reservation)
                if known is not None:
                    self._roster.put(replace(known, size=size))
            case VmReady(org=org, vm=vm, reservation=reservation, boot_id=boot_id):
                known = self._held(org, vm, reservation)
                if known is not None:
                    event = "vm.kept-ready" if known.purpose == "keep" else "vm.ready"
                    self._step(replace(known, boot_id=boot_id), event, seq)
            case VmUnready(org=org, vm=vm, reservation=reservation):
                self._outcome(self._held(org, vm, reservation), None, "vm.unready", seq)
            case VmAnnounced(org=org, vm=vm, reservation=reservation, order=order):
                self._outcome(self._held(org, vm, reservation), order, "vm.announced", seq)
            case VmAnnounceFailed(org=org, vm=vm, reservation=reservation, order=order):
                self._outcome(self._held(org, vm, reservation), order, "vm.announce-failed", seq)
            case VmDrained(org=org, vm=vm, reservation=reservation, drain=drain):
                self._outcome(self._held(org, vm, reservation), drain, "vm.drained", seq)
            case VmQuiesced(org=org, vm=vm, reservation=reservation):
                self._end(org, vm, reservation, "paused", seq)
            case VmWakeFailed(org=org, vm=vm, reservation=reservation, found=found):
                self._end(org, vm, reservation, found, seq)
            case VmSaved(org=org, vm=vm, order=order):
                self._rest(org, vm, order, "vm.saved", seq)
            case VmSaveFailed(org=org, vm=vm, asleep_since=asleep_since, code="found-paused"):
                known = self.vms.get((org, vm))
                if known is not None and known.state == "saved" and known.asleep_since == asleep_since:
                    self._step(known, "vm.save-failed", seq)
            case VmSaveFailed(org=org, vm=vm, order=order):
                self._rest(org, vm, order, "vm.save-failed", seq)
            case VmStopped(org=org, vm=vm, reservation=str() as reservation, found=found):
                self._end(org, vm, reservation, found, seq)
            case VmStopped(org=org, vm=vm, asleep_since=asleep_since, found=found):
                known = self.vms.get((org, vm))
                if known is not None and known.since_seq == asleep_since:
                    self._end(org, vm, None, found, seq)
            case _:
                pass

    def _drift(self, held: Vm | None, size: Size) -> None:
        """It runs with this size, whatever was ordered; what was ordered is kept for when that is put right."""
        if held is not None and held.reservation is not None:
            own, ordered, _ = self._drifted.get((held.org, held.name), ("", held.size, held.size))
            shall = ordered if own == held.reservation else held.size
            self._drifted[held.org, held.name] = held.reservation, shall, size
            self._roster.put(replace(held, size=size))

    def _settle(self, org: str, vm: str) -> None:
        """It runs as it was ordered again, if it is that life still, and has no other size by order since."""
        drifted = self._drifted.pop((org, vm), None)
        held = self._held(org, vm, drifted[0]) if drifted is not None else None
        if drifted is not None and held is not None and held.size == drifted[2]:
            self._roster.put(replace(held, size=drifted[1]))

    def _rest(self, org: str, vm: str, order: str, event: str, seq: int) -> None:
        """An order about a sleeper has ended; it goes on sleeping."""
        known = self.vms.get((org, vm))
        if known is not None and known.state == "saving" and known.order == order:
            self._step(replace(known, order=None, due_at=None, alarmed=False), event, seq)

    def _outcome(self, held: Vm | None, order: str | None, event: str, seq: int) -> None:
        if held is not None and order in {None, held.order}:
            self._step(held, event, seq)

    def _prove(self, org: str, vm: str, reservation: str, seq: int) -> None:
        """It runs; and that is all that is to be known of one whose answer nobody waits for."""
        known = self._held(org, vm, reservation)
        if known is not None:
            if not known.proven:
                self._roster.loads.hear(known.host, seq)
            self._step(replace(known, proven=True), "vm.unprobed" if known.unprobed else "", seq)

    def _held(self, org: str, vm: str, reservation: str) -> Vm | None:
        known = self.vms.get((org, vm))
        return known if known is not None and known.reservation == reservation else None

    def _order(self, org: str, order: Order, now: dt.datetime, seq: int) -> None:
        known = self.vms.get((org, order.vm))
        match order:
            case WakeOrdered() | BootOrdered() | RebootOrdered() if order.host in self._dead:
                pass  # void: given before its gate had read that the host is dead
            case WakeOrdered() | BootOrdered() | RebootOrdered():
                self._roster.put(ordered_up(known, org, order, seq))
            case DrainOrdered():
                due_at = now + dt.timedelta(seconds=order.drain_seconds) + PATIENCE
                self._follow(known, order, "drain.ordered", due_at, seq)
            case DrainCancelled():
                self._follow(known, order, "drain.cancelled", now + PATIENCE, seq)
            case SuspendOrdered():
                self._follow(known, order, "suspend.ordered", now + PATIENCE, seq)
            case StopOrdered():
                due_at = now + dt.timedelta(seconds=order.grace_seconds) + PATIENCE
                self._follow(known, order, "stop.ordered", due_at, seq)
            case SaveOrdered():
                # Void where it sleeps another sleep by now, or none.
                if (
                    known is not None
                    and known.state == "quiesced"
                    and known.asleep_since == order.asleep_since
                ):
                    due_at = now + SAVING
                    saving = replace(known, order=order.id, due_at=due_at, alarmed=False)
                    self._step(saving, "save.ordered", seq)
            case _:
                pass  # it is where it was

    def _follow(self, known: Vm | None, order: _Way, event: str, due_at: dt.datetime, seq: int) -> None:
        if known is None or known.reservation != order.reservation or (known.state, event) not in NEXT:
            return
        self._step(replace(known, order=order.id, due_at=due_at, alarmed=False), event, seq)

    def _step(self, known: Vm, event: str, seq: int) -> None:
        """The VM as it is now known, and where the event leads it, if anywhere."""
        state = NEXT.get((known.state, event))
        self._roster.put(known if state is None else replace(known, state=state, since_seq=seq))

    def _end(self, org: str, vm: str, reservation: str | None, found: Rest, seq: int) -> None:
        known = self.vms.get((org, vm))
        if known is None or known.reservation != reservation:
            return
        self._roster.loads.hear(known.host, seq)
        asleep = replace(known, reservation=None, proven=False, order=None, purpose="serve", since_seq=seq)
        match found:
            case "paused":
                self._roster.put(replace(asleep, state="quiesced", asleep_since=seq))
            case "saved":
                self._roster.put(replace(asleep, state="saved", asleep_since=seq))
            case "off" | "missing":
                self._roster.put(replace(asleep, state="stopped", asleep_since=None))

    def _stray(self, stray: VmFoundAwake, seq: int) -> None:
        known = self.vms.get((stray.org, stray.vm))
        if known is None:
            known = Vm(stray.org, stray.vm, stray.pool, stray.host, stray.size, "stopped")
        if known.reservation is None and stray.reservation not in self._told:
            # Where and how large it was found, whatever it was before: that is what runs.
            found = replace(known, host=stray.host, size=stray.size, since_seq=seq, asleep_since=None)
            awake = replace(found, state="stray", reservation=stray.reservation, proven=True)
            self._roster.put(replace(awake, request=None, order=None))
        # The same finding told again, however late, is no second stray.
        self._told.add(stray.reservation)
