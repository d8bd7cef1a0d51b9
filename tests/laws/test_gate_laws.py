"""The cap holds, whatever is asked, whatever becomes of the orders, and however often it is told."""

import copy
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from events.envelope import Recorded
from events.gate import BootOrdered, DrainOrdered, GateDecided, StopOrdered, SuspendOrdered, WakeOrdered
from events.ids import derive
from events.vm import (
    VmAnnounced,
    VmAnnounceFailed,
    VmDrained,
    VmFoundAwake,
    VmQuiesced,
    VmReady,
    VmResumed,
    VmStopped,
    VmUnready,
    VmWakeFailed,
)
from projections.activations.fold import Activations
from projections.fleet.fold import Fleet
from projections.fleet.life import ASLEEP
from projections.usage.fold import Usage
from schemas.capacity import NOTHING, Size
from services.gate.state import Docket
from tests.given import ORG, Past

POOLS = ("web", "jobs")
SIZES = {"web": Size(name="two", vcpu=2, memory_mib=512), "jobs": Size(name="three", vcpu=3, memory_mib=256)}


class Cap(RuleBasedStateMachine):
    """Two pools under one contract. `running` is the model: which domains really run, and since which order.

    A domain runs from its order until whatever proves that it sleeps, at the latest: an effect that hangs may take
    hold at any time before the proof, so the model counts it from the start.
    """

    def __init__(self) -> None:
        super().__init__()
        self.past = Past().contract(vcpu=13, memory_mib=4096).host("h1", 6000)
        for pool, size in SIZES.items():
            self.past.pool(pool, size, max_vms=7, cooldown_seconds=5)
        self.running: dict[str, Size] = {}
        self.strays: set[str] = set()
        self.proofs: list[Recorded] = []

    # ------------------------------------------------------------------------------------------------------ asking

    @rule(pool=st.sampled_from((*POOLS, "nosuch")), add=st.integers(1, 9), up_to=st.booleans())
    def scale(self, pool: str, add: int, up_to: bool) -> None:  # noqa: FBT001
        self.past.scale(pool, add=add, up_to=up_to)

    @rule(pool=st.sampled_from(POOLS), want=st.integers(0, 9))
    def want(self, pool: str, want: int) -> None:
        self.past.scale(pool, want=want)

    @rule(pool=st.sampled_from(POOLS))
    def trigger(self, pool: str) -> None:
        self.past.trigger(pool)

    @rule(pool=st.sampled_from(POOLS), count=st.integers(1, 5))
    def quiesce(self, pool: str, count: int) -> None:
        self.past.quiesce(pool, count)

    @rule(pool=st.sampled_from(POOLS), vms=st.integers(1, 6))
    def stock(self, pool: str, vms: int) -> None:
        self.past.stock(pool, vms)

    @rule(size=st.sampled_from(tuple(SIZES.values())))
    def redefine(self, size: Size) -> None:
        self.past.pool("web", size, max_vms=7, cooldown_seconds=5)

    @rule(seconds=st.integers(1, 30))
    def time_passes(self, seconds: int) -> None:
        self.past.later(seconds)

    @rule()
    def decide(self) -> None:
        decision = self.past.decide()
        if decision is None:
            return
        decided = decision.decided
        before = self.past.docket.through(ORG)
        assert [answer.request_seq for answer in decided.answers] == sorted(
            pending.seq for pending in self.past.docket.pending(ORG) if pending.seq <= decided.through
        )
        assert decided.through >= before
        self.past.stored(decision)
        for order in decided.orders:
            if isinstance(order, WakeOrdered | BootOrdered):
                assert order.vm not in self.running, "a VM that runs is ordered awake"
                self.running[order.vm] = order.size

    # ---------------------------------------------------------------------------------------------------- outcomes

    @precondition(lambda self: self._awake())
    @rule(data=st.data())
    def outcome(self, data: st.DataObject) -> None:
        vm = data.draw(st.sampled_from(self._awake()), label="vm")
        known = self.past.fleet.vms[ORG, vm]
        facts = [self._step(vm), self._end(vm)]
        fact = data.draw(st.sampled_from([fact for fact in facts if fact is not None]), label="outcome")
        if isinstance(fact, VmQuiesced | VmStopped | VmWakeFailed):
            self.running.pop(vm, None)
            self.strays.discard(vm)
            assert known.reservation == fact.reservation
        self.proofs.append(self.past.happened(fact))

    @precondition(lambda self: self.proofs)
    @rule(data=st.data())
    def told_again(self, data: st.DataObject) -> None:
        """A duplicate, however late, changes nothing but the sequence."""
        proof = data.draw(st.sampled_from(self.proofs), label="told again")
        before = self._usage()
        self.past.happened(proof.fact)
        assert self._usage() == before

    @precondition(lambda self: any(vm.state in ASLEEP for vm in self.past.fleet.vms.values()))
    @rule(data=st.data())
    def somebody_wakes_one(self, data: st.DataObject) -> None:
        asleep = sorted(vm.name for vm in self.past.fleet.vms.values() if vm.state in ASLEEP)
        known = self.past.fleet.vms[ORG, data.draw(st.sampled_from(asleep))]
        self.running[known.name] = known.size
        self.strays.add(known.name)
        fact = VmFoundAwake(
            org=ORG,
            vm=known.name,
            pool=known.pool,
            host="h1",
            size=known.size,
            reservation=derive("stray", known.name, self.past.seq),
            observed_at=self.past.now,
        )
        self.proofs.append(self.past.happened(fact))

    def _awake(self) -> list[str]:
        return sorted(vm.name for vm in self.past.fleet.vms.values() if vm.reservation is not None)

    def _step(
        self, vm: str
    ) -> VmReady | VmUnready | VmAnnounced | VmAnnounceFailed | VmDrained | VmResumed | None:
        known = self.past.fleet.vms[ORG, vm]
        now, reservation = self.past.now, known.reservation
        assert reservation is not None
        match known.state:
            case "waking" | "booting" if not known.proven:
                return VmResumed(
                    org=ORG,
                    vm=vm,
                    host="h1",
                    reservation=reservation,
                    started_at=now,
                    resumed_at=now,
                    attempts=1,
                )
            case "waking":
                return VmUnready(
                    org=ORG,
                    vm=vm,
                    reservation=reservation,
                    code="probe-timeout",
                    text="",
                    observed_at=now,
                    probes=1,
                )
            case "booting":
                return VmReady(
                    org=ORG,
                    vm=vm,
                    reservation=reservation,
                    boot_id="b",
                    rebooted=False,
                    clock_offset_ms=None,
                    probe_started_at=now,
                    answered_at=now,
                    probes=1,
                )
            case "warm" if known.order is not None:
                return VmAnnounced(
                    org=ORG,
                    vm=vm,
                    pool=known.pool,
                    reservation=reservation,
                    order=known.order,
                    backend="be",
                    address="a:1",
                    announced_at=now,
                )
            case "draining" if known.order is not None:
                return VmDrained(
                    org=ORG, vm=vm, reservation=reservation, drain=known.order, sessions_cut=0, drained_at=now
                )
            case _:
                return None

    def _end(self, vm: str) -> VmQuiesced | VmStopped | VmWakeFailed:
        known = self.past.fleet.vms[ORG, vm]
        now, reservation = self.past.now, known.reservation
        assert reservation is not None
        match known.state:
            case "waking" | "booting":
                return VmWakeFailed(
                    org=ORG,
                    vm=vm,
                    host="h1",
                    reservation=reservation,
                    code="order-expired",
                    text="",
                    found="paused",
                    observed_at=now,
                )
            case "suspending":
                return VmQuiesced(
                    org=ORG, vm=vm, host="h1", reservation=reservation, cause="ordered", quiesced_at=now
                )
            case _:
                return VmStopped(
                    org=ORG,
                    vm=vm,
                    host="h1",
                    reservation=reservation,
                    asleep_since=None,
                    cause="crashed",
                    found="off",
                    stopped_at=now,
                )

    # -------------------------------------------------------------------------------------------------------- laws

    def _usage(self) -> object:
        usage, fleet = self.past.usage, self.past.fleet
        return (
            dict(usage.holdings),
            usage.used(ORG),
            usage.reserved(ORG),
            {vm.name: (vm.state, vm.reservation) for vm in fleet.vms.values()},
            dict(fleet._lent_mib),
        )

    @invariant()
    def what_was_admitted_stays_within_the_envelope(self) -> None:
        limit = self.past.usage.contracts[ORG].limit
        admitted = sum((size.compute for vm, size in self.running.items() if vm not in self.strays), NOTHING)
        assert admitted.vcpu <= limit.vcpu
        assert admitted.memory_mib <= limit.memory_mib

    @invariant()
    def usage_is_what_runs(self) -> None:
        holdings = {vm: holding.size for (_, vm), holding in self.past.usage.holdings.items()}
        assert holdings == self.running

    @invariant()
    def usage_and_fleet_agree_on_who_is_awake_and_why(self) -> None:
        usage = {vm: holding.reservation for (_, vm), holding in self.past.usage.holdings.items()}
        fleet = {vm.name: vm.reservation for vm in self.past.fleet.vms.values() if vm.reservation is not None}
        assert usage == fleet
        assert all((vm.reservation is None) == (vm.state in ASLEEP) for vm in self.past.fleet.vms.values())

    @invariant()
    def totals_are_the_sum_over_the_holdings(self) -> None:
        usage = self.past.usage
        for proven, total in ((True, usage.used(ORG)), (False, usage.reserved(ORG))):
            sizes = [held.size.compute for held in usage.holdings.values() if held.proven == proven]
            assert total == sum(sizes, NOTHING)
        assert usage.strays(ORG) == sum(held.stray for held in usage.holdings.values())

    @invariant()
    def a_hosts_memory_is_what_its_guests_hold(self) -> None:
        fleet = self.past.fleet
        held = sum(vm.size.memory_mib for vm in fleet.vms.values() if vm.state != "stopped")
        assert fleet.free_mib("h1") == 6000 - held

    def teardown(self) -> None:
        """The rest of what the gate has to say ends, and every prefix then its rest is the whole."""
        for _ in range(20):
            decision = self.past.decide()
            if decision is None:
                break
            self.past.stored(decision)
        assert self.past.decide() is None
        assert not list(self.past.docket.pending(ORG))
        answered = [
            answer.request_seq
            for line in self.past.lines
            if isinstance(line.fact, GateDecided)
            for answer in line.fact.answers
        ]
        assert len(answered) == len(set(answered))
        assert all(
            not isinstance(order, DrainOrdered | SuspendOrdered | StopOrdered) or order.reservation
            for line in self.past.lines
            if isinstance(line.fact, GateDecided)
            for order in line.fact.orders
        )


Cap.TestCase.settings = settings(
    max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestTheCapHoldsForAnySequenceOfRequestsAndOutcomes = Cap.TestCase


@pytest.mark.parametrize("kind", [Usage, Fleet, Docket, Activations])
def test_a_copied_prefix_then_the_rest_is_the_whole(
    kind: Callable[[], Usage | Fleet | Docket | Activations],
) -> None:
    past = Past().contract(vcpu=13).pool("web").host().asleep("web", 3).serving("web", 2)
    past.scale(add=2)
    past.round()
    vm = next(name for (_, name), vm in past.fleet.vms.items() if vm.state == "waking")
    past.ready(vm)
    past.announced(vm)
    past.quiesce(count=1)
    past.round()
    whole = kind()
    for line in past.lines:
        whole.apply(line)
    for cut in range(len(past.lines)):
        prefix = kind()
        for line in past.lines[:cut]:
            prefix.apply(line)
        rest = copy.deepcopy(prefix)
        for line in past.lines[cut:]:
            rest.apply(line)
        assert vars(rest) == vars(whole)
