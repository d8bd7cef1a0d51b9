"""A past to decide on: facts become events as if they had been read from a ledger, and every fold has them.

past = Past().contract(vcpu=10).pool("web").host().asleep("web", 4)
decided = past.when(past.scale("web", add=2))
"""

import datetime as dt
from typing import Any

from msgspec.structs import replace

from events.envelope import Recorded
from events.fact import Fact
from events.freeze import ScalingFrozen
from events.gate import Answer, BootOrdered, GateDecided, Order, WakeOrdered
from events.host import HostCordoned, HostFenced, HostRegistered
from events.ids import derive
from events.key import KeyRegistered
from events.pool import PoolDefined
from events.quiesce import QuiesceRequested
from events.registry import NEWEST
from events.save import SaveRequested
from events.scale import Sample, ScaleRequested
from events.signal import SignalFound, SignalLost
from events.stock import StockRequested
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
from schemas.capacity import Size
from schemas.names import PLATFORM
from schemas.pool import Pool
from services.gate.decide import decide
from services.gate.draft import Decision
from services.gate.state import State
from tests import papers
from tests.papers import NOW

ORG = "acme"
SMALL = Size(name="small", vcpu=2, memory_mib=512)


class Past:
    """Folds over a ledger that grows by the call; `seq` is its last sequence."""

    def __init__(self, org: str = ORG) -> None:
        self.org = org
        self.seq = 0
        self.now = NOW
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

    # ------------------------------------------------------------------------------------------------- the setting

    def contract(self, vcpu: int = 10, memory_mib: int = 1 << 20, **terms: Any) -> "Past":
        """This contract took effect."""
        self.happened(papers.took_effect(papers.terms(self.org, vcpu, memory_mib, **terms), self.now))
        return self

    def keys(self) -> "Past":
        """Both sides have registered their keys."""
        for org in (PLATFORM, self.org):
            fact = KeyRegistered(
                org=org, public_key=papers.public_key(org), former=None, registered_at=self.now
            )
            self.happened(fact)
        return self

    def pool(self, name: str = "web", size: Size = SMALL, **terms: Any) -> "Past":
        """This pool is defined so."""
        pool = Pool(org=self.org, name=name, size=size, template="tiny", **terms)
        self.happened(PoolDefined(org=self.org, pool=name, definition=pool))
        return self

    def host(self, name: str = "h1", memory_mib: int = 1 << 16) -> "Past":
        """This host has registered."""
        self.happened(
            HostRegistered(
                org="platform",
                host=name,
                uri="test:///default",
                libvirt_version=9_000_000,
                substrate="test",
                vcpu=16,
                memory_mib=memory_mib,
                observed_at=self.now,
            )
        )
        return self

    def cordoned(self, host: str = "h1") -> "Past":
        """Nothing starts on the host."""
        self.happened(
            HostCordoned(org=PLATFORM, host=host, actor="ops", reason="because", cordoned_at=self.now)
        )
        return self

    def frozen(self, pool: str | None = None, seconds: float = 60) -> "Past":
        """The pool, or every pool of the org, stands still."""
        until = self.now + dt.timedelta(seconds=seconds)
        who: dict[str, Any] = {"org": self.org, "pool": pool, "actor": "ops", "reason": "because"}
        self.happened(ScalingFrozen(**who, frozen_at=self.now, until=until))
        return self

    def fenced(self, host: str = "h1") -> "Past":
        """The host is declared dead."""
        self.happened(HostFenced(org=PLATFORM, host=host, actor="ops", reason="because", fenced_at=self.now))
        return self

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
                host="h1",
                size=self.fleet.vms[self.org, vm].size,
                domain=f"vs-{self.org}-{vm}",
                uuid="u",
                address="127.0.0.1:1",
                reservation=self.reservation(vm),
            )
        )
        self.happened(
            VmResumed(
                depth="paused",
                refreshed=None,
                org=self.org,
                vm=vm,
                host="h1",
                reservation=self.reservation(vm),
                started_at=self.now,
                resumed_at=self.now,
                attempts=1,
            )
        )
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
                host="h1",
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

    def lost(self, pool: str = "web") -> None:
        """The pool's signal is lost."""
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
                host="h1",
                reservation=None,
                asleep_since=self.fleet.vms[self.org, vm].since_seq,
                cause="found",
                found="off",
                stopped_at=self.now,
            )
        )

    def serving(self, pool: str, vms: int, **terms: Any) -> "Past":
        """So many more VMs of the pool serve."""
        for vm in self.waking(pool, vms, **terms):
            self.ready(vm)
            self.announced(vm)
        return self

    def asleep(self, pool: str, vms: int, **terms: Any) -> "Past":
        """So many more VMs of the pool are paused."""
        for vm in self.waking(pool, vms, **terms):
            self.ready(vm)
            self.quiesced(vm)
        return self

    # ---------------------------------------------------------------------------------------------------- requests

    def scale(
        self, pool: str = "web", add: int | None = None, want: int | None = None, **terms: Any
    ) -> Recorded:
        """Somebody wants more."""
        key = str(terms.pop("key", self.seq + 1))
        return self.happened(
            replace(
                ScaleRequested(
                    org=self.org,
                    pool=pool,
                    publisher="shop",
                    key=key,
                    origin="program",
                    add=add,
                    want=want,
                    up_to=False,
                    received_at=self.now,
                    sample=None,
                ),
                **terms,
            )
        )

    def trigger(self, pool: str = "web", add: int = 1) -> Recorded:
        """A threshold was passed."""
        return self.scale(pool, add=add, sample=self.measured(), origin="trigger")

    def quiesce(self, pool: str = "web", count: int = 1, **terms: Any) -> Recorded:
        """Somebody wants fewer."""
        return self.happened(
            replace(
                QuiesceRequested(
                    org=self.org,
                    pool=pool,
                    publisher="shop",
                    key=str(self.seq + 1),
                    origin="program",
                    count=count,
                    received_at=self.now,
                    sample=None,
                ),
                **terms,
            )
        )

    def measured(self, seconds_old: float = 0.0) -> Sample:
        """What a trigger saw so many seconds ago."""
        observed_at = self.now - dt.timedelta(seconds=seconds_old)
        return Sample(query="up", value=2.0, above=1.0, observed_at=observed_at)

    def stock(self, pool: str = "web", vms: int = 1) -> Recorded:
        """Somebody wants sleepers."""
        return self.happened(
            StockRequested(
                org=self.org,
                pool=pool,
                publisher="shop",
                key=str(self.seq + 1),
                vms=vms,
                received_at=self.now,
            )
        )

    def save(self, pool: str = "web", paused: int = 0, **terms: Any) -> Recorded:
        """Somebody wants sleepers to be on disk."""
        return self.happened(
            replace(
                SaveRequested(
                    org=self.org,
                    pool=pool,
                    publisher="shop",
                    key=str(self.seq + 1),
                    origin="program",
                    paused=paused,
                    received_at=self.now,
                ),
                **terms,
            )
        )

    # -------------------------------------------------------------------------------------------------------- then

    def decide(self) -> Decision | None:
        """What the gate would say now."""
        return decide(self.org, self.state, now=self.now, gate="g1", state_seq=self.seq)

    def round(self) -> GateDecided:
        """What the gate says now; it is in the ledger, with the facts that belong to it."""
        decision = self.decide()
        assert decision is not None, "the gate has nothing to say"
        return self.stored(decision)

    def stored(self, decision: Decision) -> GateDecided:
        """The decision is in the ledger, behind the facts that belong to it."""
        for fact in decision.facts:
            self.happened(fact)
        self.happened(decision.decided)
        return decision.decided

    def answer(self) -> tuple[Answer, tuple[Order, ...]]:
        """The gate's answer to the one request that waits, and its orders; they are in the ledger."""
        decided = self.round()
        (answer,) = decided.answers
        return answer, decided.orders

    def later(self, seconds: float) -> None:
        """Time goes by."""
        self.now += dt.timedelta(seconds=seconds)
