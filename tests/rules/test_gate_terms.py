"""What binds a request besides the cap: a freeze, the contract's own state, the age of its signal, and the cooldown."""

import datetime as dt
from typing import Any

import pytest

from events.contract import ContractTookEffect
from events.freeze import ScalingFrozen, ScalingThawed
from events.gate import DrainOrdered, WakeOrdered
from events.vm import VmFoundAwake
from schemas.capacity import Capacity
from schemas.contract.document import Signed
from schemas.contract.terms import Override, canonical, fingerprint
from tests import papers
from tests.given import NOW, ORG, SMALL, Past


def setting(vcpu: int = 20, **pool: Any) -> Past:
    return Past().contract(vcpu=vcpu).pool("web", **pool).host()


def frozen(past: Past, seconds: int, pool: str | None = "web") -> None:
    until = past.now + dt.timedelta(seconds=seconds)
    past.happened(
        ScalingFrozen(org=ORG, pool=pool, actor="ops", reason="audit", frozen_at=past.now, until=until)
    )


def stray(past: Past, vm: str = "web-1") -> None:
    past.happened(
        VmFoundAwake(
            org=ORG, vm=vm, pool="web", host="h1", size=SMALL, reservation="f" * 32, observed_at=past.now
        )
    )


# ---------------------------------------------------------------------------------------------------------- freezes


def test_while_a_pool_is_frozen_nothing_grows_shrinks_or_is_stocked_whoever_asks() -> None:
    past = setting().serving("web", 2).asleep("web", 2)
    frozen(past, 60)
    until = past.now + dt.timedelta(seconds=60)
    past.scale(add=1, origin="person")
    past.scale(want=9, up_to=True)
    past.trigger(add=3)
    past.quiesce(count=2, origin="person")
    past.stock(vms=9)
    past.scale(want=0)
    decided = past.round()
    assert [(one.outcome, one.code, one.asked, one.retry_at) for one in decided.answers] == [
        ("refused", "Frozen", 1, until),
        ("refused", "Frozen", 9, until),
        ("refused", "Frozen", 3, until),
        ("refused", "Frozen", 2, until),
        ("refused", "Frozen", 9, until),
        ("refused", "Frozen", 0, until),
    ]
    assert decided.orders == ()


def test_a_freeze_is_over_at_its_very_instant_and_holds_until_just_before() -> None:
    past = setting()
    frozen(past, 60)
    past.later(59.999_999)
    past.scale(add=1)
    assert past.answer()[0].code == "Frozen"
    past.later(0.000_001)
    past.scale(add=1)
    assert past.answer()[0].code == "Granted"


def test_one_frozen_pool_leaves_its_neighbour_and_a_frozen_org_does_not() -> None:
    past = setting().pool("jobs")
    frozen(past, 60)
    past.scale("jobs", add=1)
    assert past.answer()[0].code == "Granted"
    frozen(past, 30, pool=None)
    past.scale("jobs", add=1)
    assert past.answer()[0].code == "Frozen"


@pytest.mark.parametrize(("pool_seconds", "org_seconds"), [(60, 90), (90, 60)])
def test_of_two_freezes_the_one_that_lasts_longest_is_told(pool_seconds: int, org_seconds: int) -> None:
    past = setting()
    frozen(past, pool_seconds)
    frozen(past, org_seconds, pool=None)
    past.scale(add=1)
    assert past.answer()[0].retry_at == past.now + dt.timedelta(seconds=90)
    past.later(75)
    past.scale(add=1)
    assert past.answer()[0].code == "Frozen"
    past.later(15)
    past.scale(add=1)
    assert past.answer()[0].code == "Granted"


def test_a_freeze_that_is_set_anew_may_end_sooner() -> None:
    past = setting()
    frozen(past, 3600)
    frozen(past, 10)
    past.later(10)
    past.scale(add=1)
    assert past.answer()[0].code == "Granted"


def test_a_thaw_ends_the_freeze_of_its_pool_and_no_other() -> None:
    past = setting()
    frozen(past, 60)
    frozen(past, 60, pool=None)
    past.happened(ScalingThawed(org=ORG, pool="web", actor="ops", reason="done", thawed_at=past.now))
    past.scale(add=1)
    assert past.answer()[0].code == "Frozen"
    past.happened(ScalingThawed(org=ORG, pool=None, actor="ops", reason="done", thawed_at=past.now))
    past.scale(add=1)
    assert past.answer()[0].code == "Granted"


def test_a_thaw_that_comes_late_does_not_prolong_a_freeze() -> None:
    past = setting()
    frozen(past, 10)
    past.later(20)
    past.happened(ScalingThawed(org=ORG, pool="web", actor="ops", reason="done", thawed_at=past.now))
    frozen(past, 10, pool=None)
    past.later(10)
    past.scale(add=1)
    assert past.answer()[0].code == "Granted"


def test_what_was_begun_before_a_freeze_goes_on() -> None:
    past = setting().asleep("web", 1)
    stray(past)
    frozen(past, 60)
    assert [order.vm for order in past.round().orders] == ["web-1"]


# --------------------------------------------------------------------------------------------------------- contracts


def test_a_contract_that_nobody_signed_lets_nothing_grow_and_lets_everything_shrink() -> None:
    """Contracts of the first form were files without signatures; their orgs keep what they have until they sign."""
    past = setting().serving("web", 2)
    terms = papers.terms(ORG, 20)
    text = canonical(terms)
    past.happened(
        ContractTookEffect(
            org=ORG, document=Signed(text, ()), fingerprint=fingerprint(text), took_effect_at=past.now
        )
    )
    past.scale(add=1)
    past.stock(vms=9)
    past.quiesce(origin="person")
    grow, stock, shrink = past.round().answers
    assert (grow.outcome, grow.code) == ("refused", "ContractUnsigned")
    assert (stock.outcome, stock.code, stock.asked) == ("refused", "ContractUnsigned", 7)
    assert (shrink.outcome, shrink.code) == ("admitted", "Granted")


def test_a_contract_ends_at_its_last_instant() -> None:
    past = setting()
    past.now = NOW + dt.timedelta(hours=12) - dt.timedelta(microseconds=1)
    past.scale(add=1)
    assert past.answer()[0].code == "Granted"
    past.now = NOW + dt.timedelta(hours=12)
    past.scale(add=1)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("refused", "ContractExpired", ())


def test_an_expired_contract_stops_nobody_and_still_lets_a_pool_shrink() -> None:
    past = setting().serving("web", 2)
    past.now = NOW + dt.timedelta(hours=13)
    assert past.decide() is None
    past.quiesce(origin="forecast")
    assert past.answer()[0].code == "Granted"


def test_while_a_stray_is_awake_nothing_grows_and_the_pool_may_shrink() -> None:
    past = setting().serving("web", 1).asleep("web", 2)
    stray(past, "web-2")
    past.scale(add=1)
    past.stock(vms=9)
    grow, stock = past.round().answers
    assert {(grow.outcome, grow.code), (stock.outcome, stock.code)} == {("refused", "StrayAwake")}
    past.quiesce(origin="person")
    assert past.answer()[0].code == "Granted"


def test_an_addendum_below_use_stops_nobody_and_lets_nothing_grow_not_even_leavers_come_back() -> None:
    past = setting().serving("web", 5)
    past.happened(papers.took_effect(papers.terms(ORG, 6), past.now))  # a cap of 6, and 10 vCPU in use
    assert past.decide() is None
    past.quiesce(count=1)
    past.round()
    for up_to in (False, True):
        past.scale(add=1, up_to=up_to)
        answer, orders = past.answer()
        assert (answer.outcome, answer.code, answer.granted, orders) == ("refused", "CapExceeded", 0, ())
        assert (answer.evidence[0].projected, answer.evidence[0].limit) == (10, 6)
    assert past.usage.used(ORG) == SMALL.compute * 5


def test_exactly_at_a_lowered_cap_a_leaver_may_come_back() -> None:
    past = setting().serving("web", 5)
    past.happened(papers.took_effect(papers.terms(ORG, 10, allowance_bp=500), past.now))  # 10.5 is 10
    past.quiesce(count=1)
    past.round()
    past.scale(add=3, up_to=True)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.granted, len(orders)) == ("partial", "CapExceeded", 1, 1)


# ------------------------------------------------------------------------------------- numbers that a contract sets


def test_the_numbers_that_a_contract_sets_for_a_pool_are_the_ones_that_hold() -> None:
    override = Override(cooldown_seconds=5, horizon_seconds=7, drain_seconds=11, readiness_seconds=13)
    past = Past().contract(vcpu=20, pools={"web": override}).pool("web").pool("jobs").host()
    past.asleep("web", 3).asleep("jobs", 1)
    past.scale(add=1, sample=past.measured(8))
    assert past.answer()[0].code == "SignalStale"
    past.scale("jobs", add=1, sample=past.measured(8))
    (wake,) = past.answer()[1]
    assert isinstance(wake, WakeOrdered)
    assert wake.ready_seconds == 20
    past.trigger()
    (wake,) = past.answer()[1]
    assert isinstance(wake, WakeOrdered)
    assert wake.ready_seconds == 13
    past.trigger()
    assert past.answer()[0].retry_at == past.now + dt.timedelta(seconds=5)
    past.later(5)
    past.trigger()
    assert past.answer()[0].code == "Granted"
    past.ready(wake.vm)
    past.announced(wake.vm)
    past.quiesce(origin="person")
    (drain,) = past.answer()[1]
    assert isinstance(drain, DrainOrdered)
    assert drain.drain_seconds == 11


def test_what_a_contract_does_not_set_is_the_pools_own() -> None:
    past = Past().contract(vcpu=20, pools={"web": Override(drain_seconds=11)}).pool("web", cooldown_seconds=3)
    past.host()
    past.trigger()
    past.round()
    past.trigger()
    assert past.answer()[0].retry_at == past.now + dt.timedelta(seconds=3)


def test_a_quota_of_nothing_admits_nothing() -> None:
    past = Past().contract(quota=Capacity()).pool("web").host()
    past.scale(add=1, up_to=True)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("refused", "CapExceeded", ())


# ------------------------------------------------------------------------------------------------------ the order


def test_a_freeze_comes_before_every_other_reason() -> None:
    past = Past().pool("web")
    frozen(past, 60)
    past.scale(add=1)
    past.scale("nosuch", add=7)
    refused, unknown = past.round().answers
    assert (refused.code, unknown.code, unknown.asked) == ("Frozen", "PoolUnknown", 7)


def test_the_reasons_come_in_their_order() -> None:
    """Freeze, contract, stray, age of the signal, cooldown, cap, the pool's maximum: the first that binds is told."""
    past = Past().pool("web", max_vms=1).host()
    past.serving("web", 1)
    frozen(past, 1)

    def told() -> str:
        sample = past.measured(91)
        past.scale(add=1, origin="trigger", sample=sample)
        return past.answer()[0].code

    assert told() == "Frozen"
    past.later(1)
    assert told() == "ContractMissing"
    past.contract(vcpu=2)
    past.happened(
        VmFoundAwake(
            org=ORG,
            vm="web-9",
            pool="web",
            host="h1",
            size=SMALL,
            reservation="f" * 32,
            observed_at=past.now,
        )
    )
    assert told() == "StrayAwake"
    past.quiesced("web-9")
    assert told() == "SignalStale"
    past.scale(add=1, origin="trigger", sample=past.measured(0))
    assert past.answer()[0].code == "CapExceeded"
    past.contract(vcpu=20)
    past.scale(add=1)
    answer, _ = past.answer()
    assert (answer.outcome, answer.code) == ("unchanged", "AlreadyAtMax")
    assert [line.dimension for line in answer.evidence] == ["vcpu", "memory_mib", "pool_vms"]
