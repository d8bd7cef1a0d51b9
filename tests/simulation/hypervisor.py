"""A host with domains that behave as libvirt's do: one job at a time on a domain, and every kind of bad answer.

The machine outlives the wakers that speak to it. What was asked of a domain takes effect in the order in which it
was asked, even when whoever asked is dead by then; that is libvirt's job lock, and the waker builds on it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from services.waker.port import (
    ENTROPY_BYTES,
    REFRESH_SECONDS,
    SAVE_SECONDS,
    Defined,
    Definition,
    DiskFullError,
    Domain,
    DomainState,
    HostReport,
    HypervisorError,
    domain_name,
)
from tests.simulation.chance import Chance, Plan
from tests.simulation.clock import pause
from tests.simulation.disks import Disks
from tests.simulation.machine import Asked, By, Machine, Observer, TemplateMissingError

CALL_SECONDS: Final = 20.0
"""How long a caller waits for an answer."""
SECONDS: Final = {"start": (0.2, 2.0), "save": (0.3, 3.0), "refresh": (0.01, 0.06)}
"""How long a job takes, at least and at most; any other is done at once."""
AGENT_SECONDS: Final = 3.0
"""The same for the agent of a guest that does not answer."""
FULL_SHARE: Final = 0.3
"""Of saves that fail, so many because the disk has no room."""
LOCK_SECONDS: Final = 30.0
"""How long libvirt lets a job wait for the lock of a domain before it drops it."""


@dataclass(slots=True, eq=False)
class _Job:
    kind: str
    effect: Callable[[], None]
    answer: "asyncio.Future[None]"
    asked_at: float


class Host:
    """One hypervisor: its domains, their job locks, and whether libvirtd is there."""

    def __init__(self, name: str, plan: Plan, chance: Chance, observer: Observer) -> None:
        self.name = name
        self.machines: dict[str, Machine] = {}
        self.up = True
        self.dead = False
        """Its power is off, and only whoever did that may turn it on again."""
        self._plan = plan
        self._chance = chance
        self._observer = observer
        self._jobs: dict[str, deque[_Job]] = {}
        self._links: list[Link] = []
        self.missing_templates: set[str] = set()
        self.disk_templates: set[str] = set()
        self.disks = Disks(self, observer)

    def link(self) -> "Link":
        """A new program's access to this host, not yet connected."""
        link = Link(self)
        self._links.append(link)
        return link

    def busy(self) -> bool:
        """Whether something that was asked of a domain has not taken effect yet."""
        return any(self._jobs.values())

    def leave(self, link: "Link") -> None:
        """The program behind the link is gone."""
        self._links.remove(link)

    # ----------------------------------------------------------------------------------------------- what happens

    def change(
        self, machine: Machine, state: DomainState, by: By, why: str, asked: Asked | None = None
    ) -> None:
        """The domain is in this state now, and everybody who watches will hear of it."""
        old = machine.state
        if old == state:
            return
        loop = asyncio.get_running_loop()
        machine.state = state
        if state == "running":
            machine.stray = by == "fault"
            if old in {"paused", "saved"}:
                machine.wakes(loop.time())
            else:
                machine.starts()
                machine.slept_as = None
                machine.answers_at = loop.time() + self._plan.boots * self._chance.seconds(1.0, 15.0)
            if old in {"paused", "saved"} and self._chance.strikes(self._plan.guest_reboots):
                machine.starts()
                machine.answers_at = loop.time() + self._plan.boots * self._chance.seconds(1.0, 10.0)
            if self._chance.strikes(self._plan.guest_mute):
                machine.answers_at = float("inf")
            for waiting in machine.resumed:
                if not waiting.done():
                    waiting.set_result(None)
            machine.resumed.clear()
        else:
            machine.stray = False
            if state in {"paused", "saved"}:
                machine.sleeps(loop.time())
        if state == "missing":
            del self.machines[machine.name]
        self.disks.changed(machine.name, state, by_fault=by == "fault")
        self._observer.changed(machine, old, by, why, asked)
        for link in self._links:
            link.hear(machine.name, state, why, self._chance.seconds(0.0, 0.05))

    def break_links(self) -> None:
        """Every connection is gone, and so are the answers to what was asked over it; jobs go on."""
        for link in self._links:
            link.lose()
        for jobs in self._jobs.values():
            for job in jobs:
                _refuse(job.answer, HypervisorError("The connection to libvirtd broke.", lost=True))

    def stop_libvirtd(self) -> None:
        """libvirtd is killed: jobs that wait are forgotten; one under way takes effect now or never."""
        self.up = False
        self.break_links()
        for jobs in self._jobs.values():
            if jobs and self._chance.rng.random() < 0.5:
                _attempt(jobs[0].effect)
            jobs.clear()

    def start_libvirtd(self) -> None:
        """libvirtd is there again, unless the host is dead; its guests never stopped."""
        self.up = not self.dead

    def lose_power(self) -> None:
        """The host is off, and so is every domain."""
        self.stop_libvirtd()
        for machine in list(self.machines.values()):
            if machine.state in {"running", "paused"}:
                self.change(machine, "off", "fault", "destroyed")

    # --------------------------------------------------------------------------------------------------- the calls

    async def call(
        self, name: str, kind: str, effect: Callable[[], None], *, within: float = CALL_SECONDS
    ) -> None:
        """The effect takes hold in its turn on the domain; the answer may be lost, late or wrong."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()
        jobs = self._jobs.setdefault(name, deque())
        jobs.append(_Job(kind, effect, answer, loop.time()))
        if len(jobs) == 1:
            self._begin(name)
        loop.call_later(within, _refuse, answer, HypervisorError(f"No answer to {kind} {name} in time."))
        await answer

    def _begin(self, name: str) -> None:
        jobs = self._jobs[name]
        loop = asyncio.get_running_loop()
        while jobs and loop.time() > jobs[0].asked_at + LOCK_SECONDS:
            _refuse(jobs.popleft().answer, HypervisorError("Cannot acquire the state change lock."))
        if not jobs:
            return
        job, plan, chance = jobs[0], self._plan, self._chance
        least, most = SECONDS.get(job.kind, (0.002, 0.05))
        seconds = chance.seconds(least, most)
        fate = "good"
        if chance.strikes(plan.connection_lost):
            fate = chance.rng.choice(("lost-before", "lost-after"))
        elif chance.strikes(plan.effect_fails):
            fate = "full" if job.kind == "save" and chance.rng.random() < FULL_SHARE else "fails"
        elif chance.strikes(plan.effect_silent):
            fate = chance.rng.choice(("silent", "wrong"))
        elif chance.strikes(plan.effect_hangs):
            # What is asked of a guest's agent ends by itself.
            seconds = chance.seconds(1.0, AGENT_SECONDS if job.kind == "refresh" else 80.0)
        loop.call_later(seconds, self._finish, name, job, fate)

    def _finish(self, name: str, job: _Job, fate: str) -> None:
        jobs = self._jobs[name]
        if not jobs or jobs[0] is not job:
            return
        jobs.popleft()
        if fate == "fails":
            _refuse(job.answer, HypervisorError(f"libvirt could not {job.kind} {name}: internal error."))
        elif fate == "full":
            _refuse(job.answer, DiskFullError(f"The disk of host {self.name} has no room for {name}."))
        elif fate == "lost-before":
            self.break_links()
            _refuse(job.answer, HypervisorError("The connection to libvirtd broke.", lost=True))
        else:
            error = _attempt(job.effect)
            match fate:
                case "lost-after":
                    self.break_links()
                    _refuse(job.answer, HypervisorError("The connection to libvirtd broke.", lost=True))
                case "silent":
                    pass
                case "wrong":
                    _refuse(
                        job.answer, HypervisorError(f"libvirt could not {job.kind} {name}: internal error.")
                    )
                case _:
                    if error is not None:
                        _refuse(job.answer, error)
                    elif not job.answer.done():
                        job.answer.set_result(None)
        self._begin(name)

    def falters(self) -> bool:
        """Whether a restored domain is not resumed."""
        return self._chance.strikes(self._plan.effect_fails)

    def seconds(self) -> float:
        """How long a short question to libvirtd takes."""
        return self._chance.seconds(0.001, 0.02)

    def asked(self, name: str, kind: str) -> Asked:
        """Under which reservation the waker asks something of a domain."""
        return self._observer.asked(name, kind, self.name)

    def define(self, definition: Definition) -> Defined:
        """The domain exists."""
        if definition.template in self.missing_templates:
            raise TemplateMissingError(f"There is no template {definition.template}.", final=True)
        if definition.template in self.disk_templates and definition.volume is None:
            raise TemplateMissingError("The template has a disk, and this VM has none.", final=True)
        name = domain_name(definition.org, definition.vm)
        machine = self.machines.get(name)
        if machine is None:
            taken = {other.address for other in self.machines.values()}
            port = next(port for port in range(20_000, 30_000) if f"{self.name}:{port}" not in taken)
            machine = self.machines[name] = Machine(
                name=name,
                org=definition.org,
                pool=definition.pool,
                vm=definition.vm,
                size=definition.size,
                host=self.name,
                uuid=f"uuid-of-{name}",
                address=f"{self.name}:{port}",
            )
        if machine.state == "off":
            self.disks.defined(name)
        return Defined(machine.name, machine.uuid, machine.address)


class Link:
    """One waker's libvirt connection; `services.waker.port.Hypervisor` says what its methods promise."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.connected = False
        self._changed: Callable[[str, DomainState, str], None] | None = None

    async def connect(self) -> HostReport:
        """There is a connection, once libvirtd is there."""
        await pause(self._host.seconds())
        if not self._host.up:
            raise HypervisorError("libvirtd does not answer.", lost=True)
        self.connected = True
        return HostReport(libvirt_version=9_000_000, vcpu=16)

    async def domains(self) -> list[Domain]:
        """All domains; the list is as old as the answer's way."""
        await self._way()
        listed = [
            Domain(one.name, one.org, one.pool, one.vm, one.size, one.state)
            for one in self._host.machines.values()
        ]
        await self._way()
        return listed

    async def state(self, name: str) -> DomainState:
        """How the domain was when libvirtd looked; no lock is needed for that."""
        await self._way()
        machine = self._host.machines.get(name)
        state: DomainState = machine.state if machine is not None else "missing"
        await self._way()
        return state

    def has_disk(self, template: str) -> bool:
        """Whether VMs of the template have a disk."""
        return template in self._host.disk_templates

    async def define(self, definition: Definition) -> Defined:
        """The domain exists."""
        self._need()
        defined: list[Defined] = []
        name = domain_name(definition.org, definition.vm)
        await self._host.call(name, "define", lambda: defined.append(self._host.define(definition)))
        return defined[0]

    async def start(self, name: str) -> None:
        """The domain that was off runs."""
        asked = self._ask(name, "start")
        await self._host.call(name, "start", lambda: self._start(name, asked))

    async def resume(self, name: str) -> None:
        """The paused domain runs."""
        asked = self._ask(name, "resume")
        await self._host.call(name, "resume", lambda: self._move(name, "running", asked, resume=True))

    async def suspend(self, name: str) -> None:
        """The running domain is paused."""
        asked = self._ask(name, "suspend")
        await self._host.call(name, "suspend", lambda: self._move(name, "paused", asked))

    async def save(self, name: str) -> int:
        """The paused domain is on disk."""
        asked = self._ask(name, "save")
        await self._host.call(name, "save", lambda: self._move(name, "saved", asked), within=SAVE_SECONDS)
        return self._machine(name).size.memory_mib << 20

    async def refresh(self, name: str) -> int:
        """The guest's clock is right again, and its entropy is fresh."""
        self._need()
        within = REFRESH_SECONDS + 1.0
        await self._host.call(name, "refresh", lambda: self._refresh(name), within=within)
        return ENTROPY_BYTES

    async def stop(self, name: str) -> None:
        """The domain is off."""
        asked = self._ask(name, "stop")
        await self._host.call(name, "stop", lambda: self._stop(name, asked))

    def watch(self, changed: Callable[[str, DomainState, str], None]) -> None:
        """Changes are told while there is a connection."""
        self._changed = changed

    def lose(self) -> None:
        """The connection is gone, and its owner hears of it."""
        if self.connected:
            asyncio.get_running_loop().call_later(0.01, self._tell_lost)
        self.connected = False

    def _tell_lost(self) -> None:
        if not self.connected and self._changed is not None:
            self._changed("", "missing", "")

    def hear(self, name: str, state: DomainState, why: str, delay_seconds: float) -> None:
        """A change is on its way to the waker."""
        if self.connected:
            asyncio.get_running_loop().call_later(delay_seconds, self._tell, name, state, why)

    def close(self) -> None:
        """The waker is dead."""
        self.connected = False
        self._changed = None
        self._host.leave(self)

    def _tell(self, name: str, state: DomainState, why: str) -> None:
        if self.connected and self._changed is not None:
            self._changed(name, state, why)

    def _need(self) -> None:
        if not self.connected or not self._host.up:
            raise HypervisorError("There is no connection to libvirtd.", lost=True)

    async def _way(self) -> None:
        self._need()
        await pause(self._host.seconds())
        self._need()

    def _ask(self, name: str, kind: str) -> Asked:
        self._need()
        return self._host.asked(name, kind)

    def _machine(self, name: str) -> Machine:
        machine = self._host.machines.get(name)
        if machine is None:
            raise HypervisorError(f"There is no domain {name}.")
        return machine

    def _start(self, name: str, asked: Asked) -> None:
        machine = self._machine(name)
        if machine.state not in {"off", "saved"}:
            raise HypervisorError(f"Domain {name} is already active.")
        if machine.state == "saved" and self._host.falters():
            self._host.change(machine, "paused", "waker", "restored", asked)
            raise HypervisorError(f"Domain {name} was restored, and could not be resumed.")
        self._host.change(machine, "running", "waker", "started", asked)

    def _refresh(self, name: str) -> None:
        machine = self._machine(name)
        if machine.state != "running" or machine.answers_at > asyncio.get_running_loop().time():
            raise HypervisorError(f"The guest agent of {name} is not connected.")
        machine.behind_seconds, machine.refreshed = 0.0, True

    def _move(self, name: str, state: DomainState, asked: Asked, *, resume: bool = False) -> None:
        machine = self._machine(name)
        if machine.state == "off" or (machine.state == "saved" and state != "saved"):
            raise HypervisorError(f"Domain {name} is not running.")
        if state == "saved" and self._host.disks.joins(name):
            raise HypervisorError(f"Domain {name} has an active block job.")
        self._host.change(machine, state, "waker", "resumed" if resume else "paused", asked)

    def _stop(self, name: str, asked: Asked) -> None:
        self._host.change(self._machine(name), "off", "waker", "destroyed", asked)


def _refuse(answer: "asyncio.Future[None]", error: HypervisorError) -> None:
    if not answer.done():
        answer.set_exception(error)
        answer.exception()  # whoever asked may be dead: then nobody fetches it


def _attempt(effect: Callable[[], None]) -> HypervisorError | None:
    try:
        effect()
    except HypervisorError as error:
        return error
    return None
