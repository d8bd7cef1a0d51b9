"""What is really so, at every instant: the ledger as it is stored, the domains as they run, and the laws over both."""

import asyncio
import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from events.bus.ledger import Dispatch
from events.bus.port import Stored
from events.contract import ContractTookEffect
from events.envelope import Recorded, read
from events.gate import BootOrdered, DrainOrdered, GateDecided, WakeOrdered
from events.host import HostFenced
from events.vm import VmAnnounced, VmDrained, VmWakeFailed
from events.volume import SnapshotTaken
from projections.contracts.fold import Contracts
from projections.fleet.fold import Fleet
from projections.fleet.life import STAYING
from projections.usage.fold import Usage
from projections.volumes.fold import Volumes
from schemas.capacity import ENFORCED, NOTHING, Capacity
from services.gate.state import Docket
from services.waker.port import DomainState, domain_name, owner
from tests.simulation.batches import Asking, Batches
from tests.simulation.clock import EPOCH
from tests.simulation.hypervisor import Host
from tests.simulation.machine import Asked, By, Machine
from tests.simulation.reserve import Floors
from tests.simulation.rulings import GHOST_SECONDS, Rulings
from tests.simulation.trips import Trips

CLOCKS_APART: Final = 4.5
"""The clocks of two programs differ by 4 s at most where nobody sets one, and a call takes a moment."""


MOST_BEHIND_SECONDS: Final = 0.5
MOST_BROKEN: Final = 50
MOST_EVENTS: Final = 5_000
"""Ten times what a world writes."""


@dataclass(slots=True)
class _Rise:
    """What was done to a domain under one reservation."""

    woken: int = 0
    put_to_sleep_in: int | None = None
    """The life of the waker that put it to sleep since. Its next life knows nothing of that: the order is open, and holds."""


@dataclass(frozen=True, slots=True)
class _Drain:
    """One drain: since when and how long it lasts, and which life of the announcer heard of it at once."""

    at: float
    seconds: int
    heard_in: int


@dataclass(slots=True)
class Truth:
    """Sees each event as it is stored and each domain as it changes, before anybody else, and judges.

    `note` tells the trace. A law that is broken is kept in `broken`, for an exception would only be swallowed by
    whoever happens to be running.
    """

    note: Callable[[str | Recorded], None]
    now: Callable[[], dt.datetime]
    loop_time: Callable[[], float]
    grown_at: float = 0.0
    """When the last event was stored, in the loop's time."""
    hosts: dict[str, Host] = field(default_factory=dict)
    lines: list[Recorded] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once there is nothing more to learn."""
    answered: dict[tuple[str, int], int] = field(default_factory=dict)
    """Each answered request by org and sequence, and the decision that answered it."""
    usage: Usage = field(default_factory=Usage)
    fleet: Fleet = field(default_factory=Fleet)
    docket: Docket = field(default_factory=Docket)
    volumes: Volumes = field(default_factory=Volumes)
    contracts: Contracts = field(default_factory=Contracts)
    rulings: Rulings = field(default_factory=Rulings)
    reading: Callable[[str], int] = lambda _: 0
    """How far the waker of a host has read."""
    life: Callable[[str], int] = lambda _: 0
    """Which life the waker of a host is in."""
    clocks_step: bool = False
    """Somebody sets clocks in this world."""
    clock: Callable[[str], dt.datetime] = lambda _: EPOCH
    """What time it is by the clock of a host's waker."""
    batches: Batches = field(default_factory=lambda: Batches(lambda _: False))
    _folds: Dispatch = field(init=False)
    _awake: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """VMs of which a domain runs, by org and name."""
    trips: Trips = field(init=False)
    floors: Floors = field(init=False)
    buried: dict[tuple[str, str], tuple[float, int]] = field(default_factory=dict)
    """When, and by which event, each VM lost its reservation because its host was called dead."""
    given_up: dict[str, int] = field(default_factory=dict)
    """The event by which each reservation ended that nobody woke under."""
    rises: dict[str, _Rise] = field(default_factory=dict)
    tolerated: dict[str, Capacity] = field(default_factory=dict)
    """What an org held when its contract was lowered beneath that: it may stay."""
    begin_by: dict[str, dt.datetime] = field(default_factory=dict)
    """Until when each reservation's effect had to begin, by the clock of the gate that decided."""
    drains: dict[str, _Drain] = field(default_factory=dict)
    announcer: Callable[[], int] = lambda: 0
    """Which life of the announcer reads events as they come; 0 for none."""
    cut_at: Callable[[str, str, str], float] = lambda *_: 0.0
    """When sessions of a VM were last cut, in the loop's time."""
    most_events: int = MOST_EVENTS
    witness: Callable[[Recorded], Iterable[str]] = lambda _: ()
    """What else is wrong with an event that all folds have; of whoever judges VMs that are kept."""
    stray_since: dict[str, int] = field(default_factory=dict)
    """The event that told of an org's stray, as long as it has one."""

    def __post_init__(self) -> None:
        self._folds = Dispatch((self.usage, self.fleet, self.docket, self.contracts, self.volumes))
        self.trips = Trips(self.rulings.void.keys())
        self.floors = Floors(self.fleet, self.usage)

    def breaks(self, sentence: str, *, ends: bool = True) -> None:
        """A law is broken; what `ends` the story is not that it happened, but that nothing after it means much."""
        self.note(f"BROKEN: {sentence}")
        self.broken.append(sentence)
        if ends or len(self.broken) > MOST_BROKEN:
            self.over.set()

    def stored_last(self) -> int:
        """The ledger's last sequence."""
        return len(self.stored)

    # -------------------------------------------------------------------------------------------------- the ledger

    def append(self, stored: Stored) -> None:
        """The event is in the ledger."""
        if stored.seq != len(self.stored) + 1:
            self.breaks(f"The ledger goes from {len(self.stored)} to {stored.seq}.")
        self.stored.append(stored)
        self.grown_at = self.loop_time()
        if len(self.stored) == self.most_events:
            self.breaks(f"The ledger has {self.most_events} events and goes on growing.")
        line = read(stored.seq, stored.stored_ns, stored.payload)
        self.lines.append(line)
        self.note(line)
        if isinstance(line.fact, HostFenced):
            self._bury(line.fact.host, line.seq)
        self._folds.take(line)
        for sentence in self.rulings.fold(line):
            self.breaks(sentence)
        self.batches.apply(line, self.rulings.void)
        for sentence in (*self.trips.fold(line), *self.floors.apply(line)):
            self.breaks(sentence, ends=False)
        if isinstance(line.fact, VmWakeFailed):
            self._failed(line.fact, line.seq)
        match line.fact:
            case HostFenced(host=host):
                self._all_released(host, line.seq)
            case ContractTookEffect(org=org):
                self.tolerated[org] = self._admitted(org)
            case GateDecided() as decided:
                self._decided(decided, line.seq)
            case VmAnnounced() as announced:
                self._sound(announced)
            case SnapshotTaken() as taken:
                disks = self.hosts[taken.host].disks
                disks.told(domain_name(taken.org, taken.vm), taken.asleep_since, taken.layers)
            case VmDrained() as drained if drained.sessions_cut:
                self._cut_off(drained)
            case _:
                pass
        if self.usage.strays(line.fact.org):
            self.stray_since.setdefault(line.fact.org, line.seq)
        for org in [org for org in self.stray_since if not self.usage.strays(org)]:
            del self.stray_since[org]  # asleep again, or on a host that was called dead, which is no org's
        for sentence in self.witness(line):
            self.breaks(sentence)
        self._all_counted(f"after #{line.seq} {line.type}")

    def _decided(self, decided: GateDecided, seq: int) -> None:
        org, grows = decided.org, False
        for answer in decided.answers:
            first = self.answered.setdefault((org, answer.request_seq), seq)
            if first != seq:
                self.breaks(
                    f"Request {answer.request} was answered at #{first} and again at #{seq}.", ends=False
                )
        for order in decided.orders:
            if isinstance(order, WakeOrdered | BootOrdered):
                if order.id in self.rulings.void:
                    self._is_void(org, order, seq)
                    continue
                grows = True
                self.begin_by[order.id] = order.begin_by
            elif isinstance(order, DrainOrdered):
                at = asyncio.get_running_loop().time()
                self.drains[order.id] = _Drain(at, order.drain_seconds, self.announcer())
        if grows:
            self._within(org, self._admitted(org), "admitted", seq)
            if decided.state_seq >= self.stray_since.get(org, decided.state_seq + 1):
                self.breaks(
                    f"Org {org} grew at #{seq}, and a stray was known since #{self.stray_since[org]}."
                )

    def _is_void(self, org: str, order: WakeOrdered | BootOrdered, seq: int) -> None:
        self.buried.pop((org, order.vm), None)
        held = self.usage.holdings.get((org, order.vm))
        if held is not None and held.reservation == order.id:
            self.breaks(f"{order.vm} counts by #{seq}, and {order.host} was dead by then.")

    def _sound(self, announced: VmAnnounced) -> None:
        """A guest that was woken and gets work is the boot that slept, its clock is right, and its entropy is fresh.

        Whatever somebody outside did to it after it was found so is not held against whoever announced it.
        """
        key = announced.org, announced.vm
        vm = self.fleet.vms.get(key)
        machine = next(
            (one for one in self.machines() if (one.org, one.vm) == key and one.state == "running"), None
        )
        if vm is None or vm.reservation != announced.reservation or machine is None or machine.by_fault:
            return
        if machine.slept_as not in {None, machine.boot}:
            self.breaks(
                f"{announced.vm} was announced as boot {machine.boot}, and boot {machine.slept_as} had slept."
            )
        if machine.slept_as is None or self.fleet.pools[vm.org, vm.pool].refresh == "none":
            return
        if not machine.refreshed:
            self.breaks(f"{announced.vm} was announced with the entropy that it fell asleep with.")
        if abs(machine.behind_seconds) > MOST_BEHIND_SECONDS:
            self.breaks(
                f"{announced.vm} was announced, and its clock is {machine.behind_seconds:.1f} s behind."
            )

    def _cut_off(self, drained: VmDrained) -> None:
        """Sessions had their time. An announcer that began since knows by clocks alone how much of it is over."""
        drain, vm = self.drains[drained.drain], self.fleet.vms[drained.org, drained.vm]
        lasted = self.cut_at(vm.org, vm.pool, vm.name) - drain.at
        heard = drain.heard_in and drain.heard_in == self.announcer()
        least = drain.seconds if heard else 0.0 if self.clocks_step else drain.seconds - CLOCKS_APART
        if lasted < least:
            self.breaks(
                f"{vm.name} was cut off from {drained.sessions_cut} sessions after {lasted:.3f} s, and had {drain.seconds}."
            )

    def _bury(self, host: str, seq: int) -> None:
        """What still runs on a host that is called dead is nobody's, if it was a lie; its waker will find it."""
        if host in self.rulings.lies:
            for machine in self.hosts[host].machines.values():
                machine.stray = machine.state == "running"
        at = asyncio.get_running_loop().time()
        for key, vm in self.fleet.vms.items():
            if vm.host == host and vm.reservation is not None:
                self.buried[key] = at, seq

    def _failed(self, failed: VmWakeFailed, seq: int) -> None:
        """What failed to wake counts no more."""
        self.given_up[failed.reservation] = seq
        held = self.usage.holdings.get((failed.org, failed.vm))
        if held is not None and held.reservation == failed.reservation:
            self.breaks(f"{failed.vm} failed to wake at #{seq}, and counts.")

    def _all_released(self, host: str, seq: int) -> None:
        for (org, vm), holding in self.usage.holdings.items():
            if holding.host == host:
                self.breaks(f"{host} was fenced at #{seq}, and {org}/{vm} still counts.")
        for sentence in self.totals():
            self.breaks(f"{sentence} after {host} was fenced at #{seq}.")

    def totals(self) -> Iterator[str]:
        """Where the sum of what an org holds is not what usage says it is, one sentence each."""
        for org in self.usage.contracts:
            held = (one.size.compute for (owner, _), one in self.usage.holdings.items() if owner == org)
            said, summed = self.usage.used(org) + self.usage.reserved(org), sum(held, NOTHING)
            if said != summed:
                yield f"Org {org} holds {summed}, and usage says {said},"

    def _admitted(self, org: str) -> Capacity:
        held = (one for (owner, _), one in self.usage.holdings.items() if owner == org and not one.stray)
        return sum((one.size.compute for one in held), NOTHING)

    def _within(self, org: str, amount: Capacity, what: str, seq: int) -> None:
        contract = self.usage.contracts.get(org)
        limit = contract.limit if contract is not None else NOTHING
        for dimension in ENFORCED:
            if amount.of(dimension) > limit.of(dimension):
                self.breaks(
                    f"Org {org} has {amount.of(dimension)} {dimension} {what}, past its limit of "
                    f"{limit.of(dimension)}, at #{seq}."
                )

    # ------------------------------------------------------------------------------------------------- the domains

    def machines(self) -> list[Machine]:
        """Every domain there is."""
        return [one for host in self.hosts.values() for one in host.machines.values()]

    def asked(self, name: str, kind: str, host: str) -> Asked:
        """Under which reservation a waker asks this now; after its deadline nobody is woken any more."""
        key = owner(name)
        vm = self.fleet.vms.get(key) if key is not None else None
        reservation = vm.reservation if vm is not None else None
        begin_by = self.begin_by.get(reservation or "")
        asked = Asked(reservation, asyncio.get_running_loop().time(), self.reading(host), self.life(host))
        if kind in {"start", "resume"} and vm is not None:
            now = self.clock(host)
            if begin_by is not None and now > begin_by:
                self.breaks(f"{name} was to {kind} at {now}, and that had to begin by {begin_by}.")
            asking = Asking(host, reservation, asked.life, asked.read_seq, now)
            for sentence in self.batches.begins(asking, vm.org, vm.name, self.fleet.pools[vm.org, vm.pool]):
                self.breaks(sentence, ends=False)
        return asked

    def changed(self, machine: Machine, old: DomainState, by: By, why: str, asked: Asked | None) -> None:
        """The domain is in another state, and every law still holds."""
        self.note(f"{machine.name} {old} -> {machine.state} ({why}, by {by})")
        if machine.state == "running":
            machine.by_fault = by == "fault"
        elif machine.state == "saved" and old == "running":
            vm = self.fleet.vms.get((machine.org, machine.vm))
            # A wake that is given up is held down so; late as it landed, its guest may have been announced before its waker spoke.
            if vm is not None and vm.state in STAYING and vm.proven:
                self.breaks(f"{machine.name} was saved while it was {vm.state}.")
        if machine.state == "running" and asked is not None:
            self._woken(machine, asked)
        elif old == "running":
            vm = self.fleet.vms.get((machine.org, machine.vm))
            rise = self.rises.get(vm.reservation) if vm is not None and vm.reservation is not None else None
            if rise is not None:
                rise.put_to_sleep_in = asked.life if asked is not None else None
        self._awake = {(one.org, one.vm) for one in self.machines() if one.state == "running"}
        self._all_counted(f"when {machine.name} became {machine.state}")
        self._what_runs_is_within(machine.org)

    def _woken(self, machine: Machine, asked: Asked) -> None:
        vm, reservation = self.fleet.vms.get((machine.org, machine.vm)), asked.reservation
        held = vm.reservation if vm is not None else None
        if (held is None or held != reservation) and self._is_ghost(machine, asked):
            machine.stray = held is None  # under another reservation it counts
            return
        if reservation is None or vm is None:
            self.breaks(f"{machine.name} was woken without an order.")
            return
        if vm.reservation != reservation:
            self.breaks(
                f"{machine.name} was woken under {reservation[:8]}, which had ended: "
                f"now {(vm.reservation or 'nothing')[:8]} holds."
            )
        rise = self.rises.setdefault(reservation, _Rise())
        if rise.woken and rise.put_to_sleep_in == asked.life:
            self.breaks(f"{machine.name} was woken {rise.woken + 1} times under {reservation[:8]}.")
        rise.woken += 1
        rise.put_to_sleep_in = None

    def _is_ghost(self, machine: Machine, asked: Asked) -> bool:
        """Whether it was woken by a waker that could not know, or did not while it began, that its host is called dead.

        Or that a former life of it had given the order up, by a clock that was ahead and was set right since: what that life said was
        still on its way. Then it is a stray, which its waker finds.
        """
        if self.clocks_step and asked.read_seq < self.given_up.get(asked.reservation or "", 0):
            return True
        at, seq = self.buried.get((machine.org, machine.vm), (-GHOST_SECONDS, 0))
        return asked.read_seq < seq or asked.at < at + GHOST_SECONDS

    def _all_counted(self, when: str) -> None:
        """Whatever runs is counted, unless somebody outside woke it and the ledger does not know yet."""
        if self._awake <= self.usage.holdings.keys():
            return  # so it is after nearly every event, and a year has many
        for machine in self.machines():
            counted = (machine.org, machine.vm) in self.usage.holdings
            if machine.state == "running" and not machine.stray and not counted:
                self.breaks(f"{machine.name} runs and is not counted, {when}.")

    def _what_runs_is_within(self, org: str) -> None:
        running = sum(
            (
                machine.size.compute
                for machine in self.machines()
                if machine.org == org and machine.state == "running" and not self._is_stray(machine)
            ),
            NOTHING,
        )
        tolerated = self.tolerated.get(org, NOTHING)
        contract = self.usage.contracts.get(org)
        limit = contract.limit if contract is not None else NOTHING
        if any(running.of(one) > max(limit.of(one), tolerated.of(one)) for one in ENFORCED):
            self._within(org, running, "running", len(self.stored))

    def _is_stray(self, machine: Machine) -> bool:
        holding = self.usage.holdings.get((machine.org, machine.vm))
        return holding.stray if holding is not None else machine.stray
