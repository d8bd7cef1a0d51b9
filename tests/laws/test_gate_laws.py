"""The cap holds, whatever is asked, whatever becomes of the orders, whichever host dies, and however often it is told."""

import copy
import datetime as dt
from collections import Counter
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from msgspec.structs import replace

from events.contract import ContractTookEffect
from events.gate import GateDecided
from events.ids import derive
from events.order import OrderOverdue
from events.ruling import Ruling
from events.vm import VmFoundAwake, VmQuiesced, VmResumed, VmStopped, VmWakeFailed
from projections.activations.fold import Activations
from projections.fleet.life import ASLEEP
from schemas.names import PLATFORM
from services.gate.resting import MOST_SAVES
from services.gate.state import Wish
from tests.laws import cap_world as world
from tests.laws.cap_life import end, rest, step
from tests.laws.cap_requests import TIMES, Requests
from tests.laws.cap_world import ORGS, Domain, Key
from tests.laws.strength import examples


class Cap(Requests):
    """Two orgs, three pools, two hosts that they share, and their papers, against a model of what really runs."""

    # ------------------------------------------------------------------------------------------------------ outcomes

    def awake(self) -> list[Key]:
        return sorted(self.truth.running)

    @precondition(lambda self: self.truth.running)
    @rule(data=st.data())
    def something_becomes_of_an_order(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.awake()), label="vm")
        vm = self.past.fleet.vms[key]
        facts = [fact for fact in (step(vm, self.past.now), end(vm, self.past.now)) if fact is not None]
        fact = data.draw(st.sampled_from(facts), label="outcome")
        if isinstance(fact, VmQuiesced | VmStopped | VmWakeFailed):
            domain = self.truth.running.pop(key)
            assert domain.reservation == fact.reservation
        self.proofs.append(self.past.happened(fact))

    @precondition(lambda self: self.truth.running)
    @rule(times=st.integers(1, 3))
    def the_workers_do_their_work(self, times: int) -> None:
        """Whoever is ordered awake gets on, and whoever is to sleep falls asleep."""
        for _ in range(times):
            for key in self.awake():
                vm = self.past.fleet.vms[key]
                fact = end(vm, self.past.now) if vm.state == "suspending" else step(vm, self.past.now)
                if isinstance(fact, VmQuiesced):
                    self.truth.running.pop(key)
                if fact is not None:
                    self.proofs.append(self.past.happened(fact))
            for org in ORGS:
                self.a_gate_decides(org)

    def saving(self) -> list[Key]:
        return sorted(key for key, vm in self.past.fleet.vms.items() if vm.state == "saving")

    @precondition(lambda self: self.saving())
    @rule(data=st.data())
    def something_becomes_of_a_sleeper(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.saving()), label="vm")
        vm = self.past.fleet.vms[key]
        self.past.happened(data.draw(st.sampled_from(rest(vm, self.past.now)), label="outcome"))

    def late(self) -> list[Key]:
        return sorted(
            key for key, vm in self.past.fleet.vms.items() if vm.due_at and vm.order and not vm.alarmed
        )

    @precondition(lambda self: self.late())
    @rule(data=st.data())
    def an_order_goes_overdue(self, data: st.DataObject) -> None:
        """An alarm releases nothing and starts nothing: whoever it is about runs, or does not."""
        vm = self.past.fleet.vms[data.draw(st.sampled_from(self.late()), label="vm")]
        told: dict[str, Any] = {"order": vm.order, "due_at": vm.due_at, "observed_at": self.past.now}
        used = self.past.usage.used(vm.org) + self.past.usage.reserved(vm.org)
        self.past.happened(OrderOverdue(org=vm.org, vm=vm.name, kind=vm.state, **told))
        assert self.past.usage.used(vm.org) + self.past.usage.reserved(vm.org) == used

    @precondition(lambda self: self.proofs)
    @rule(data=st.data(), foreign=st.booleans())
    def an_outcome_is_told_again_or_by_a_stranger(self, data: st.DataObject, *, foreign: bool) -> None:
        """A duplicate, however late, and an outcome of nobody's reservation change nothing."""
        fact: Any = data.draw(st.sampled_from(self.proofs), label="told again").fact
        if foreign and not isinstance(fact, VmFoundAwake):
            fact = replace(fact, reservation=derive("nobody", self.past.seq))
        before = copy.deepcopy(world.contents(self.past.state))
        self.past.happened(fact)
        assert world.contents(self.past.state) == before

    @precondition(lambda self: self.truth.ghosts)
    @rule(data=st.data())
    def a_ghost_is_told_of(self, data: st.DataObject) -> None:
        """A domain on a host that was declared dead: its old outcome counts nothing, and found awake it counts at once."""
        key = data.draw(st.sampled_from(sorted(self.truth.ghosts)), label="ghost")
        ghost = self.truth.ghosts[key]
        if data.draw(st.booleans(), label="by its old name"):
            before = world.contents(self.past.state)
            org, vm = key
            said: dict[str, Any] = {
                "org": org,
                "vm": vm,
                "host": ghost.host,
                "reservation": ghost.reservation,
                "attempts": 1,
            }
            self.past.happened(
                VmResumed(
                    depth="paused", refreshed=None, **said, started_at=self.past.now, resumed_at=self.past.now
                )
            )
            assert world.contents(self.past.state) == before
        else:
            self.found_awake(key, ghost.host)

    @precondition(lambda self: any(vm.state in ASLEEP for vm in self.past.fleet.vms.values()))
    @rule(data=st.data())
    def somebody_wakes_one(self, data: st.DataObject) -> None:
        asleep = sorted(key for key, vm in self.past.fleet.vms.items() if vm.state in ASLEEP)
        key = data.draw(st.sampled_from(asleep), label="vm")
        self.found_awake(key, self.past.fleet.vms[key].host)

    def found_awake(self, key: Key, host: str) -> None:
        vm = self.past.fleet.vms[key]
        fact = VmFoundAwake(
            org=vm.org,
            vm=vm.name,
            pool=vm.pool,
            host=host,
            size=vm.size,
            reservation=derive("stray", *key, self.past.seq),
            observed_at=self.past.now,
        )
        self.truth.ghosts.pop(key, None)
        self.truth.running[key] = Domain(host, vm.size, fact.reservation, stray=True)
        self.proofs.append(self.past.happened(fact))

    # ----------------------------------------------------------------------------------------------- time and crashes

    @rule(seconds=TIMES)
    def time_passes(self, seconds: int) -> None:
        self.past.later(seconds)

    @rule(seconds=st.integers(1, 4))
    def another_gate_is_behind(self, seconds: int) -> None:
        """Its clock, or it was set back; what is decided next is decided earlier."""
        self.past.now = max(world.NOW, self.past.now - dt.timedelta(seconds=seconds))

    @precondition(lambda self: any(self.past.state.contracts.to_come(org) for org in ORGS))
    @rule(early=st.booleans())
    def the_day_of_an_addendum_comes(self, *, early: bool) -> None:
        """Or its last instant before, in which it is not yet the rule."""
        coming = [one for org in ORGS for one in self.past.state.contracts.to_come(org)]
        instant = min(one.effective_at for one in coming) - dt.timedelta(microseconds=early)
        self.past.now = max(self.past.now, instant)

    @rule()
    def a_gate_dies_and_reads_everything_again(self) -> None:
        self.past.state = world.refolded(self.past.lines)
        state = self.past.state
        former = (self.past.docket, self.past.usage, self.past.fleet)
        assert [vars(one) for one in former] == [
            vars(one) for one in (state.docket, state.usage, state.fleet)
        ]
        self.past.docket, self.past.usage, self.past.fleet = state.docket, state.usage, state.fleet

    # ---------------------------------------------------------------------------------------------------------- laws

    @invariant()
    def no_org_saves_more_at_once_on_a_host_than_that_has_hands_for(self) -> None:
        """Two orgs may together, where decisions about them cross: no fence is between them, and the waker holds the second bound."""
        saving = Counter((key[0], self.past.fleet.vms[key].host) for key in self.saving())
        assert all(vms <= MOST_SAVES for vms in saving.values())

    @invariant()
    def usage_is_what_may_run(self) -> None:
        world.check_totals(self.past.usage, self.truth)

    @invariant()
    def fleet_and_usage_agree(self) -> None:
        world.check_fleet(self.past.fleet, self.past.usage, self.truth)

    @invariant()
    def no_request_has_more_vms_than_it_was_granted(self) -> None:
        """A failed VM counts no more once another has its place: what failed is never counted beside what replaced it."""
        awake = Counter(
            vm.request
            for vm in self.past.fleet.vms.values()
            if vm.reservation is not None and vm.request is not None
        )
        assert all(vms <= self.granted.get(request, 0) for request, vms in awake.items())

    def teardown(self) -> None:
        """What waits is answered, nothing is answered twice, and from the ledger alone everything is so again."""
        for org in (PLATFORM, *ORGS):
            for _ in range(200):
                decision = world.decided(self.past, org)
                if decision is not None:
                    self.append(decision)
                elif list(self.past.docket.pending(org)):
                    self.past.later(3)  # nobody waits so long for a VM that falls asleep
                else:
                    break
            assert world.decided(self.past, org) is None
            assert not list(self.past.docket.pending(org))
        answered = [answer.request_seq for one in self.stored for answer in one.decided.answers]
        assert sorted(answered) == sorted(self.asked), "each request is answered once"
        assert world.contents(world.refolded(self.past.lines)) == world.contents(self.past.state)
        world.check_replay(self.past.lines, self.stored)


Cap.TestCase.settings = examples(200, steps=40)
TestTheCapHoldsForAnySequenceOfRequestsOutcomesPapersAndLosses = Cap.TestCase


@pytest.mark.parametrize("kind", [*world.FOLDS, Activations])
def test_a_copied_prefix_then_the_rest_is_the_whole(kind: Any) -> None:
    past = world.setting()
    past.org = "acme"
    past.scale(want=4)
    past.round()
    for vm in ("web-1", "web-2"):
        past.ready(vm)
        past.announced(vm)
    past.quiesce(count=1)
    past.round()
    past.quiesced("web-3")
    past.scale(add=2)
    past.round()
    assert any(isinstance(line.fact, ContractTookEffect) for line in past.lines)
    assert sum(isinstance(line.fact, GateDecided) for line in past.lines) == 3
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


def test_every_request_that_the_gate_answers_is_one_that_it_waits_for() -> None:
    assert set(Wish.__args__) >= set(Ruling.__args__)
