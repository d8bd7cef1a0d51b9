"""A waker at work on a small host in virtual time, and the gate's orders put into its ledger."""

import asyncio
import datetime as dt
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from events.bus.ledger import Ledger
from events.bus.permissions import worker
from events.fact import Fact
from events.gate import BootOrdered, GateDecided, Order, SaveOrdered, StopOrdered, SuspendOrdered, WakeOrdered
from events.ids import derive
from events.vm import VmBooted, VmDefined, VmQuiesced, VmReady, VmUnready
from schemas.capacity import Size
from schemas.house import HostPlace
from services.waker.build import Build
from services.waker.libvirt.templates import TemplateMissingError
from services.waker.port import (
    Defined,
    Definition,
    DiskFullError,
    Domain,
    DomainState,
    HostReport,
    Hypervisor,
    HypervisorError,
    Life,
    Unknown,
    domain_name,
)
from services.waker.worker import Waker
from tests.rules.desk import REF, Desk
from tests.simulation.clock import pause

PLACE = HostPlace("h1", "test:///default", "test", 4096, 21_000)
SIZE = Size("small", 1, 512)
F = TypeVar("F", bound=Fact)
BOOT_SECONDS = 30
IMAGE_BYTES = 86_000_000
WAKE_SECONDS = 60


@dataclass(frozen=True)
class Fate:
    """What becomes of one call: when it takes effect (never, for None), and when and how it is answered."""

    lands_after: float | None = 0.001
    answers_after: float = 0.001
    error: str | None = None
    lost: bool = False
    silent: bool = False


NO = Fate(lands_after=None, error="internal error")


@dataclass
class Host:
    """Domains whose jobs take effect one after the other; `fates` says what becomes of the next calls of a kind."""

    states: dict[str, DomainState] = field(default_factory=dict)
    fates: dict[str, deque[Fate]] = field(default_factory=lambda: defaultdict(deque))
    asked: list[str] = field(default_factory=list)
    sizes: dict[str, Size] = field(default_factory=dict)
    templates: set[str] = field(default_factory=lambda: {"tiny"})
    disks: set[str] = field(default_factory=set)
    """Templates whose VMs have a disk."""
    defined: list[Definition] = field(default_factory=list)
    lives: dict[str, Life] = field(default_factory=dict[str, Life])
    """What each domain was started as, or will be."""
    killed: dict[str, int] = field(default_factory=dict[str, int])
    """What guests with an agent count of processes that their kernel killed."""
    builds: dict[str, Build] = field(default_factory=dict[str, Build])
    """How domains are built, where that is said."""
    obeys: bool = True
    """Its guests shut down when they are asked to."""
    others: dict[str, DomainState] = field(default_factory=dict[str, DomainState])
    """Domains of somebody else, by uuid."""
    most_vcpu: int = 8
    node_mib: int = 4096
    """Of its only NUMA node."""
    unreadable: set[str] = field(default_factory=set)
    """Domains whose mark nobody can read."""
    full: bool = False
    """Its disk has no room for images."""
    up: bool = True
    within: float = 0.0
    """How long the last start was waited for."""
    at_once: int = 0
    most_at_once: int = 0
    changed: Callable[[str, DomainState, str], None] = lambda _name, _state, _detail: None
    free_at: dict[str, float] = field(default_factory=dict)

    def put(self, vm: str, state: DomainState, detail: str = "", *, heard: bool = True) -> None:
        """The domain is in that state now, by no order of ours."""
        self._become(domain_name("acme", vm), state, detail, heard=heard)

    def of(self, vm: str) -> DomainState:
        return self.states.get(domain_name("acme", vm), "missing")

    def lose(self) -> None:
        self.changed("", "missing", "closed")

    async def connect(self) -> HostReport:
        await self._answer()
        return HostReport(9_000_000, 4)

    async def domains(self) -> list[Domain | Unknown]:
        await self._answer()
        return [
            Unknown(name, state)
            if name in self.unreadable
            else Domain(
                name,
                "acme",
                "web",
                name.partition(".")[2],
                self.sizes.get(name, SIZE),
                state,
                self.builds.get(name),
            )
            for name, state in self.states.items()
        ]

    async def state(self, name: str) -> DomainState:
        self.asked.append(f"state {name}")
        await self._answer()
        return self.states.get(name, "missing")

    def has_disk(self, template: str) -> bool:
        return template in self.disks

    async def define(self, definition: Definition) -> Defined:
        self.defined.append(definition)
        if definition.template not in self.templates:
            raise TemplateMissingError(f"There is no template {definition.template}.")
        name = domain_name(definition.org, definition.vm)
        await self._job("define", name, lambda: self._define(name, definition))
        return Defined(name, f"uuid of {name}", "127.0.0.1:21000")

    def _define(self, name: str, definition: Definition) -> None:
        if self.states.setdefault(name, "off") in {"off", "missing"}:
            self.lives[name] = Life(definition.order, definition.size)

    async def nodeless(self, name: str, memory_mib: int) -> str | None:
        await self._answer()
        return f"no node has {memory_mib} MiB for {name}" if memory_mib > self.node_mib else None

    async def start(self, name: str, within_seconds: float = 20.0) -> None:
        self.within = within_seconds
        await self._job("start", name, lambda: self._move(name, {"off", "saved"}, "running"))

    async def resume(self, name: str) -> None:
        await self._job("resume", name, lambda: self._move(name, {"paused", "running"}, "running"))

    async def suspend(self, name: str) -> None:
        await self._job("suspend", name, lambda: self._move(name, {"paused", "running"}, "paused"))

    async def save(self, name: str) -> int:
        await self._job("save", name, lambda: self._save(name))
        return IMAGE_BYTES

    async def refresh(self, name: str) -> int:
        await self._job("refresh", name, lambda: self._move(name, {"running"}, "running"))
        return 64

    async def kills(self, name: str) -> int:
        await self._answer()
        if name not in self.killed:
            raise HypervisorError(f"{name} has no agent.")
        return self.killed[name]

    async def life(self, name: str) -> Life | None:
        await self._answer()
        return self.lives.get(name) if self.states.get(name) in {"running", "paused"} else None

    async def shutdown(self, name: str) -> None:
        await self._job("shutdown", name, lambda: self._shut_down(name))

    def _shut_down(self, name: str) -> None:
        if self.obeys and self.states.get(name) == "running":
            self._become(name, "off", "shutdown", heard=True)

    async def plug(self, name: str, vcpu: int) -> None:
        await self._job("plug", name, lambda: self._plug(name, vcpu))

    def _plug(self, name: str, vcpu: int) -> None:
        if self.states.get(name) != "running" or vcpu > self.most_vcpu:
            raise HypervisorError(f"{name} takes at most {self.most_vcpu} vCPU.")

    async def stop(self, name: str) -> None:
        await self._job("stop", name, lambda: self._move(name, {"paused", "saved", "running", "off"}, "off"))

    async def undefine(self, name: str) -> None:
        await self._job("undefine", name, lambda: self._become(name, "missing", "undefined", heard=True))

    async def retire(self, domain: str, uuid: str) -> DomainState:
        found: list[DomainState] = []
        await self._job("retire", domain, lambda: found.append(self._retire(domain, uuid)))
        return found[0]

    def _retire(self, domain: str, uuid: str) -> DomainState:
        found = self.others.get(uuid, "missing")
        if found == "off":
            del self.others[uuid]
        return found

    def _save(self, name: str) -> None:
        if self.full:
            raise DiskFullError("The disk of host h1 has no room.")
        self._move(name, {"paused", "saved", "running"}, "saved")

    def watch(self, changed: Callable[[str, DomainState, str], None]) -> None:
        self.changed = changed

    async def _answer(self) -> None:
        await pause(0.001)
        if not self.up:
            raise HypervisorError("libvirtd does not answer.", lost=True)

    def _move(self, name: str, before: set[DomainState], after: DomainState) -> None:
        if self.states.get(name, "missing") not in before:
            raise HypervisorError(f"{name} is {self.states.get(name, 'missing')}.")
        self._become(name, after, "", heard=True)

    def _become(self, name: str, state: DomainState, detail: str, *, heard: bool) -> None:
        if self.states.get(name) != state:
            self.states[name] = state
            if state == "missing":
                del self.states[name]
            if heard:
                self.changed(name, state, detail)

    async def _job(self, kind: str, name: str, effect: Callable[[], object]) -> None:
        self.asked.append(f"{kind} {name}")
        if not self.up:
            raise HypervisorError("libvirtd does not answer.", lost=True)
        fate = self.fates[kind].popleft() if self.fates[kind] else Fate()
        loop = asyncio.get_running_loop()
        failed: list[HypervisorError] = []

        def land() -> None:
            try:
                effect()
            except HypervisorError as error:
                failed.append(error)

        if fate.lands_after is not None:
            lands_at = max(loop.time() + fate.lands_after, self.free_at.get(name, 0.0) + 0.0001)
            self.free_at[name] = lands_at
            loop.call_at(lands_at, land)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await pause(fate.answers_after)
            if fate.error is not None:
                raise HypervisorError(fate.error, lost=fate.lost, silent=fate.silent)
            while loop.time() < self.free_at.get(name, 0.0):
                await pause(self.free_at[name] - loop.time())
            await pause(0)
        finally:
            self.at_once -= 1
        if failed:
            raise failed[0]


class Site:
    """A desk with one host, and words for what the gate orders of it."""

    def __init__(self, hypervisor: Hypervisor | None = None, place: HostPlace = PLACE) -> None:
        self.desk = Desk()
        self.host = Host()
        self.place = place
        self.size = SIZE
        self._decided = 0
        self.hypervisor: Hypervisor = self.host if hypervisor is None else hypervisor
        self.desk.contract()

    @asynccontextmanager
    async def waker(self) -> AsyncGenerator[Waker]:
        """One life of the waker."""
        bus = self.desk.connect(worker("waker", "h1"))
        ledger = Ledger(bus)
        waker = Waker(ledger, bus, self.desk.clock, self.hypervisor, self.place)
        tasks = [asyncio.create_task(waker.work()), asyncio.create_task(ledger.follow())]
        try:
            yield waker
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await bus.close()

    def order(self, *orders: Order) -> None:
        ack = self.desk.write(
            GateDecided(
                org="acme",
                gate="g1",
                through=0,
                follows=self._decided,
                state_seq=self.desk.server.ledger.last,
                now=self.desk.clock.now(),
                contract=REF,
                rules="test",
                answers=(),
                orders=orders,
            )
        )
        self._decided = ack.seq

    def boot(self, vm: str = "web-1", number: int = 1, template: str = "tiny") -> str:
        own = derive("boot", vm, number)
        begin_by = self.desk.clock.now() + dt.timedelta(seconds=BOOT_SECONDS)
        self.order(
            BootOrdered(
                own, vm, "web", "h1", self.size, template, derive("request", vm), "serve", begin_by, 60
            )
        )
        return own

    def wake(self, vm: str = "web-1", number: int = 1) -> str:
        own = derive("wake", vm, number)
        begin_by = self.desk.clock.now() + dt.timedelta(seconds=WAKE_SECONDS)
        self.order(WakeOrdered(own, vm, "web", "h1", self.size, derive("request", vm), "serve", begin_by, 20))
        return own

    def suspend(self, vm: str, reservation: str) -> None:
        own = derive("suspend", vm, reservation)
        self.order(SuspendOrdered(own, vm, "web", "h1", reservation, derive("request", vm)))

    def stop(self, vm: str, reservation: str) -> None:
        own = derive("stop", vm, reservation)
        self.order(StopOrdered(own, vm, "web", "h1", reservation, derive("request", vm), 0))

    def asleep(self, *vms: str) -> None:
        """The VMs were booted once and sleep, in the ledger and on the host."""
        for vm in vms or ("web-1",):
            self.quiesce(vm, self.awake(vm))
            self.host.put(vm, "paused", heard=False)

    def awake(self, vm: str = "web-1") -> str:
        """The VM was booted and answered; its reservation."""
        reservation, now = self.boot(vm, number=0), self.desk.clock.now()
        name = domain_name("acme", vm)
        self.desk.write(
            VmDefined(
                "acme", vm, "web", "h1", self.size, name, f"uuid of {name}", "127.0.0.1:21000", reservation
            )
        )
        self.desk.write(VmBooted("acme", vm, "h1", reservation, now, now, 1))
        self.ready(vm, reservation)
        self.host.put(vm, "running", heard=False)
        return reservation

    def ready(self, vm: str, reservation: str) -> None:
        now = self.desk.clock.now()
        self.desk.write(VmReady("acme", vm, reservation, "boot-1", False, None, now, now, 1))

    def unready(self, vm: str, reservation: str) -> None:
        self.desk.write(
            VmUnready("acme", vm, reservation, "probe-timeout", "silent", self.desk.clock.now(), 9)
        )

    def save(self, vm: str = "web-1", number: int = 1) -> str:
        """The sleeper is to go to disk; the order's id."""
        own, asleep_since = derive("save", vm, number), self.asleep_since(vm)
        self.order(SaveOrdered(own, vm, "web", "h1", asleep_since, derive("request", vm)))
        return own

    def asleep_since(self, vm: str) -> int:
        """Where the ledger last put the VM to sleep."""
        return max(one.seq for one in self.desk.facts(VmQuiesced) if getattr(one.fact, "vm", "") == vm)

    def quiesce(self, vm: str, reservation: str) -> None:
        self.desk.write(VmQuiesced("acme", vm, "h1", reservation, "ordered", self.desk.clock.now()))

    def said(self, kind: type[F]) -> list[F]:
        """Every fact of this kind in the ledger."""
        return [one.fact for one in self.desk.facts(kind) if isinstance(one.fact, kind)]

    def names(self, since: int = 0) -> list[str]:
        """The waker's own events after a sequence, by name."""
        return [
            one.subject.split(".", 5)[5]
            for one in self.desk.stored()
            if ".waker-h1." in one.subject and one.seq > since
        ]
