"""A ledger in memory that a test tells its story to, event by event, and a worker that reads and answers it."""

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from events.bus import permissions
from events.bus.ledger import Ledger
from events.bus.memory import MemoryBus, MemoryServer
from events.bus.pen import Pen
from events.bus.port import Bus
from events.clock import Clock, SystemClock
from events.envelope import Recorded, read
from events.fact import Fact
from events.gate import (
    BootOrdered,
    DrainCancelled,
    DrainOrdered,
    GateDecided,
    Order,
    Purpose,
    SuspendOrdered,
    WakeOrdered,
)
from events.ids import derive
from events.pool import PoolDefined
from events.registry import NEWEST
from events.vm import Refreshed, VmAnnounced, VmBooted, VmDefined, VmQuiesced, VmReady, VmResumed, VmStopped
from projections.fleet.fold import Fleet, Vm
from schemas.capacity import Size
from schemas.pool import Pool, Refresh
from tests.support import eventually

SMALL = Size(name="small", vcpu=1, memory_mib=96)
F = TypeVar("F", bound=Fact)
Work = Callable[[Ledger, Bus, Clock], Awaitable[None]]


@dataclass
class Told:
    """The ledger of org `acme` with pool `web`; `reader` folds it as any worker would."""

    server: MemoryServer
    reader: Ledger
    fleet: Fleet
    clock: Clock
    _told: int = 0
    _decided_seq: int = 0

    async def tell(self, *facts: Fact) -> None:
        """The facts are in the ledger, in this order, and folded by the reader."""
        for fact in facts:
            self._told += 1
            writer = NEWEST[type(fact)].writer
            permit = permissions.worker(writer, "h1" if writer == "waker" else None)
            bus = MemoryBus(self.server, permit)
            cause = derive("told", self._told)
            ack = await Pen(bus, permit.name, self.clock).record(
                fact, id=cause, cause=None, correlation=cause
            )
            if isinstance(fact, GateDecided):
                self._decided_seq = ack.seq
            await bus.close()
            await self.reader.reach(ack.seq)

    async def order(self, *orders: Order, now: dt.datetime | None = None) -> None:
        """The gate decided so."""
        await self.tell(
            GateDecided(
                org="acme",
                gate="told",
                through=0,
                follows=self._decided_seq,
                state_seq=self.reader.seq,
                now=now or self.clock.now(),
                contract=None,
                rules="told",
                answers=(),
                orders=orders,
            )
        )

    def vm(self, name: str) -> Vm:
        """The VM as the ledger has it."""
        return self.fleet.vms["acme", name]

    async def becomes(self, name: str, state: str, deadline_seconds: float = 5.0) -> Vm:
        """The VM, once the ledger has it in this state."""
        await eventually(
            lambda: self.vm(name).state == state,
            deadline_seconds,
            every_seconds=0.001,
            why=f"{name} becomes {state}",
        )
        return self.vm(name)

    def all(self, kind: type[F]) -> list[F]:
        """Every fact of a kind, in order."""
        return [event.fact for event in self.events() if isinstance(event.fact, kind)]

    def events(self) -> list[Recorded]:
        """The whole ledger."""
        store = self.server.ledger
        return [read(stored.seq, stored.stored_ns, stored.payload) for stored in store.read(1, store.last)]

    # ------------------------------------------------------------------------------------------------ orders, outcomes

    async def boot(self, name: str, *, purpose: Purpose = "serve", ready_seconds: int = 20) -> str:
        """The gate ordered the VM booted; the order's id."""
        order = BootOrdered(
            id=derive("boot", name, self._told),
            vm=name,
            pool="web",
            host="h1",
            size=SMALL,
            template="tiny",
            request=derive("request", name),
            purpose=purpose,
            begin_by=self.clock.now() + dt.timedelta(seconds=60),
            ready_seconds=ready_seconds,
        )
        await self.order(order)
        return order.id

    async def wake(self, name: str, *, ready_seconds: int = 20) -> str:
        """The gate ordered the VM resumed; the order's id."""
        order = WakeOrdered(
            id=derive("wake", name, self._told),
            vm=name,
            pool="web",
            host="h1",
            size=SMALL,
            request=derive("request", name),
            purpose="serve",
            begin_by=self.clock.now() + dt.timedelta(seconds=60),
            ready_seconds=ready_seconds,
        )
        await self.order(order)
        return order.id

    async def drain(self, name: str, seconds: int = 45, *, ordered_at: dt.datetime | None = None) -> str:
        """The gate ordered the VM drained; the order's id."""
        order = self.drain_order(name, seconds)
        await self.order(order, now=ordered_at)
        return order.id

    def drain_order(self, name: str, seconds: int = 45) -> DrainOrdered:
        """The order to drain the VM, not given yet."""
        return DrainOrdered(
            id=derive("drain", name, self._told),
            vm=name,
            pool="web",
            reservation=self.reservation(name),
            request=derive("request", name),
            drain_seconds=seconds,
        )

    async def cancel_drain(self, name: str) -> str:
        """The gate took the drain back; the new order's id."""
        order = DrainCancelled(
            id=derive("cancel", name, self._told),
            vm=name,
            pool="web",
            reservation=self.reservation(name),
            drain=self.vm(name).order or "",
            request=derive("request", name),
        )
        await self.order(order)
        return order.id

    async def suspend(self, name: str) -> None:
        """The gate ordered the VM to sleep, and it does."""
        reservation = self.reservation(name)
        order = SuspendOrdered(
            id=derive("suspend", name, self._told),
            vm=name,
            pool="web",
            host="h1",
            reservation=reservation,
            request=derive("request", name),
        )
        await self.order(order)
        await self.asleep(name)

    async def asleep(self, name: str) -> None:
        """The VM is paused."""
        await self.tell(
            VmQuiesced(
                org="acme",
                vm=name,
                host="h1",
                reservation=self.reservation(name),
                cause="ordered",
                quiesced_at=self.clock.now(),
            )
        )

    async def crashed(self, name: str) -> None:
        """The VM's domain is off."""
        await self.tell(
            VmStopped(
                org="acme",
                vm=name,
                host="h1",
                reservation=self.reservation(name),
                asleep_since=None,
                cause="crashed",
                found="off",
                stopped_at=self.clock.now(),
            )
        )

    async def defined(self, name: str, address: str) -> None:
        """The VM's domain exists and answers at the address."""
        await self.tell(
            VmDefined(
                org="acme",
                vm=name,
                pool="web",
                host="h1",
                size=SMALL,
                domain=f"vs-acme-{name}",
                uuid=name,
                address=address,
                reservation=self.reservation(name),
            )
        )

    async def proven(self, name: str, *, cold: bool = False, refreshed: bool = False) -> None:
        """The waker says that the VM runs."""
        now, reservation = self.clock.now(), self.reservation(name)
        if cold:
            fact: Fact = VmBooted(
                org="acme",
                vm=name,
                host="h1",
                reservation=reservation,
                started_at=now,
                booted_at=now,
                attempts=1,
            )
        else:
            fact = VmResumed(
                depth="paused",
                refreshed=Refreshed(35, 64) if refreshed else None,
                org="acme",
                vm=name,
                host="h1",
                reservation=reservation,
                started_at=now,
                resumed_at=now,
                attempts=1,
            )
        await self.tell(fact)

    async def ready(self, name: str, boot_id: str = "boot-1") -> None:
        """The VM's guest answers."""
        now = self.clock.now()
        await self.tell(
            VmReady(
                org="acme",
                vm=name,
                reservation=self.reservation(name),
                boot_id=boot_id,
                rebooted=False,
                clock_offset_ms=None,
                probe_started_at=now,
                answered_at=now,
                probes=1,
            )
        )

    async def serving(self, name: str, address: str) -> None:
        """The VM serves, as an announcer of the past said."""
        order = await self.boot(name)
        await self.defined(name, address)
        await self.proven(name, cold=True)
        await self.ready(name)
        await self.tell(
            VmAnnounced(
                org="acme",
                vm=name,
                pool="web",
                reservation=order,
                order=order,
                backend="be_acme_web",
                address=address,
                announced_at=self.clock.now(),
            )
        )

    def reservation(self, name: str) -> str:
        """What the VM counts under."""
        reservation = self.vm(name).reservation
        assert reservation is not None, name
        return reservation

    @asynccontextmanager
    async def at_work(self, writer: permissions.Writer, work: Work) -> AsyncGenerator[None]:
        """A worker runs with a bus connection and a ledger of its own; afterwards it is gone as if killed."""
        bus = MemoryBus(self.server, permissions.worker(writer))
        ledger = Ledger(bus)
        tasks = [asyncio.ensure_future(work(ledger, bus, self.clock)), asyncio.ensure_future(ledger.follow())]
        try:
            yield
            assert not any(task.done() for task in tasks), [task for task in tasks if task.done()]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await bus.close()


@asynccontextmanager
async def telling(clock: Clock | None = None, *, refresh: Refresh = "none") -> AsyncGenerator[Told]:
    """A ledger that knows pool `web` of `acme` and nothing else; the time of day is `clock`'s."""
    clock = clock or SystemClock()
    server = MemoryServer(lambda: int(clock.now().timestamp() * 1e9), dedup_seconds=0)
    bus = MemoryBus(server, permissions.reader("told"))
    reader = Ledger(bus)
    told = Told(server, reader, reader.fold(Fleet), clock)
    following = asyncio.create_task(reader.follow())
    try:
        pool = Pool(org="acme", name="web", size=SMALL, template="tiny", refresh=refresh)
        await told.tell(PoolDefined(org="acme", pool="web", definition=pool))
        yield told
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await bus.close()
