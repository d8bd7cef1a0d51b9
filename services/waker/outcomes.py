"""What the waker says: each outcome or observation is in the ledger, and folded here, before anything else is done."""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

import msgspec

from events.bus.ledger import Ledger
from events.bus.pen import Pen
from events.bus.port import Bus
from events.clock import Clock
from events.drift import DomainDrifted, DomainSettled, VmOomKilled
from events.fact import Fact
from events.gate import AdoptOrdered, EraseOrdered, PlugOrdered, SaveOrdered
from events.host import HostIdled, HostReconciled, HostRegistered
from events.ids import derive
from events.vm import (
    Refreshed,
    Rest,
    Sleep,
    VmBooted,
    VmDefined,
    VmFoundAwake,
    VmPlugFailed,
    VmPlugged,
    VmQuiesced,
    VmRebooted,
    VmRebootFailed,
    VmResumed,
    VmSaved,
    VmSaveFailed,
    VmStopped,
    VmWakeFailed,
)
from projections.fleet.fold import Vm
from projections.fleet.known import FOUND_PAUSED
from schemas.capacity import Size
from schemas.house import HostPlace
from schemas.names import PLATFORM, shorten
from services.waker.decide import FailureCode, SaveFailureCode
from services.waker.port import Defined, HostReport

How = Literal["resumed", "restored", "booted"]
"""Out of its host's RAM, from its host's disk, or cold."""


@dataclass(frozen=True, slots=True)
class Rising:
    """How a domain came to run: from when to when, in how many attempts, and what its agent did where that was wanted."""

    how: How
    started_at: dt.datetime
    ended_at: dt.datetime
    attempts: int
    refreshed: Refreshed | None = None


class Outcomes:
    """One waker's voice.

    Ids have the moment in them: what two lives of a waker saw at two moments are two events, never two payloads
    under one id. That the second one changes nothing is the folds' affair, since outcomes name reservations.
    """

    def __init__(self, ledger: Ledger, bus: Bus, clock: Clock, host: str) -> None:
        self._ledger = ledger
        self._clock = clock
        self._host = host
        self._pen = Pen(bus, f"waker-{host}", clock)

    async def registered(self, place: HostPlace, report: HostReport, known: HostRegistered | None) -> None:
        """The ledger knows the host as it is; nothing is written when it does already."""
        now = self._clock.now()
        fact = HostRegistered(
            org=PLATFORM,
            host=place.name,
            uri=place.uri,
            libvirt_version=report.libvirt_version,
            substrate=place.substrate,
            vcpu=report.vcpu,
            memory_mib=place.memory_mib,
            observed_at=known.observed_at if known is not None else now,
        )
        if fact == known:
            return
        fact = msgspec.structs.replace(fact, observed_at=now)
        await self._record(fact, "host.registered", place.name, now, cause=None, correlation=None)

    async def reconciled(self, recovered_seq: int, domains: int, awake: int) -> None:
        """The recovered ledger knows the host: so many domains are there, so many of them awake."""
        now = self._clock.now()
        fact = HostReconciled(
            org=PLATFORM,
            host=self._host,
            recovered_seq=recovered_seq,
            domains=domains,
            awake=awake,
            reconciled_at=now,
        )
        await self._record(fact, "host.reconciled", self._host, now, cause=None, correlation=None)

    async def idled(self, fact: HostIdled) -> None:
        """No VM was awake on the host, from when to when."""
        await self._record(fact, "host.idled", self._host, self._clock.now(), cause=None, correlation=None)

    async def observed(
        self, fact: DomainDrifted | DomainSettled | VmOomKilled, name: str, vm: str, moment: dt.datetime
    ) -> None:
        """What nobody ordered was seen of a VM."""
        await self._record(fact, name, vm, moment, cause=None, correlation=None)

    async def defined(self, vm: Vm, defined: Defined) -> None:
        """The VM has its domain, under the reservation that asked for it."""
        assert vm.reservation is not None, vm
        fact = VmDefined(
            org=vm.org,
            vm=vm.name,
            pool=vm.pool,
            host=self._host,
            size=vm.size,
            domain=defined.name,
            uuid=defined.uuid,
            address=defined.address,
            reservation=vm.reservation,
        )
        await self._of(vm, fact, "vm.defined", self._clock.now(), vm.reservation)

    async def risen(self, vm: Vm, rising: Rising) -> None:
        """The VM's domain runs under its reservation."""
        assert vm.reservation is not None, vm
        match rising.how:
            case "resumed" | "restored":
                name = "vm.resumed"
                fact = VmResumed(
                    depth="paused" if rising.how == "resumed" else "saved",
                    refreshed=rising.refreshed,
                    org=vm.org,
                    vm=vm.name,
                    host=self._host,
                    reservation=vm.reservation,
                    started_at=rising.started_at,
                    resumed_at=rising.ended_at,
                    attempts=rising.attempts,
                )
            case "booted":
                name = "vm.booted"
                fact = VmBooted(
                    org=vm.org,
                    vm=vm.name,
                    host=self._host,
                    reservation=vm.reservation,
                    started_at=rising.started_at,
                    booted_at=rising.ended_at,
                    attempts=rising.attempts,
                )
        await self._of(vm, fact, name, rising.ended_at, vm.reservation)

    async def wake_failed(self, vm: Vm, code: FailureCode, text: str, found: Rest) -> None:
        """The reservation is released: the domain is proven not to run."""
        assert vm.reservation is not None, vm
        now = self._clock.now()
        fact = VmWakeFailed(
            org=vm.org,
            vm=vm.name,
            host=self._host,
            reservation=vm.reservation,
            code=code,
            text=shorten(text),
            found=found,
            observed_at=now,
        )
        await self._of(vm, fact, "vm.wake-failed", now, vm.reservation)

    async def reboot_failed(self, vm: Vm, size: Size, code: str, text: str) -> None:
        """The VM runs on as it did, with that size, and the order to reboot it has ended."""
        assert vm.reservation is not None, vm
        now = self._clock.now()
        fact = VmRebootFailed(
            org=vm.org,
            vm=vm.name,
            host=self._host,
            reservation=vm.reservation,
            size=size,
            code=code,
            text=shorten(text),
            observed_at=now,
        )
        await self._of(vm, fact, "vm.reboot-failed", now, vm.reservation)

    async def rebooted(self, vm: Vm, heard_at: dt.datetime) -> None:
        """The guest started anew while its domain ran on, which nobody ordered."""
        assert vm.reservation is not None, vm
        fact = VmRebooted(
            org=vm.org, vm=vm.name, host=self._host, reservation=vm.reservation, observed_at=heard_at
        )
        await self._of(vm, fact, "vm.rebooted", heard_at, None)

    async def plugged(self, vm: Vm, order: PlugOrdered) -> None:
        """The VM has its vCPU."""
        now = self._clock.now()
        fact = VmPlugged(
            org=vm.org,
            vm=vm.name,
            host=self._host,
            reservation=order.reservation,
            order=order.id,
            size=order.size,
            plugged_at=now,
        )
        await self._record(fact, "vm.plugged", vm.name, now, cause=order.id, correlation=order.request)

    async def plug_failed(self, vm: Vm, order: PlugOrdered, code: str, text: str) -> None:
        """The VM runs on with what it had."""
        now = self._clock.now()
        fact = VmPlugFailed(
            org=vm.org,
            vm=vm.name,
            host=self._host,
            reservation=order.reservation,
            order=order.id,
            code=code,
            text=shorten(text),
            observed_at=now,
        )
        await self._record(fact, "vm.plug-failed", vm.name, now, cause=order.id, correlation=order.request)

    async def quiesced(self, vm: Vm, cause: Literal["ordered", "found"]) -> None:
        """The VM sleeps in RAM, and its reservation has ended."""
        assert vm.reservation is not None, vm
        now = self._clock.now()
        fact = VmQuiesced(
            org=vm.org,
            vm=vm.name,
            host=self._host,
            reservation=vm.reservation,
            cause=cause,
            quiesced_at=now,
        )
        await self._of(vm, fact, "vm.quiesced", now, vm.order if cause == "ordered" else None)

    async def saved(self, vm: Vm, order: SaveOrdered, image_bytes: int) -> None:
        """The VM sleeps on disk, and its host has its memory back."""
        now = self._clock.now()
        fact = VmSaved(
            org=vm.org,
            vm=vm.name,
            host=self._host,
            order=order.id,
            asleep_since=order.asleep_since,
            image_bytes=image_bytes,
            saved_at=now,
        )
        await self._record(fact, "vm.saved", vm.name, now, cause=order.id, correlation=order.request)

    async def save_failed(self, vm: Vm, order: SaveOrdered, code: SaveFailureCode, text: str) -> None:
        """The VM sleeps on in RAM: nothing that was asked of its domain can still land."""
        now = self._clock.now()
        fact = VmSaveFailed(
            org=vm.org,
            vm=vm.name,
            host=self._host,
            order=order.id,
            asleep_since=order.asleep_since,
            code=code,
            text=shorten(text),
            observed_at=now,
        )
        await self._record(fact, "vm.save-failed", vm.name, now, cause=order.id, correlation=order.request)

    async def unsaved(self, vm: Vm, text: str) -> None:
        """The VM that slept on disk sleeps in RAM, and its memory counts again. It is the sleep that it was: nobody was awake."""
        assert vm.asleep_since is not None, vm
        now = self._clock.now()
        fact = VmSaveFailed(
            org=vm.org,
            vm=vm.name,
            host=self._host,
            order=derive("vm.found-paused", self._host, vm.org, vm.name, vm.since_seq),
            asleep_since=vm.asleep_since,
            code=FOUND_PAUSED,
            text=shorten(text),
            observed_at=now,
        )
        await self._record(fact, "vm.save-failed", vm.name, now, cause=None, correlation=None)

    async def stopped(
        self, vm: Vm, cause: Literal["ordered", "crashed", "shut-down", "found"], found: Sleep
    ) -> None:
        """The VM's domain is off or gone, and so is its reservation if it had one."""
        now = self._clock.now()
        fact = VmStopped(
            org=vm.org,
            vm=vm.name,
            host=self._host,
            reservation=vm.reservation,
            asleep_since=None if vm.reservation else vm.since_seq,
            cause=cause,
            found=found,
            stopped_at=now,
        )
        await self._of(vm, fact, "vm.stopped", now, vm.order if cause == "ordered" else None)

    async def found_awake(self, org: str, name: str, pool: str, size: Size, since_seq: int) -> None:
        """A VM that runs without an order counts from now on.

        `since_seq` is where the ledger last put it to sleep, so that one episode has one reservation.
        """
        now = self._clock.now()
        reservation = derive("vm.found-awake", self._host, org, name, since_seq)
        fact = VmFoundAwake(
            org=org,
            vm=name,
            pool=pool,
            host=self._host,
            size=size,
            reservation=reservation,
            observed_at=now,
        )
        await self._record(fact, "vm.found-awake", name, now, cause=None, correlation=reservation)

    async def ended(
        self, fact: Fact, name: str, order: EraseOrdered | AdoptOrdered, moment: dt.datetime
    ) -> None:
        """The order has this outcome."""
        await self._record(fact, name, order.vm, moment, cause=order.id, correlation=order.request)

    async def _of(self, vm: Vm, fact: Fact, name: str, moment: dt.datetime, cause: str | None) -> None:
        await self._record(fact, name, vm.name, moment, cause=cause, correlation=vm.request or vm.reservation)

    async def _record(
        self,
        fact: Fact,
        name: str,
        entity: str,
        moment: dt.datetime,
        *,
        cause: str | None,
        correlation: str | None,
    ) -> None:
        """Safe to repeat: one life has one moment for it, and its id with it."""
        own = derive(cause or self._host, name, fact.org, entity, moment.isoformat())
        ack = await self._pen.record(fact, id=own, cause=cause, correlation=correlation or own)
        await self._ledger.reach(ack.seq)
