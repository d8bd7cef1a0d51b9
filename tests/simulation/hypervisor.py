"""A host with domains that behave as libvirt's do: one job at a time on a domain, and every kind of bad answer.

The machine outlives the wakers that speak to it. What was asked of a domain takes effect in the order in which it
was asked, even when whoever asked is dead by then; that is libvirt's job lock, and the waker builds on it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from services.waker.port import (
    Defined,
    Definition,
    DiskFullError,
    DomainState,
    HypervisorError,
    domain_name,
)
from tests.simulation.chance import Chance, Plan
from tests.simulation.disks import Disks
from tests.simulation.machine import Asked, By, Machine, Observer, TemplateMissingError

CALL_SECONDS: Final = 20.0
"""How long a caller waits for an answer."""
SECONDS: Final = {"start": (0.2, 2.0), "save": (0.3, 3.0), "refresh": (0.01, 0.06)}
"""How long a job takes, at least and at most; any other is done at once."""
AGENT_SECONDS: Final = 3.0
"""The same for the agent of a guest that does not answer."""
_RISES: Final = frozenset({"start", "resume"})
FULL_SHARE: Final = 0.3
"""Of saves that fail, so many because the disk has no room."""
LOCK_SECONDS: Final = 30.0
"""How long libvirt lets a job wait for the lock of a domain before it drops it."""


class Ear(Protocol):
    """A program's access to a host, as the host knows it."""

    def hear(self, name: str, state: DomainState, why: str, delay_seconds: float) -> None:
        """A change of a domain is on its way to the program."""
        ...

    def lose(self) -> None:
        """The connection is gone."""
        ...


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
        self._boots: dict[str, int] = {}
        """Of domains that are gone, by name: a guest that comes after them boots anew."""
        self.up = True
        self.dead = False
        """Its power is off, and only whoever did that may turn it on again."""
        self.sick = False
        """It starts nobody, whatever is asked of it."""
        self.unfit = False
        """Its guests wake as another boot than the one that slept."""
        self._plan = plan
        self._chance = chance
        self._observer = observer
        self._jobs: dict[str, deque[_Job]] = {}
        self._links: list[Ear] = []
        self.missing_templates: set[str] = set()
        self.disk_templates: set[str] = set()
        self.disks = Disks(self, observer)

    def join(self, ear: Ear) -> None:
        """A program has access to this host from now on, not yet connected."""
        self._links.append(ear)

    def busy(self) -> bool:
        """Whether something that was asked of a domain has not taken effect yet."""
        return any(self._jobs.values())

    def leave(self, ear: Ear) -> None:
        """The program behind the link is gone."""
        self._links.remove(ear)

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
            if old in {"paused", "saved"} and (self._chance.strikes(self._plan.guest_reboots) or self.unfit):
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
            self._boots[machine.name] = self.machines.pop(machine.name).boot
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
        silence = HypervisorError(f"No answer to {kind} {name} in time.", silent=True)
        loop.call_later(within, _refuse, answer, silence)
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
        if self.sick and job.kind in _RISES:
            fate = "fails"
        elif chance.strikes(plan.connection_lost):
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
                boot=self._boots.get(name, 0),
            )
        if machine.state == "off":
            machine.size, machine.order = definition.size, definition.order
            self.disks.defined(name)
        return Defined(machine.name, machine.uuid, machine.address)


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
