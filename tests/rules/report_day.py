"""A day of a small platform as a ledger: pools that follow their demand, trips of every kind, a refusal, observations.

The same in every run, and as large as a test needs: some 1,500 events. Requests, decisions and outcomes are those that the
workers write, with times as they were measured on real parts.
"""

import datetime as dt
import math
import random
from dataclasses import dataclass, field

from events.envelope import Recorded, address, read
from events.fact import Fact
from events.gate import (
    Answer,
    BootOrdered,
    DrainOrdered,
    Evidence,
    GateDecided,
    Order,
    SuspendOrdered,
    WakeOrdered,
)
from events.host import HostRegistered
from events.ids import derive
from events.pool import PoolDefined, PoolObserved
from events.quiesce import QuiesceRequested
from events.registry import NEWEST
from events.scale import Sample, ScaleRequested
from events.stored import Stored
from events.vm import VmAnnounced, VmBooted, VmDrained, VmQuiesced, VmReady, VmResumed, VmWakeFailed
from projections.fleet.fold import Fleet
from schemas.capacity import Size
from schemas.codes import Code, Outcome
from schemas.pool import Pool, Trigger
from services.signal.port import Measurement
from services.signal.windows import Window, counts, look, name, observed
from tests import papers
from tests.papers import NOW

ORG = "acme"
SMALL = Size(name="vs.small", vcpu=2, memory_mib=512)
LARGE = Size(name="vs.large", vcpu=8, memory_mib=4096)
WINDOW = dt.timedelta(minutes=5)


def ms(milliseconds: float) -> dt.timedelta:
    return dt.timedelta(microseconds=round(milliseconds * 1000))


@dataclass
class Day:
    """A ledger that grows by the call. `now` is the clock of everybody, the bus included."""

    now: dt.datetime = NOW
    stored: list[Stored] = field(default_factory=list)
    fleet: Fleet = field(default_factory=Fleet)
    chance: random.Random = field(default_factory=lambda: random.Random(4))
    fence: int = 0
    windows: dict[str, Window] = field(default_factory=dict)

    def happened(self, fact: Fact, id_: str | None = None, after_ms: float = 0.4) -> Recorded:
        """The fact is the newest event, stored so long after `now`."""
        self.now += ms(after_ms)
        seq = len(self.stored) + 1
        row = NEWEST[type(fact)]
        writer = f"{row.writer}-{getattr(fact, 'host', '')}" if row.per_host else row.writer
        id_ = id_ or derive("day", seq)
        event = address(fact, writer=writer, id=id_, time=self.now, cause=None, correlation=id_)
        stored_ns = round(self.now.timestamp() * 1_000_000) * 1000
        message = Stored(seq, stored_ns, event.subject, id_, event.payload)
        self.stored.append(message)
        recorded = read(seq, stored_ns, event.payload, event.subject)
        self.fleet.apply(recorded)
        return recorded

    # ---------------------------------------------------------------------------------------------------- the parts

    def begin(self) -> None:
        """Two hosts, one contract, two pools that are watched and one that is not."""
        for host in ("h1", "h2"):
            self.happened(
                HostRegistered("platform", host, f"qemu:///{host}", 9_000_000, "qemu", 16, 65_536, self.now)
            )
        terms = papers.terms(ORG, vcpu=40, valid_until=self.now + dt.timedelta(days=400))
        self.happened(papers.took_effect(terms, self.now))
        trigger = Trigger(query='p99_ms{pool="web"}', above=250.0)
        self.pool("web", SMALL, trigger)
        self.pool("jobs", LARGE, Trigger(query="queue_depth", above=20.0))
        self.pool("batch", SMALL, None)

    def pool(self, pool: str, size: Size, trigger: Trigger | None) -> None:
        definition = Pool(
            org=ORG, name=pool, size=size, template="tiny", triggers=() if trigger is None else (trigger,)
        )
        self.happened(PoolDefined(org=ORG, pool=pool, definition=definition))

    def decided(self, *orders: Order, answers: tuple[Answer, ...] = ()) -> None:
        recorded = self.happened(
            GateDecided(
                org=ORG,
                gate="g1",
                through=max((one.request_seq for one in answers), default=0),
                follows=self.fence,
                state_seq=len(self.stored),
                now=self.now,
                contract=None,
                rules="1",
                answers=answers,
                orders=orders,
            ),
            after_ms=self.chance.uniform(2.0, 9.0),
        )
        self.fence = recorded.seq

    def answer(
        self, asked: Recorded, pool: str, number: int, outcome: Outcome = "admitted", code: Code = "Granted"
    ) -> Answer:
        granted = number if outcome == "admitted" else 0
        evidence = (Evidence("vcpu", 40, 4, 2, 46, 40, 44),) if code == "CapExceeded" else ()
        return Answer(asked.id, asked.seq, pool, outcome, code, number, granted, evidence, retry_at=None)

    # ---------------------------------------------------------------------------------------------------- the ways

    def ask(self, pool: str, number: int, sample: float | None) -> Recorded:
        """A trigger asks for more, or with no sample a person does."""
        trigger = next(iter(self.fleet.pools[ORG, pool].triggers), None)
        observed_at = self.now
        fact = ScaleRequested(
            org=ORG,
            pool=pool,
            publisher="signal" if sample is not None else "operator",
            key=f"k{len(self.stored)}",
            origin="trigger" if sample is not None else "person",
            add=number,
            want=None,
            up_to=False,
            received_at=self.now,
            sample=Sample(trigger.query, sample, trigger.above, observed_at)
            if sample is not None and trigger is not None
            else None,
        )
        return self.happened(fact, after_ms=self.chance.uniform(60, 190))

    def boot(self, pool: str, number: int) -> None:
        """So many new VMs serve, after a cold boot."""
        asked = self.ask(pool, number, None)
        orders: list[BootOrdered] = []
        for one in range(number):
            vm = f"{pool}-{self.fleet.highest(ORG, pool) + 1 + one}"
            orders.append(
                BootOrdered(
                    id=derive("boot", vm, asked.id),
                    vm=vm,
                    pool=pool,
                    host="h1" if one % 2 else "h2",
                    size=self.fleet.pools[ORG, pool].size,
                    template="tiny",
                    request=asked.id,
                    purpose="serve",
                    begin_by=self.now + dt.timedelta(seconds=60),
                    ready_seconds=180,
                )
            )
        self.decided(*orders, answers=(self.answer(asked, pool, number),))
        for order in orders:
            begun = self.now
            self.now += ms(900)
            self.happened(VmBooted(ORG, order.vm, order.host, order.id, begun, self.now, 1))
            self.serve(order)

    def wake(self, pool: str, number: int, sample: float | None) -> None:
        """So many sleepers serve, in the steps of the budget."""
        asked = self.ask(pool, number, sample)
        sleepers = list(self.fleet.members(ORG, pool, "quiesced"))[:number]
        orders = [
            WakeOrdered(
                id=derive("wake", vm, asked.id),
                vm=vm,
                pool=pool,
                host=self.fleet.vms[ORG, vm].host,
                size=self.fleet.vms[ORG, vm].size,
                request=asked.id,
                purpose="serve",
                begin_by=self.now + dt.timedelta(seconds=60),
                ready_seconds=20,
            )
            for vm in sleepers
        ]
        self.decided(*orders, answers=(self.answer(asked, pool, number),))
        for order in orders:
            begun = self.now
            self.now += ms(self.chance.lognormvariate(math.log(14), 0.5))
            self.happened(VmResumed(ORG, order.vm, order.host, order.id, "paused", begun, self.now, None, 1))
            self.serve(order)

    def serve(self, order: BootOrdered | WakeOrdered) -> None:
        begun = self.now
        self.now += ms(self.chance.lognormvariate(math.log(55), 0.6))
        self.happened(VmReady(ORG, order.vm, order.id, "boot-1", False, 3, begun, self.now, 1))
        self.now += ms(self.chance.lognormvariate(math.log(24), 0.5))
        self.happened(
            VmAnnounced(ORG, order.vm, order.pool, order.id, order.id, "b", "127.0.0.1:1", self.now)
        )

    def sleep(self, pool: str, number: int) -> None:
        """So many that serve are drained and suspended."""
        fact = QuiesceRequested(
            ORG, pool, "operator", f"k{len(self.stored)}", "person", number, self.now, None
        )
        asked = self.happened(fact)
        vms = list(self.fleet.members(ORG, pool, "serving"))[:number]
        held = {vm: self.fleet.vms[ORG, vm].reservation or "" for vm in vms}
        drains = [DrainOrdered(derive("drain", vm, asked.id), vm, pool, held[vm], asked.id, 45) for vm in vms]
        self.decided(*drains, answers=(self.answer(asked, pool, number),))
        for drain in drains:
            self.happened(VmDrained(ORG, drain.vm, drain.reservation, drain.id, 0, self.now))
        suspends = [
            SuspendOrdered(
                derive("suspend", vm, asked.id), vm, pool, self.fleet.vms[ORG, vm].host, held[vm], asked.id
            )
            for vm in vms
        ]
        self.decided(*suspends)
        for one in suspends:
            self.happened(VmQuiesced(ORG, one.vm, one.host, one.reservation, "ordered", self.now))

    def fail(self, pool: str) -> None:
        """One sleeper is asked for, and libvirt says no."""
        asked = self.ask(pool, 1, None)
        vm = next(iter(self.fleet.members(ORG, pool, "quiesced")))
        known = self.fleet.vms[ORG, vm]
        id_, begin_by = derive("wake", vm, asked.id), self.now + dt.timedelta(seconds=60)
        order = WakeOrdered(id_, vm, pool, known.host, known.size, asked.id, "serve", begin_by, 20)
        self.decided(order, answers=(self.answer(asked, pool, 1),))
        self.happened(VmWakeFailed(ORG, vm, known.host, id_, "wake-refused", "no", "paused", self.now))

    def recorded(self) -> list[Recorded]:
        """The events as whoever reads the ledger has them."""
        return [read(one.seq, one.stored_ns, one.payload, one.subject) for one in self.stored]

    def refused(self, pool: str) -> None:
        """The cap holds."""
        asked = self.ask(pool, 9, None)
        self.decided(answers=(self.answer(asked, pool, 9, "refused", "CapExceeded"),))

    # ---------------------------------------------------------------------------------------------------- the watch

    def watch(self, begins: dt.datetime, demand: dict[str, float]) -> None:
        """Signal looked at every pool for five minutes; `demand` in VMs."""
        for pool in sorted(self.fleet.pools):
            definition = self.fleet.pools[pool]
            vms = counts(self.fleet, *pool)
            window: Window | None = None
            for number in range(60):
                at = begins + dt.timedelta(seconds=5 * number + 1)
                measured: dict[str, Measurement] = {}
                if definition.triggers and vms.serving:
                    (trigger,) = definition.triggers
                    noise = self.chance.gauss(1.0, 0.06)
                    share = demand[definition.name] * noise / vms.serving
                    measured[trigger.query] = Measurement(max(0.0, share) * trigger.above, at)
                window = look(window, definition, measured, vms, state_seq=len(self.stored), now=at)
            assert window is not None
            fact: PoolObserved = observed(*pool, window)
            self.happened(fact, name(fact))


def needed(pool: str, hour: float) -> float:
    """VMs that a pool needs at an hour of the day."""
    if pool == "web":
        morning = math.exp(-((hour - 10.5) ** 2) / 8)
        evening = math.exp(-((hour - 19.5) ** 2) / 5)
        return 1.2 + 4.2 * morning + 6.0 * evening
    return 0.6 if hour % 6 > 1 else 3.3


def a_day(hours: float = 25.0, hole: tuple[float, float] = (13.0, 13.75)) -> Day:
    """The ledger of so many hours from nine in the morning. In the hole, in hours of the day, signal was not there."""
    day = Day()
    day.begin()
    day.boot("web", 8)
    day.boot("jobs", 3)
    day.boot("batch", 1)
    day.sleep("web", 5)
    day.sleep("jobs", 2)
    for place in range(round(hours * 12)):
        begins = NOW + place * WINDOW
        hour = begins.hour + begins.minute / 60
        demand = {pool: needed(pool, hour) for pool in ("web", "jobs")}
        day.now = max(day.now, begins + dt.timedelta(seconds=20))
        for pool, wanted in demand.items():
            serving = len(day.fleet.members(ORG, pool, "serving"))
            target = max(1, math.ceil(wanted * 1.1))
            asleep = len(day.fleet.members(ORG, pool, "quiesced"))
            (limit,) = day.fleet.pools[ORG, pool].triggers
            if target > serving and asleep:
                day.wake(pool, min(target - serving, asleep), limit.above * wanted / serving)
            elif target < serving - 1:
                day.sleep(pool, serving - target - 1)
        if place % 120 == 100:
            day.refused("web")
        day.now = max(day.now, begins + WINDOW + dt.timedelta(seconds=1))
        if not (hole[0] <= hour < hole[1] and begins.day == (NOW + dt.timedelta(hours=24)).day - 1):
            day.watch(begins, demand)
    return day
