"""One waker's access to a host of the simulation: what it asks, what it hears, and how it loses both."""

import asyncio
from collections.abc import Callable

from schemas.capacity import Size
from services.waker.build import Build, Shape
from services.waker.port import (
    CALL_SECONDS,
    ENTROPY_BYTES,
    REFRESH_SECONDS,
    SAVE_SECONDS,
    Defined,
    Definition,
    Domain,
    DomainState,
    HostReport,
    HypervisorError,
    Life,
    domain_name,
)
from tests.simulation.clock import pause
from tests.simulation.hypervisor import Host
from tests.simulation.machine import Asked, Machine


class Link:
    """One waker's libvirt connection; `services.waker.port.Hypervisor` says what its methods promise."""

    def __init__(self, host: Host) -> None:
        self._host = host
        host.join(self)
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
            Domain(one.name, one.org, one.pool, one.vm, one.size, one.state, _build(one))
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

    async def nodeless(self, name: str, memory_mib: int) -> str | None:
        """It has one node, with all that the host has."""
        del name, memory_mib

    async def start(self, name: str, within_seconds: float = CALL_SECONDS) -> None:
        """The domain that was off runs."""
        asked = self._ask(name, "start")
        await self._host.call(name, "start", lambda: self._start(name, asked), within=within_seconds)

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

    async def kills(self, name: str) -> int:
        """No guest here wants memory."""
        self._machine(name)
        await self._way()
        return 0

    async def life(self, name: str) -> Life | None:
        """What the domain that runs was started as."""
        await self._way()
        machine = self._host.machines.get(name)
        if machine is None or machine.state not in {"running", "paused"}:
            return None
        return Life(machine.order, machine.size)

    async def shutdown(self, name: str) -> None:
        """The guest was asked to shut down; one that answers does."""
        asked = self._ask(name, "stop")
        await self._host.call(name, "shutdown", lambda: self._shut_down(name, asked))

    async def plug(self, name: str, vcpu: int) -> None:
        """The domain has so many vCPU."""
        self._need()
        await self._host.call(name, "plug", lambda: self._plug(name, vcpu))

    async def stop(self, name: str) -> None:
        """The domain is off."""
        asked = self._ask(name, "stop")
        await self._host.call(name, "stop", lambda: self._stop(name, asked))

    async def undefine(self, name: str) -> None:
        """The domain is gone."""
        asked = self._ask(name, "stop")
        await self._host.call(name, "undefine", lambda: self._undefine(name, asked))

    async def retire(self, domain: str, uuid: str) -> DomainState:
        """Somebody else's domain is gone where it was off."""
        self._need()
        shelf = self._host.disks.shelf
        found: list[DomainState] = ["missing"]
        if shelf is not None:
            await self._host.call(
                f"foreign {uuid}", "retire", lambda: found.append(shelf.retire(domain, uuid))
            )
        return found[-1]

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

    def _shut_down(self, name: str, asked: Asked) -> None:
        machine = self._machine(name)
        if machine.state == "running" and machine.answers_at <= asyncio.get_running_loop().time():
            self._host.change(machine, "off", "waker", "shutdown", asked)

    def _plug(self, name: str, vcpu: int) -> None:
        machine = self._machine(name)
        if machine.state != "running":
            raise HypervisorError(f"Domain {name} is not running.")
        machine.size = Size(machine.size.name, max(vcpu, machine.size.vcpu), machine.size.memory_mib)

    def _stop(self, name: str, asked: Asked) -> None:
        self._host.change(self._machine(name), "off", "waker", "destroyed", asked)

    def _undefine(self, name: str, asked: Asked) -> None:
        machine = self._host.machines.get(name)
        if machine is not None:
            self._host.change(machine, "missing", "waker", "undefined", asked)


def _build(machine: Machine) -> Build:
    """As the domain is: nobody here changes one by hand, so whatever a waker finds otherwise is a false alarm."""
    shape = Shape(machine.size.vcpu, machine.size.memory_mib, machine.size.memory_mib)
    return Build(shape if machine.state in {"running", "paused"} else None, shape, (), ())
