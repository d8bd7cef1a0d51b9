"""The small worlds can fail: what the protocol stands on is taken away, one part at a time, and is missed."""

from dataclasses import replace

import pytest
from msgspec import structs

from events.dead import DeadHosts
from events.envelope import Recorded
from events.fences import Fences
from events.gate import GateDecided
from projections.usage.fold import Usage
from schemas.capacity import NOTHING, Capacity
from services.gate.state import Docket, State
from tests.given import Past
from tests.model.book import Book
from tests.model.explore import Explorer
from tests.model.steps import SmallSteps
from tests.model.told import story
from tests.model.truth import Law
from tests.model.worlds import BOTH, DEATH, ONE, Protocol, World, scale, two_fit, two_hosts


def one_of_two_sleepers() -> Past:
    """An envelope of one, and two VMs that sleep."""
    return Past().contract(vcpu=1).host().pool("web", ONE).asleep("web", 2)


AWAKE = World("two wake one, one fits", one_of_two_sleepers, (scale("a"), scale("b")), 1)
CALM = replace(AWAKE, crashes=0, late=0)
THREE = World("three want one or two, two fit", two_fit, (scale("a"), scale("b", add=2), scale("c")), 2)

NO_FENCE = Protocol(expects=lambda _: None)


class EveryEnding(Usage):
    """An outcome ends whatever the VM holds now, also one that speaks of a former life."""

    def _release(self, org: str, vm: str, reservation: str | None) -> None:
        holding = self.holdings.get((org, vm))
        super()._release(org, vm, holding.reservation if holding is not None else reservation)


class OnlyProven(Usage):
    """What was ordered counts only once it is proven to run."""

    def reserved(self, org: str) -> Capacity:
        return NOTHING


class NoThrough(Docket):
    """Whoever reads a decision does not take `through` for the end of what it answers."""

    def apply(self, recorded: Recorded) -> None:
        fact = recorded.fact
        if isinstance(fact, GateDecided):
            recorded = structs.replace(recorded, fact=structs.replace(fact, through=0))
        super().apply(recorded)


def broken(world: World, law: Law) -> str:
    """The ledger that breaks the law; empty when no way through the world does."""
    book = Book(world)
    found = Explorer(SmallSteps(book), until=law).run()
    if law not in found.broken:
        return ""
    sentence, page = found.broken[law]
    return f"{sentence.sentence}\n{story(book, page)}"


@pytest.mark.parametrize("law", ["cap", "once", "counted", "asleep"])
def test_nothing_is_broken_while_the_protocol_is_whole(law: Law) -> None:
    assert broken(AWAKE, law) == ""


def test_without_the_fence_an_interleaving_overruns_the_envelope() -> None:
    told = broken(replace(CALM, protocol=NO_FENCE), "cap")
    print(told)
    assert "past 1" in told


def test_without_the_fence_a_request_is_answered_twice() -> None:
    told = broken(replace(AWAKE, protocol=NO_FENCE), "once")
    print(told)
    assert "second answer" in told


def test_the_chain_of_decisions_is_no_fence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readers that take every decision for the next one: with the fence they see no other, without it they overrun."""

    def pass_on(self: Fences, recorded: Recorded, decided: GateDecided) -> bool:
        self._last[decided.org] = recorded.seq
        return True

    monkeypatch.setattr(Fences, "pass_on", pass_on)
    assert broken(AWAKE, "cap") == ""
    assert "past 1" in broken(replace(CALM, protocol=NO_FENCE), "cap")


def test_a_foreign_outcome_that_released_a_reservation_would_overrun_the_envelope() -> None:
    world = replace(THREE, protocol=Protocol(state=lambda: State(usage=EveryEnding())))
    told = broken(world, "cap")
    print(told)
    assert "past 2" in told


def test_capacity_that_counted_only_once_proven_would_overrun_the_envelope() -> None:
    world = replace(AWAKE, protocol=Protocol(state=lambda: State(usage=OnlyProven())))
    assert "past 1" in broken(world, "cap")


def test_without_through_a_request_is_answered_twice() -> None:
    world = replace(AWAKE, protocol=Protocol(state=lambda: State(docket=NoThrough())))
    assert "second answer" in broken(world, "once")


def test_an_order_on_a_host_that_was_declared_dead_would_count_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The org's decision and the platform's stand on two fences, and cross: whoever folds must void the order."""
    world = World("", two_hosts, DEATH[:2], 2, orgs=BOTH)
    assert broken(world, "counted") == ""
    monkeypatch.setattr(DeadHosts, "__contains__", lambda _, __: False)
    assert "and {} run" in broken(world, "counted").replace("set()", "{}")
