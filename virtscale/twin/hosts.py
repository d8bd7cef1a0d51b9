"""A simulated host and the way to its guests: everything takes as long as it was measured to take, and nothing fails."""

import asyncio
import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from events.clock import Clock
from schemas.capacity import Size
from services.prober.port import Pulse
from services.waker.port import (
    CALL_SECONDS,
    ENTROPY_BYTES,
    Defined,
    Definition,
    Domain,
    DomainState,
    HostReport,
    HypervisorError,
    Life,
    domain_name,
)
from virtscale.twin.clock import pause

# Measured on real guests without KVM (docs/performance.md): a boot until it answers, a resume, a restore from disk, a suspend,
# a save of 96 MiB, the agent's clock and entropy.
BOOT_SECONDS: Final = 2.0
RESUME_SECONDS: Final = 0.01
RESTORE_SECONDS: Final = 0.7
SUSPEND_SECONDS: Final = 0.005
SAVE_SECONDS: Final = 0.6
REFRESH_SECONDS: Final = 0.035
SHUTDOWN_SECONDS: Final = 1.0
PROBE_SECONDS: Final = 0.004

_IMAGE_SHARE: Final = 0.6
"""Of a guest's memory, what its image takes on disk: pages of zeros are left out."""

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND: Final = dt.timedelta(milliseconds=1)


@dataclass(slots=True, eq=False)
class Guest:
    """One domain and its guest."""

    name: str
    org: str
    pool: str
    vm: str
    size: Size
    address: str
    state: DomainState = "off"
    order: str = ""
    boots: int = 0
    answers_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """libvirt's job lock: calls take effect in the order in which they were made."""


class SimulatedHost:
    """`services.waker.port.Hypervisor` and `services.prober.port.Guests` in one, since its guests answer where it says."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._guests: dict[str, Guest] = {}
        self._by_address: dict[str, Guest] = {}
        self._changed: Callable[[str, DomainState, str], None] | None = None

    # ------------------------------------------------------------------------------------------------ the hypervisor

    async def connect(self) -> HostReport:
        """There is always a connection."""
        return HostReport(libvirt_version=9_000_000, vcpu=64)

    async def domains(self) -> Sequence[Domain]:
        """All domains, as they are."""
        return [
            Domain(one.name, one.org, one.pool, one.vm, one.size, one.state) for one in self._guests.values()
        ]

    async def state(self, name: str) -> DomainState:
        """How the domain is."""
        guest = self._guests.get(name)
        return "missing" if guest is None else guest.state

    def has_disk(self, template: str) -> bool:
        """None has."""
        del template
        return False

    async def define(self, definition: Definition) -> Defined:
        """The domain exists."""
        name = domain_name(definition.org, definition.vm)
        guest = self._guests.get(name)
        if guest is None:
            address = f"{self._name}:{20_000 + len(self._guests)}"
            guest = Guest(name, definition.org, definition.pool, definition.vm, definition.size, address)
            self._guests[name] = self._by_address[address] = guest
        if guest.state == "off":
            guest.size, guest.order = definition.size, definition.order
        return Defined(name, f"uuid-of-{name}", guest.address)

    async def nodeless(self, name: str, memory_mib: int) -> str | None:
        """It has one node, with all that the host has."""
        del name, memory_mib

    async def start(self, name: str, within_seconds: float = CALL_SECONDS) -> None:
        """It boots, or goes on where it was saved."""
        del within_seconds  # no wait here is longer
        guest = self._guest(name)
        async with guest.lock:
            if guest.state not in {"off", "saved"}:
                raise HypervisorError(f"Domain {name} is already active.")
            if guest.state == "saved":
                await pause(RESTORE_SECONDS)
                self._change(guest, "running", "resumed")
            else:
                guest.boots += 1
                guest.answers_at = asyncio.get_running_loop().time() + BOOT_SECONDS
                self._change(guest, "running", "booted")

    async def resume(self, name: str) -> None:
        """It runs on."""
        await self._move(name, RESUME_SECONDS, {"paused", "running"}, "running", "resumed")

    async def suspend(self, name: str) -> None:
        """It is paused."""
        await self._move(name, SUSPEND_SECONDS, {"paused", "running"}, "paused", "paused")

    async def save(self, name: str) -> int:
        """Its memory is on disk."""
        await self._move(name, SAVE_SECONDS, {"paused", "saved"}, "saved", "saved")
        return int(self._guest(name).size.memory_mib * _IMAGE_SHARE) << 20

    async def refresh(self, name: str) -> int:
        """Its agent did as it was asked."""
        guest = self._guest(name)
        async with guest.lock:
            await pause(REFRESH_SECONDS)
        return ENTROPY_BYTES

    async def kills(self, name: str) -> int:
        """No guest here wants memory."""
        self._guest(name)
        return 0

    async def life(self, name: str) -> Life | None:
        """What it was defined as last, for no domain here is defined while it runs."""
        guest = self._guests.get(name)
        return (
            Life(guest.order, guest.size)
            if guest is not None and guest.state in {"running", "paused"}
            else None
        )

    async def shutdown(self, name: str) -> None:
        """Its guest obeys."""
        await self._move(name, SHUTDOWN_SECONDS, {"off", "running"}, "off", "shutdown")

    async def plug(self, name: str, vcpu: int) -> None:
        """It has them."""
        guest = self._guest(name)
        guest.size = Size(guest.size.name, max(vcpu, guest.size.vcpu), guest.size.memory_mib)

    async def stop(self, name: str) -> None:
        """It is off."""
        await self._move(name, SUSPEND_SECONDS, {"off", "paused", "running", "saved"}, "off", "destroyed")

    async def undefine(self, name: str) -> None:
        """It is gone, and its address is free."""
        guest = self._guests.pop(name, None)
        if guest is not None:
            del self._by_address[guest.address]
            self._change(guest, "missing", "undefined")

    async def retire(self, domain: str, uuid: str) -> DomainState:
        """Nobody else has domains here."""
        del domain, uuid
        return "missing"

    def watch(self, changed: Callable[[str, DomainState, str], None]) -> None:
        """Changes are told at once."""
        self._changed = changed

    # ----------------------------------------------------------------------------------------------------- the guests

    async def probe(self, address: str, timeout_seconds: float) -> Pulse | None:
        """The guest answers once it has booted, as long as it runs."""
        guest = self._by_address.get(address)
        missing = 0.0 if guest is None else guest.answers_at - asyncio.get_running_loop().time()
        if guest is None or guest.state != "running" or missing > timeout_seconds:
            await pause(timeout_seconds)
            return None
        await pause(max(0.0, missing) + PROBE_SECONDS)
        told_ms = (self._clock.now() - _EPOCH) // _MILLISECOND
        return Pulse(f"{guest.vm}-boot-{guest.boots}", told_ms)

    # ------------------------------------------------------------------------------------------------------------ both

    def _guest(self, name: str) -> Guest:
        guest = self._guests.get(name)
        if guest is None:
            raise HypervisorError(f"There is no domain {name}.")
        return guest

    async def _move(
        self, name: str, seconds: float, before: set[DomainState], state: DomainState, why: str
    ) -> None:
        guest = self._guest(name)
        async with guest.lock:
            await pause(seconds)
            if guest.state not in before:
                raise HypervisorError(f"Domain {name} is {guest.state}, so it cannot become {state}.")
            self._change(guest, state, why)

    def _change(self, guest: Guest, state: DomainState, why: str) -> None:
        if guest.state == state:
            return
        guest.state = state
        if self._changed is not None:
            self._changed(guest.name, state, why)
