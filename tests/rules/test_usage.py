"""Usage is a set: what a decision adds, what an outcome proves or releases, and what changes nothing."""

import pytest

from events.fact import Fact
from events.gate import GateDecided
from events.ids import derive
from events.vm import VmBooted, VmFoundAwake, VmQuiesced, VmResumed, VmStopped, VmWakeFailed
from projections.usage.fold import Holding
from schemas.capacity import NOTHING, Capacity
from tests.given import ORG, SMALL, Past

ONE = SMALL.compute


def setting() -> Past:
    return Past().contract(vcpu=100).pool("web").host()


def woken(past: Past, vm: str, reservation: str) -> tuple[Fact, Fact]:
    now = past.now
    resumed = VmResumed(
        depth="paused",
        refreshed=None,
        org=ORG,
        vm=vm,
        host="h1",
        reservation=reservation,
        started_at=now,
        resumed_at=now,
        attempts=1,
    )
    booted = VmBooted(
        org=ORG, vm=vm, host="h1", reservation=reservation, started_at=now, booted_at=now, attempts=1
    )
    return resumed, booted


def ended(past: Past, vm: str, reservation: str) -> tuple[Fact, Fact, Fact]:
    now = past.now
    return (
        VmQuiesced(org=ORG, vm=vm, host="h1", reservation=reservation, cause="ordered", quiesced_at=now),
        VmWakeFailed(
            org=ORG,
            vm=vm,
            host="h1",
            reservation=reservation,
            code="wake-refused",
            text="",
            found="off",
            observed_at=now,
        ),
        VmStopped(
            org=ORG,
            vm=vm,
            host="h1",
            reservation=reservation,
            asleep_since=None,
            cause="crashed",
            found="off",
            stopped_at=now,
        ),
    )


def found_awake(past: Past, vm: str = "web-1", told: str = "first") -> None:
    past.happened(
        VmFoundAwake(
            org=ORG,
            vm=vm,
            pool="web",
            host="h1",
            size=SMALL,
            reservation=derive("found", told),
            observed_at=past.now,
        )
    )


def counted(past: Past) -> tuple[Capacity, Capacity, int]:
    return past.usage.used(ORG), past.usage.reserved(ORG), past.usage.strays(ORG)


@pytest.mark.parametrize("way", [0, 1])
def test_what_is_ordered_awake_counts_at_once_and_is_proven_by_its_outcome(way: int) -> None:
    past = setting()
    assert counted(past) == (NOTHING, NOTHING, 0)
    (vm,) = past.waking("web", 1)
    assert counted(past) == (NOTHING, ONE, 0)
    proof = woken(past, vm, past.reservation(vm))[way]
    past.happened(proof)
    assert counted(past) == (ONE, NOTHING, 0)
    past.happened(proof)
    assert counted(past) == (ONE, NOTHING, 0)


@pytest.mark.parametrize("way", [0, 1, 2])
@pytest.mark.parametrize("proven", [False, True])
def test_only_proof_that_names_the_reservation_releases_it(way: int, *, proven: bool) -> None:
    past = setting()
    (vm,) = past.waking("web", 1)
    reservation = past.reservation(vm)
    if proven:
        past.happened(woken(past, vm, reservation)[0])
    before = counted(past)
    past.happened(ended(past, vm, "0" * 32)[way])
    past.happened(ended(past, "web-7", reservation)[way])
    assert counted(past) == before
    past.happened(ended(past, vm, reservation)[way])
    assert counted(past) == (NOTHING, NOTHING, 0)
    past.happened(ended(past, vm, reservation)[way])
    past.happened(woken(past, vm, reservation)[0])
    assert counted(past) == (NOTHING, NOTHING, 0), "nothing wakes again by being told of twice"


def test_somebody_elses_proof_proves_nothing() -> None:
    past = setting()
    (vm,) = past.waking("web", 1)
    past.happened(woken(past, vm, "0" * 32)[0])
    past.happened(woken(past, "web-7", past.reservation(vm))[1])
    assert counted(past) == (NOTHING, ONE, 0)


def test_a_stray_counts_as_awake_and_as_a_stray_until_it_sleeps() -> None:
    past = setting()
    found_awake(past)
    found_awake(past, "web-2", "second")
    assert counted(past) == (ONE * 2, NOTHING, 2)
    past.happened(ended(past, "web-1", past.reservation("web-1"))[0])
    assert counted(past) == (ONE, NOTHING, 1)
    found_awake(past)
    assert counted(past) == (ONE, NOTHING, 1), "the same finding told late is no second stray"


def test_a_vm_that_counts_already_is_no_stray_then_and_not_by_the_same_word_later() -> None:
    past = setting()
    (vm,) = past.waking("web", 1)
    found_awake(past, vm)
    assert counted(past) == (NOTHING, ONE, 0)
    past.happened(ended(past, vm, past.reservation(vm))[0])
    found_awake(past, vm)
    assert counted(past) == (NOTHING, NOTHING, 0)


def test_an_order_for_a_vm_that_counts_takes_its_place_and_is_not_added() -> None:
    past = setting().asleep("web", 1)
    found_awake(past)
    past.decided(past.wake("web-1"))
    assert counted(past) == (NOTHING, ONE, 0)


def test_a_decision_that_starts_nothing_still_moves_the_fence() -> None:
    past = setting()
    past.decided()
    stale = past.docket.fence_seq(ORG)
    past.decided()
    past.decided(past.boot("web", "web-1"))
    assert past.docket.fence_seq(ORG) > stale
    assert counted(past) == (NOTHING, ONE, 0)


def test_orgs_are_counted_apart() -> None:
    past = setting().serving("web", 2)
    past.waking("web", 1)
    assert past.usage.used("other") == past.usage.reserved("other") == NOTHING
    assert past.usage.strays("other") == 0


def test_a_decision_that_does_not_follow_the_last_one_counts_nothing() -> None:
    past = setting()
    stale = past.docket.fence_seq(ORG)
    past.decided(past.boot("web", "web-1"))
    late = GateDecided(
        org=ORG,
        gate="given",
        through=0,
        follows=stale,
        state_seq=past.seq,
        now=past.now,
        contract=None,
        rules="given",
        answers=(),
        orders=(past.boot("web", "web-2"),),
    )
    past.happened(late)
    assert counted(past) == (NOTHING, ONE, 0)


def test_what_is_held_is_told_with_its_pool_host_and_reservation() -> None:
    past = setting()
    (vm,) = past.waking("web", 1)
    found_awake(past, "web-2")
    assert past.usage.holdings == {
        (ORG, vm): Holding("web", "h1", SMALL, past.reservation(vm), proven=False),
        (ORG, "web-2"): Holding("web", "h1", SMALL, derive("found", "first"), proven=True, stray=True),
    }
