"""What if: which answers change by other rules, what is modelled, and what nobody can say."""

from fractions import Fraction
from typing import Any

import pytest

from replay.metering import HOUR_NS, ns_of
from replay.whatif.answers import Changed
from replay.whatif.asking import WhatIf, what_if
from replay.whatif.costs import costs, rate
from replay.whatif.rules import ContractSet, PoolSet, Rules, WhatIfError
from replay.whatif.wording import document
from schemas.contract.terms import Override
from tests.rules.retold import HOUR, Lines, Told

TWENTY = Rules(contracts=(ContractSet("acme", allowance_bp=2000),))
WEB = ("acme", "web")


def at_cap(asleep: int = 3, **terms: Any) -> Told:
    """Five VMs of 2 vCPU serve, of a quota of 10 and a cap of 11 vCPU; some sleep."""
    past = Told()
    past.contract(vcpu=10, **terms).pool("web").host().serving("web", 5).asleep("web", asleep)
    return past.begin()


def only(told: WhatIf) -> Changed:
    (one,) = told.changed
    return one


def more_ns(told: WhatIf) -> int:
    return told.now[WEB].vm_ns - told.then[WEB].vm_ns


# ------------------------------------------------------------------------------------------------ answers that change


def test_a_refusal_past_the_cap_is_admitted_by_a_higher_allowance() -> None:
    past = at_cap()
    assert past.answered(past.scale(add=1)) == []
    changed = only(past.again(TWENTY))
    assert (changed.then.answer.code, changed.now.answer.code) == ("CapExceeded", "Granted")
    assert changed.effect == "refusal avoided"
    assert changed.now.contract is not None
    assert changed.now.contract.allowance_bp == 2000


def test_an_admitted_request_is_refused_by_a_lower_quota_and_what_came_of_it_is_dropped() -> None:
    past = Told()
    past.contract(vcpu=10).pool("web").host().serving("web", 2).asleep("web", 2)
    past.begin()
    (vm,) = past.answered(past.scale(add=1))
    past.served(vm, 2)
    past.later(3600)
    past.scale(add=1)
    past.round()
    told = past.again(Rules(contracts=(ContractSet("acme", quota={"vcpu": 4}),)))
    assert [one.effect for one in told.changed] == ["newly refused", "newly refused"]
    assert told.models == {}
    # The VM that was woken then sleeps on: an hour of it is not spent, and the two seconds that it took to wake.
    assert more_ns(told) == -(3602 * 10**9 + past.seq - past.first - 1)


def test_a_pools_maximum_is_set_for_the_one_pool() -> None:
    past = Told()
    past.contract(vcpu=100).pool("web", max_vms=2).pool("db", max_vms=2).host()
    past.serving("web", 2).serving("db", 2)
    past.begin()
    for pool in ("web", "db"):
        past.scale(pool, add=1)
        past.round()
    changed = only(past.again(Rules(pools=(PoolSet("acme", "web", {"max_vms": 3}),))))
    assert changed.then.answer.pool == "web"
    assert (changed.then.answer.code, changed.now.answer.code) == ("AlreadyAtMax", "Granted")


def test_an_answer_that_is_the_same_by_other_numbers_is_counted_and_not_listed() -> None:
    past = at_cap()
    past.scale(add=4)
    past.round()
    told = past.again(TWENTY)
    assert (told.changed, told.renumbered, told.refused_now) == ((), 1, 1)


def test_what_a_contract_sets_for_a_pool_gives_way_to_what_is_set() -> None:
    past = Told()
    past.contract(vcpu=100, pools={"web": Override(cooldown_seconds=300)})
    past.pool("web", cooldown_seconds=10).host().asleep("web", 4)
    past.begin()
    past.answered(past.trigger())
    past.later(60)
    past.trigger()
    past.round()
    assert past.again(Rules(pools=(PoolSet(None, "web", {"horizon_seconds": 80}),))).changed == ()
    changed = only(past.again(Rules(pools=(PoolSet(None, "web", {"cooldown_seconds": 30}),))))
    assert (changed.then.answer.code, changed.now.answer.code) == ("Cooldown", "Granted")


def test_a_document_that_takes_effect_within_the_window_says_what_is_set_as_well() -> None:
    past = at_cap()
    past.contract(vcpu=10, allowance_bp=500)
    past.scale(add=1)
    past.round()
    assert only(past.again(TWENTY)).now.answer.code == "Granted"


# --------------------------------------------------------------------------------------- what follows from new answers


def test_usage_is_folded_from_the_new_answers() -> None:
    """One more VM fits a cap of 12 vCPU, and no second one."""
    past = at_cap()
    for _ in range(2):
        past.scale(add=1)
        past.round()
        past.later(5)
    told = past.again(TWENTY)
    assert only(told).then.answer.request_seq == past.first
    assert told.refused_then - told.refused_now == 1


def test_a_cooldown_is_folded_from_the_new_answers() -> None:
    """What was refused at the cap is admitted, so that the cooldown begins there, and the next trigger meets it."""
    past = at_cap(asleep=5)
    past.pool("web", cooldown_seconds=90, readiness_seconds=86_400)
    past.trigger()
    past.round()
    past.later(30)
    past.trigger()
    past.round()
    told = past.again(Rules(contracts=(ContractSet("acme", quota={"vcpu": 100}),)))
    assert [one.now.answer.code for one in told.changed] == ["Granted", "Cooldown"]


def test_a_vm_that_never_woke_serves_after_the_median_of_those_that_did() -> None:
    past = Told()
    past.contract(vcpu=10).pool("web", min_vms=0).host().serving("web", 3).asleep("web", 4)
    past.begin()
    for seconds in (2, 7, 30):
        past.later(10)
        woken = past.answered(past.scale(add=1))
        for vm in woken:
            past.served(vm, seconds)
    past.later(3)
    past.scale(add=1)
    past.round()
    past.later(4.5)
    past.host("h2")
    told = past.again(Rules(contracts=(ContractSet("acme", quota={"vcpu": 64}),)))
    assert {basis for _, basis in told.models} <= {"median of 2 recorded in the window"}
    assert told.models == {("wake", "median of 2 recorded in the window"): 2}


def test_where_no_wake_was_recorded_the_pools_readiness_time_is_taken_and_said() -> None:
    past = at_cap()
    past.scale(add=1)
    past.round()
    past.later(19)
    past.host("h2")
    assert past.again(TWENTY).models == {}
    past.later(2)
    past.host("h3")
    told = past.again(TWENTY)
    assert told.models == {("wake", "none recorded: readiness time"): 1}
    assert told.modelled == {only(told).now.answer.request}


def test_what_the_contract_says_of_a_pools_readiness_goes_before_the_pools_own() -> None:
    past = at_cap(pools={"web": Override(readiness_seconds=600)})
    past.scale(add=1)
    past.round()
    past.later(590)
    past.host("h2")
    assert past.again(TWENTY).models == {}
    past.later(20)
    past.host("h3")
    assert past.again(TWENTY).models == {("wake", "none recorded: readiness time"): 1}


def test_an_outcome_that_was_recorded_for_the_same_order_is_kept_and_only_the_others_are_modelled() -> None:
    past = Told()
    past.contract(vcpu=10).pool("web").host().serving("web", 4).asleep("web", 3)
    past.begin()
    (vm,) = past.answered(past.scale(add=3, up_to=True))
    past.served(vm, 1)
    past.later(60)
    past.host("h2")
    told = past.again(TWENTY)
    assert only(told).effect == "more granted"
    assert told.models == {("wake", "median of 1 recorded in the window"): 1}


def test_a_vm_that_was_modelled_is_drained_and_put_to_sleep_by_rounds_that_no_gate_gave() -> None:
    past = at_cap()
    past.answered(past.scale(add=1))
    past.later(100)
    leaving = past.answered(past.quiesce(count=6))
    assert len(leaving) == 5
    for vm in leaving:
        past.drained(vm)
    for vm in past.answered_steps():
        past.quiesced(vm)
    past.later(3600)
    past.host("h2")
    told = past.again(TWENTY)
    assert [one.effect for one in told.changed] == ["refusal avoided", "more granted"]
    assert {trip: count for (trip, _), count in told.models.items()} == {"wake": 1, "drain": 1, "suspend": 1}
    # 100 s until it is drained, the drain as the others' median (at once), the suspend too.
    assert 0 <= more_ns(told) - 100 * 10**9 < 10**9


def test_a_drain_that_was_cancelled_then_and_not_now_ends_after_its_time() -> None:
    past = Told()
    past.contract(vcpu=100).pool("web", max_vms=4).host().serving("web", 4)
    past.begin()
    past.answered(past.quiesce(count=1))
    past.later(5)
    (back,) = past.answered(past.scale(add=1))
    past.later(5)
    past.announced(back)
    past.later(3600)
    past.host("h2")
    told = past.again(Rules(pools=(PoolSet("acme", "web", {"max_vms": 3}),)))
    assert {one.now.answer.code for one in told.changed} == {"AlreadyAtMax"}
    assert {trip: count for (trip, _), count in told.models.items()} == {"drain": 1, "suspend": 1}
    # It counts until it is drained (45 s) and asleep (1 s) instead of to the end.
    assert more_ns(told) == pytest.approx(-(3610 - 46) * 10**9, abs=1000)


def test_a_domain_that_died_dies_in_the_new_course_as_well() -> None:
    past = at_cap()
    past.answered(past.scale(add=1))
    past.later(10)
    past.died("web-1")
    past.later(3600)
    past.scale(add=1)
    past.round()
    told = past.again(TWENTY)
    assert only(told).then.answer.request_seq == past.first
    assert (told.then[WEB].vms, told.now[WEB].vms) == (5, 6)


# ------------------------------------------------------------------------------------------------------------ costs


def test_hours_are_counted_from_the_decision_on_and_cost_what_the_contract_says_of_an_hour() -> None:
    past = at_cap(price_eur_cents_month=730_000)
    past.scale(add=1)
    past.round()
    past.later(3600)
    past.host("h2")
    told = past.again(TWENTY)
    (cost,) = costs(told)
    ns = more_ns(told)
    assert abs(ns - HOUR_NS) < 1000
    assert cost.vm_hours_now - cost.vm_hours_then == Fraction(ns, HOUR_NS)
    assert cost.vcpu_hours_now - cost.vcpu_hours_then == 2 * Fraction(ns, HOUR_NS)
    # 7,300 EUR for 10 vCPU and 730 hours: one EUR for an hour of one.
    assert rate(told.contracts["acme"]) == 1
    assert cost.eur_more == 2 * Fraction(ns, HOUR_NS)


def test_a_contract_without_a_price_has_no_rate() -> None:
    told = at_cap().again()
    assert rate(told.contracts["acme"]) is None
    assert rate(None) is None


# ----------------------------------------------------------------------------------------------------- the questions


def test_with_nothing_set_nothing_changes_and_every_round_is_the_recorded_one() -> None:
    past = at_cap()
    past.scale(add=1)
    past.round()
    told = past.again()
    assert (told.rounds, told.same, told.unlike, told.changed) == (1, 1, None, ())


def test_a_round_that_these_rules_would_not_give_is_found() -> None:
    past = at_cap()
    past.scale(add=1)
    past.decided(through=past.seq)
    unlike = past.again().unlike
    assert unlike is not None
    assert unlike.again is not None
    assert unlike.again.decided.answers[0].code == "CapExceeded"


@pytest.mark.parametrize(
    ("rules", "sentence"),
    [
        (Rules(contracts=(ContractSet("globex", 500),)), "Org globex had no contract in force up to here."),
        (Rules(pools=(PoolSet("acme", "db", {"max_vms": 1}),)), "Org acme has no pool db up to here."),
        (Rules(pools=(PoolSet(None, "db", {"max_vms": 1}),)), "No org has a pool db up to here."),
        (Rules(pools=(PoolSet(None, "web", {"min_vms": 2, "max_vms": 1}),)), "at least 2 and at most 1 VMs"),
    ],
)
def test_what_is_set_for_nobody_or_cannot_hold_is_refused_in_a_sentence(rules: Rules, sentence: str) -> None:
    with pytest.raises(WhatIfError) as refused:
        at_cap().again(rules)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    "rules",
    [
        Rules(contracts=(ContractSet("globex", allowance_bp=2000),)),
        Rules(pools=(PoolSet(None, "db", {"max_vms": 3}),)),
        Rules(pools=(PoolSet("globex", "web", {"max_vms": 3}),)),
    ],
)
async def test_what_is_set_for_nobody_is_refused_before_anything_is_decided_again(rules: Rules) -> None:
    past = at_cap()
    past.later(3600)
    past.host("h2")
    for first in (1, past.first, past.seq):
        seen: list[tuple[int, int]] = []

        def told(done: int, total: int, seen: list[tuple[int, int]] = seen) -> None:
            seen.append((done, total))

        with pytest.raises(WhatIfError, match="Nothing was decided again"):
            await what_if(Lines(past.stored_lines()), rules, first, None, told)
        assert all(done < total for done, total in seen), "the window was read a second time"


async def test_what_is_set_for_a_pool_that_comes_within_the_window_is_answered() -> None:
    past = at_cap()
    first = past.seq + 1
    past.pool("db")
    past.later(3600)
    past.host("h2")
    rules = Rules(pools=(PoolSet(None, "db", {"max_vms": 3}),))
    assert (await what_if(Lines(past.stored_lines()), rules, first)).answers == 0


async def test_a_window_is_named_by_sequences_or_instants_and_read_from_any_source() -> None:
    past = at_cap()
    began = past.now
    past.scale(add=1)
    past.round()
    past.later(10)
    past.scale(add=1)
    past.round()
    past.later(3600)
    past.host("h2")
    source = Lines(past.stored_lines())
    seen: list[tuple[int, int]] = []
    whole = await what_if(source, TWENTY, past.first, None, lambda done, total: seen.append((done, total)))
    assert (whole.changed, whole.then, whole.now) == (
        past.again(TWENTY).changed,
        past.again(TWENTY).then,
        past.again(TWENTY).now,
    )
    assert seen[-1][0] == seen[-1][1]
    assert seen == sorted(seen)
    timed = await what_if(source, TWENTY, began, began + HOUR)
    assert (timed.first_seq, timed.last_seq) == (past.first, past.seq - 1)
    assert timed.first_ns == ns_of(began) + past.first
    with pytest.raises(WhatIfError):
        await what_if(source, TWENTY, past.seq + 1)


def test_the_document_names_every_number_and_says_what_is_modelled() -> None:
    past = at_cap(price_eur_cents_month=730_000)
    past.scale(add=1)
    past.round()
    past.later(3600)
    past.host("h2")
    told = document(past.again(TWENTY), ("acme.allowance=20%",))
    assert told["answers"] == {
        "recorded": 1,
        "changed": 1,
        "same_by_other_numbers": 0,
        "undecidable": 0,
        "unanswered": 0,
        "refused_then": 1,
        "refused_now": 0,
        "refused_then_without_an_answer_now": 0,
        "refusals_avoided": 1,
        "newly_refused": 0,
    }
    (row,) = told["changed"]  # type: ignore[misc]
    assert row["then"]["numbers"] == "12 of 11 vCPU"
    assert row["now"]["numbers"] == "12 of 12 vCPU"
    assert row["outcome_now"] == "modelled"
    (pool,) = told["pools"]  # type: ignore[misc]
    assert (pool["vm_hours_more"], pool["vcpu_hours_more"], pool["eur_more"]) == ("1.000", "2.000", "2.00")
