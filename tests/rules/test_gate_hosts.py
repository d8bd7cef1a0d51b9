"""Hosts: whoever is cordoned, fenced, admitted or removed, and what becomes of the VMs there, whichever way words cross."""

from typing import Any

import pytest

from events.dead import DeadHosts
from events.gate import SuspendOrdered
from events.host import (
    HostAdmitted,
    HostChangeRequested,
    HostCordoned,
    HostFenced,
    HostRegistered,
    HostRemoved,
)
from events.ids import derive
from events.vm import VmFoundAwake, VmResumed
from schemas.intake import Change
from schemas.names import PLATFORM
from services.gate.decide import decide
from tests.given import ORG, SMALL, Past


def setting(**pool: Any) -> Past:
    return Past().contract(vcpu=100).pool("web", **pool).host("h1").host("h2")


def change(past: Past, verb: Change, host: str = "h1") -> tuple[str, str]:
    """The operator asks for it, and the platform's gate answers; outcome and code."""
    past.happened(
        HostChangeRequested(
            org=PLATFORM,
            host=host,
            change=verb,
            publisher="operator",
            key=str(past.seq),
            actor="ops",
            reason="because",
            received_at=past.now,
        )
    )
    decision = decide(PLATFORM, past.state, now=past.now, gate="g1", state_seq=past.seq)
    assert decision is not None
    (answer,) = past.stored(decision).answers
    assert (answer.asked, answer.granted, answer.evidence, answer.pool) == (0, 0, (), None)
    if answer.outcome == "admitted":
        (fact,) = decision.facts
        assert (getattr(fact, "host", ""), getattr(fact, "actor", ""), getattr(fact, "reason", "")) == (
            host,
            "ops",
            "because",
        )
        assert fact.org == PLATFORM
        kinds = {"drain": HostCordoned, "admit": HostAdmitted, "fence": HostFenced, "remove": HostRemoved}
        assert type(fact) is kinds[verb]
        assert past.now in {getattr(fact, name, None) for name in fact.__struct_fields__}
    else:
        assert decision.facts == ()
    return answer.outcome, answer.code


def found_awake(past: Past, vm: str, host: str = "h1") -> None:
    past.happened(
        VmFoundAwake(
            org=ORG,
            vm=vm,
            pool="web",
            host=host,
            size=SMALL,
            reservation=derive("found", vm, past.seq),
            observed_at=past.now,
        )
    )


DONE = ("admitted", "Done")
ALREADY = ("unchanged", "AlreadyDone")


# ---------------------------------------------------------------------------------------------------- what is answered


@pytest.mark.parametrize(
    ("former", "verb", "expected"),
    [
        ((), "drain", DONE),
        ((), "admit", ALREADY),
        ((), "fence", DONE),
        ((), "remove", DONE),
        (("drain",), "drain", ALREADY),
        (("drain",), "admit", DONE),
        (("drain",), "fence", DONE),
        (("drain",), "remove", DONE),
        (("fence",), "drain", ("refused", "HostFenced")),
        (("fence",), "admit", DONE),
        (("fence",), "fence", ALREADY),
        (("fence",), "remove", DONE),
        (("remove",), "drain", ("refused", "HostUnknown")),
        (("remove",), "admit", ("refused", "HostUnknown")),
        (("remove",), "fence", ("refused", "HostUnknown")),
        (("remove",), "remove", ALREADY),
    ],
)
def test_what_may_become_of_an_empty_host(
    former: tuple[Change, ...], verb: Change, expected: tuple[str, str]
) -> None:
    past = setting()
    for before in former:
        assert change(past, before) == DONE
    assert change(past, verb) == expected


@pytest.mark.parametrize("verb", ["drain", "admit", "fence", "remove"])
def test_nobody_changes_a_host_that_was_never_heard_of(verb: Change) -> None:
    assert change(setting(), verb, "h9") == ("refused", "HostUnknown")


def test_a_host_on_which_somebody_is_awake_is_not_forgotten() -> None:
    past = setting().asleep("web", 1).serving("web", 1)
    assert change(past, "remove") == ("refused", "HostInUse")
    assert change(past, "remove", "h2") == DONE
    past.quiesce(count=1)
    past.round()
    assert change(past, "remove") == ("refused", "HostInUse"), "who drains is awake"


def test_a_host_of_sleepers_may_be_forgotten_and_they_are_gone_with_it() -> None:
    past = setting().asleep("web", 2)
    assert change(past, "remove") == DONE
    assert {vm.state for vm in past.fleet.vms.values()} == {"stopped"}
    assert past.fleet.free_mib("h1") == past.fleet.hosts["h1"].memory_mib
    past.scale(add=1)
    _, (order,) = past.answer()
    assert (order.vm, getattr(order, "host", "")) == ("web-3", "h2")


# --------------------------------------------------------------------------------------------------------- host loss


def test_a_silent_hosts_vms_count_until_it_is_fenced() -> None:
    past = setting().serving("web", 2).asleep("web", 1)
    past.later(86_400 / 4)
    assert past.usage.used(ORG) == SMALL.compute * 2
    assert change(past, "fence") == DONE
    assert past.usage.used(ORG).vcpu == 0
    assert past.fleet.awake("h1") == 0
    assert past.decide() is None
    past.scale(add=3)
    _, orders = past.answer()
    assert {getattr(order, "host", "") for order in orders} == {"h2"}


def test_a_reservation_on_a_host_that_is_fenced_is_released_and_its_late_outcome_counts_nothing() -> None:
    past = setting()
    past.scale(add=1)
    _, (order,) = past.answer()
    host, vm, reservation = getattr(order, "host", ""), order.vm, order.id
    assert change(past, "fence", host) == DONE
    assert past.usage.reserved(ORG).vcpu == 0
    past.happened(
        VmResumed(
            depth="paused",
            refreshed=None,
            org=ORG,
            vm=vm,
            host=host,
            reservation=reservation,
            started_at=past.now,
            resumed_at=past.now,
            attempts=1,
        )
    )
    assert past.usage.used(ORG).vcpu == 0


def test_a_domain_that_lives_on_a_host_that_was_declared_dead_counts_stops_growth_and_is_suspended() -> None:
    past = setting().serving("web", 1)
    change(past, "fence")
    found_awake(past, "web-1")
    assert past.usage.used(ORG) == SMALL.compute
    past.scale(add=1)
    decided = past.round()
    assert decided.answers[0].code == "StrayAwake"
    assert [(type(order), order.vm) for order in decided.orders] == [(SuspendOrdered, "web-1")]


def test_a_host_that_dies_after_it_was_wrongly_declared_dead_is_fenced_once_more() -> None:
    """Its strays count until somebody answers for it again; that it was fenced before says nothing about them."""
    past = setting().serving("web", 1)
    change(past, "fence")
    found_awake(past, "web-1")
    assert change(past, "fence") == DONE
    assert past.usage.strays(ORG) == 0
    assert change(past, "fence") == ALREADY
    past.scale(add=1)
    assert past.answer()[0].code == "Granted"


def test_an_admitted_host_carries_vms_again() -> None:
    past = setting()
    change(past, "remove", "h2")
    change(past, "fence")
    past.scale(add=1)
    assert past.answer()[0].code == "HostsFull"
    change(past, "admit")
    past.scale(add=1)
    answer, _ = past.answer()
    assert answer.code == "Granted"
    assert past.usage.reserved(ORG) == SMALL.compute


def test_a_vm_of_a_dead_host_boots_there_again_once_it_is_admitted() -> None:
    past = setting().asleep("web", 1)
    change(past, "fence")
    change(past, "admit")
    past.scale(add=1)
    _, (order,) = past.answer()
    assert (order.vm, getattr(order, "host", "")) == ("web-1", "h1")


# ------------------------------------------------------------------------------------------------ words that cross


@pytest.mark.parametrize("verb", ["fence", "remove"])
def test_an_order_behind_the_word_that_its_host_is_gone_is_void(verb: Change) -> None:
    """Two fences do not know of each other: the org's gate had not read the platform's word when it decided."""
    past = setting().asleep("web", 1)
    past.scale(add=2)
    decision = past.decide()
    assert decision is not None
    change(past, verb)
    past.stored(decision)
    assert past.usage.reserved(ORG).vcpu == 0
    assert past.usage.holdings == {}
    assert past.fleet.awake("h1") == 0
    assert {vm.state for vm in past.fleet.vms.values()} == {"stopped"}
    assert not list(past.docket.pending(ORG)), "it was answered"


def test_an_order_before_the_word_that_its_host_is_dead_is_released_by_it() -> None:
    past = setting().asleep("web", 1)
    past.scale(add=2)
    past.round()
    assert past.usage.reserved(ORG) == SMALL.compute * 2
    change(past, "fence")
    assert past.usage.holdings == {}


def test_an_order_before_the_word_that_its_host_was_removed_counts_until_the_host_is_fenced() -> None:
    past = setting().asleep("web", 1)
    past.happened(
        HostChangeRequested(
            org=PLATFORM,
            host="h1",
            change="remove",
            publisher="operator",
            key="k",
            actor="ops",
            reason="gone",
            received_at=past.now,
        )
    )
    removal = decide(PLATFORM, past.state, now=past.now, gate="g1", state_seq=past.seq)
    assert removal is not None
    past.scale(add=1)
    past.round()
    past.stored(removal)
    assert past.fleet.hosts["h1"].state == "removed"
    assert past.usage.reserved(ORG) == SMALL.compute
    assert change(past, "admit") == ("refused", "HostUnknown")
    assert change(past, "remove") == ALREADY
    assert change(past, "fence") == DONE
    assert past.usage.holdings == {}
    assert past.fleet.awake("h1") == 0


def test_a_removed_host_that_registers_again_carries_vms_also_when_it_was_fenced_before() -> None:
    past = setting()
    change(past, "remove", "h2")
    change(past, "fence")
    change(past, "remove")
    past.host("h1")
    assert past.fleet.hosts["h1"].state == "ready"
    past.scale(add=1)
    past.round()
    assert past.usage.reserved(ORG) == SMALL.compute, "an order on a host that is ready is not void"


@pytest.mark.parametrize("verb", ["drain", "fence"])
def test_a_host_that_registers_again_stays_what_it_was_declared(verb: Change) -> None:
    past = setting()
    change(past, verb)
    state = past.fleet.hosts["h1"].state
    past.host("h1")
    assert past.fleet.hosts["h1"].state == state


def test_the_last_word_about_a_host_is_the_one_that_holds() -> None:
    past, dead = setting(), DeadHosts()
    who = {"org": PLATFORM, "host": "h1", "actor": "ops", "reason": "r"}
    fenced, removed = HostFenced(**who, fenced_at=past.now), HostRemoved(**who, removed_at=past.now)
    admitted = HostAdmitted(**who, admitted_at=past.now)
    registered = next(line.fact for line in past.lines if isinstance(line.fact, HostRegistered))
    for facts, is_dead in [
        ((), False),
        ((fenced,), True),
        ((fenced, registered), True),
        ((fenced, admitted), False),
        ((fenced, removed), True),
        ((fenced, removed, registered), False),
        ((removed, fenced, registered), True),
        ((removed, registered), False),
        ((removed, admitted), True),
    ]:
        dead = DeadHosts()
        for fact in facts:
            dead.apply(fact)
        assert ("h1" in dead) == is_dead, facts
        assert "h2" not in dead
