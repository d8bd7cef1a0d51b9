"""VMs of a past, by what was ordered of them and by what the workers said: the half of `tests.given` that is about lives."""

import datetime as dt
from typing import Any, Self

from msgspec.structs import replace

from events.envelope import Recorded
from events.fact import Fact
from events.gate import Answer, BootOrdered, GateDecided, Order, WakeOrdered
from events.ids import derive
from events.pool import PoolDefined
from events.registry import NEWEST
from events.signal import SignalFound, SignalLost
from events.vm import (
    Rest,
    VmAnnounced,
    VmDefined,
    VmDrained,
    VmQuiesced,
    VmReady,
    VmResumed,
    VmSaved,
    VmSaveFailed,
    VmStopped,
    VmUnready,
    VmWakeFailed,
)
from schemas.pool import DemandQuery
from services.gate.state import State
from tests.papers import NOW

ORG = "acme"


class Lives:
    """Folds over a ledger that grows by the call; `seq` is its last sequence."""

    def __init__(self, org: str = ORG) -> None:
        self.org = org
        self.seq = 0
        self.now: dt.datetime = NOW
        self.state = State()
        self.docket, self.usage, self.fleet = self.state.docket, self.state.usage, self.state.fleet
        self.lines: list[Recorded] = []

    def happened(self, fact: Fact, id: str | None = None) -> Recorded:
        """The fact is the ledger's newest event."""
        self.seq += 1
        row = NEWEST[type(fact)]
        event = id or derive("given", self.seq)
        recorded = Recorded(self.seq, self.seq, event, row.writer, self.now, None, event, row.tag, fact)
        self.lines.append(recorded)
        self.state.apply(recorded)
        return recorded

    def decided(self, *orders: Order, through: int | None = None, answers: tuple[Answer, ...] = ()) -> None:
        """The gate decided so."""
        self.happened(
            GateDecided(
                org=self.org,
                gate="given",
                through=self.docket.through(self.org) if through is None else through,
                follows=self.docket.fence_seq(self.org),
                state_seq=self.seq,
                now=self.now,
                contract=None,
                rules="given",
                answers=answers,
                orders=orders,
            )
        )

    # -------------------------------------------------------------------------------------------------- VMs by state

    def waking(self, pool: str, vms: int, **terms: Any) -> list[str]:
        """So many new VMs of the pool are booting."""
        names: list[str] = []
        for _ in range(vms):
            number = self.fleet.highest(self.org, pool) + 1
            name = f"{pool}-{number}"
            self.decided(self.boot(pool, name, **terms))
            names.append(name)
        return names

    def boot(self, pool: str, vm: str, **terms: Any) -> BootOrdered:
        """The order that boots a VM."""
        return replace(
            BootOrdered(
                id=derive("boot", vm, self.seq),
                vm=vm,
                pool=pool,
                host="h1",
                size=self.fleet.pools[self.org, pool].size,
                template="tiny",
                request=derive("request of", vm),
                purpose="serve",
                begin_by=self.now + dt.timedelta(seconds=60),
                ready_seconds=20,
            ),
            **terms,
        )

    def wake(self, vm: str, **terms: Any) -> WakeOrdered:
        """The order that wakes a sleeping VM."""
        known = self.fleet.vms[self.org, vm]
        return replace(
            WakeOrdered(
                id=derive("wake", vm, self.seq),
                vm=vm,
                pool=known.pool,
                host=known.host,
                size=known.size,
                request=derive("request of", vm),
                purpose="serve",
                begin_by=self.now + dt.timedelta(seconds=60),
                ready_seconds=20,
            ),
            **terms,
        )

    def reservation(self, vm: str) -> str:
        """What the VM is awake under."""
        reservation = self.fleet.vms[self.org, vm].reservation
        assert reservation is not None, vm
        return reservation

    def ready(self, vm: str) -> None:
        """The VM's guest answered."""
        self.happened(
            VmDefined(
                org=self.org,
                vm=vm,
                pool=self.fleet.vms[self.org, vm].pool,
                host=self.fleet.vms[self.org, vm].host,
                size=self.fleet.vms[self.org, vm].size,
                domain=f"vs-{self.org}-{vm}",
                uuid="u",
                address="127.0.0.1:1",
                reservation=self.reservation(vm),
            )
        )
        self.resumed(vm)
        self.happened(
            VmReady(
                org=self.org,
                vm=vm,
                reservation=self.reservation(vm),
                boot_id="b",
                rebooted=False,
                clock_offset_ms=0,
                probe_started_at=self.now,
                answered_at=self.now,
                probes=1,
            )
        )

    def resumed(self, vm: str) -> None:
        """The VM runs."""
        self.happened(
            VmResumed(
                depth="paused",
                refreshed=None,
                org=self.org,
                vm=vm,
                host=self.fleet.vms[self.org, vm].host,
                reservation=self.reservation(vm),
                started_at=self.now,
                resumed_at=self.now,
                attempts=1,
            )
        )

    def announced(self, vm: str) -> None:
        """The balancer sends the VM work."""
        known = self.fleet.vms[self.org, vm]
        assert known.order is not None
        self.happened(
            VmAnnounced(
                org=self.org,
                vm=vm,
                pool=known.pool,
                reservation=self.reservation(vm),
                order=known.order,
                backend="be",
                address="127.0.0.1:1",
                announced_at=self.now,
            )
        )

    def quiesced(self, vm: str, reservation: str | None = None) -> None:
        """The VM sleeps."""
        self.happened(
            VmQuiesced(
                org=self.org,
                vm=vm,
                host=self.fleet.vms[self.org, vm].host,
                reservation=reservation or self.reservation(vm),
                cause="ordered",
                quiesced_at=self.now,
            )
        )

    def drained(self, vm: str) -> None:
        """The VM's sessions have ended."""
        known = self.fleet.vms[self.org, vm]
        assert known.order is not None
        self.happened(
            VmDrained(
                org=self.org,
                vm=vm,
                reservation=self.reservation(vm),
                drain=known.order,
                sessions_cut=0,
                drained_at=self.now,
            )
        )

    def saved(self, vm: str) -> None:
        """The sleeping VM's RAM is on disk."""
        known = self.fleet.vms[self.org, vm]
        assert known.order is not None
        self.happened(
            VmSaved(
                org=self.org,
                vm=vm,
                host=known.host,
                order=known.order,
                asleep_since=known.since_seq,
                image_bytes=1 << 20,
                saved_at=self.now,
            )
        )

    def save_failed(self, vm: str) -> None:
        """The sleeping VM stays in RAM."""
        known = self.fleet.vms[self.org, vm]
        assert known.order is not None
        self.happened(
            VmSaveFailed(
                org=self.org,
                vm=vm,
                host=known.host,
                order=known.order,
                asleep_since=known.since_seq,
                code="disk-full",
                text="no space",
                observed_at=self.now,
            )
        )

    def wake_failed(self, vm: str, code: str = "wake-refused", found: Rest = "paused") -> None:
        """The VM did not wake, and is proven not to run."""
        self.happened(
            VmWakeFailed(
                org=self.org,
                vm=vm,
                host=self.fleet.vms[self.org, vm].host,
                reservation=self.reservation(vm),
                code=code,
                text="no",
                found=found,
                observed_at=self.now,
            )
        )

    def unready(self, vm: str, code: str = "probe-timeout") -> None:
        """The VM runs, and its guest did not answer."""
        self.happened(
            VmUnready(
                org=self.org,
                vm=vm,
                reservation=self.reservation(vm),
                code=code,
                text="no answer",
                observed_at=self.now,
                probes=9,
            )
        )

    def stopped(self, vm: str) -> None:
        """The VM was switched off, as it was told to."""
        self.happened(
            VmStopped(
                org=self.org,
                vm=vm,
                host=self.fleet.vms[self.org, vm].host,
                reservation=self.reservation(vm),
                asleep_since=None,
                cause="ordered",
                found="off",
                stopped_at=self.now,
            )
        )

    def died(self, vm: str, cause: str = "crashed") -> None:
        """The VM's guest ended by itself."""
        self.happened(
            VmStopped(
                org=self.org,
                vm=vm,
                host=self.fleet.vms[self.org, vm].host,
                reservation=self.reservation(vm),
                asleep_since=None,
                cause=cause,
                found="off",
                stopped_at=self.now,
            )
        )

    def found_paused(self, vm: str) -> None:
        """The VM was paused, and nobody had ordered it."""
        self.happened(
            VmQuiesced(
                org=self.org,
                vm=vm,
                host=self.fleet.vms[self.org, vm].host,
                reservation=self.reservation(vm),
                cause="found",
                quiesced_at=self.now,
            )
        )

    def lost(self, pool: str = "web") -> None:
        """The pool's signal is lost; one that measures nothing comes to measure it first."""
        definition = self.fleet.pools.get((self.org, pool))
        if definition is not None and definition.demand is None:
            measured = replace(definition, demand=DemandQuery("q", 1.0))
            self.happened(PoolDefined(org=self.org, pool=pool, definition=measured))
        self.happened(
            SignalLost(
                org=self.org,
                pool=pool,
                source="demand",
                query=derive("query", "q"),
                last_sample_at=self.now,
                code="silent",
                text="nobody answers",
                lost_at=self.now,
            )
        )

    def found(self, pool: str = "web") -> None:
        """The pool's signal is heard again."""
        query = derive("query", "q")
        self.happened(
            SignalFound(
                org=self.org, pool=pool, source="demand", query=query, lost_at=self.now, found_at=self.now
            )
        )

    def quiesced_died(self, vm: str) -> None:
        """The sleeping VM's domain was found off."""
        self.happened(
            VmStopped(
                org=self.org,
                vm=vm,
                host=self.fleet.vms[self.org, vm].host,
                reservation=None,
                asleep_since=self.fleet.vms[self.org, vm].since_seq,
                cause="found",
                found="off",
                stopped_at=self.now,
            )
        )

    def serving(self, pool: str, vms: int, **terms: Any) -> Self:
        """So many more VMs of the pool serve."""
        for vm in self.waking(pool, vms, **terms):
            self.ready(vm)
            self.announced(vm)
        return self

    def asleep(self, pool: str, vms: int, **terms: Any) -> Self:
        """So many more VMs of the pool are paused."""
        for vm in self.waking(pool, vms, **terms):
            self.ready(vm)
            self.quiesced(vm)
        return self
