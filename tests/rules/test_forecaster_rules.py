"""What a pool shall have awake, and what is asked for, given what its forecast says and how it stands."""

import datetime as dt
from dataclasses import replace as replaced
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from events.forecast import ForecastMade, Outlook
from events.ids import derive
from schemas.intake import Quiesce, Save, Scale
from services.forecaster.decide import (
    HELD,
    LOWERED,
    UNMEASURED,
    Sight,
    Standing,
    Verdict,
    decide,
    instant,
    past_cap,
)
from tests.rules.forecast_desk import foreseen

NOW = dt.datetime(2026, 11, 22, 9, 0, tzinfo=dt.UTC)
EARLIER = NOW - dt.timedelta(minutes=5)
FLAT = Outlook(level=5000, slope=0, seasonal=None, margin=700, peak=None)


def seen(target: int = 6, **terms: Any) -> Sight:
    slope, peak = terms.pop("slope", 0), terms.pop("peak", None)
    outlook = terms.pop("outlook", replace(FLAT, slope=slope, peak=peak))
    usual: dict[str, Any] = {
        "target": target,
        "outlook": outlook,
        "measured_at": NOW,
        "away": False,
        "learnt": True,
    }
    return Sight(**(usual | terms))


def stands(staying: int = 6, **terms: Any) -> Standing:
    definition = foreseen(**terms.pop("pool", {}))
    usual: dict[str, Any] = {
        "pool": definition,
        "reserve": 2,
        "floor": 2,
        "staying": staying,
        "serving": staying,
        "most": 100,
        "frozen": False,
        "lost": False,
        "capped_at": None,
        "refused": False,
        "moved_at": None,
        "raising": 0,
        "lowering": False,
        "retry_at": None,
        "lacking": 0,
        "lowered": 0,
        "paused": 0,
        "rested": 0,
    }
    return Standing(**(usual | terms))


def told(target: int = 6, **terms: Any) -> ForecastMade:
    at = NOW - dt.timedelta(seconds=15)
    fact = ForecastMade(
        org="acme",
        pool="web",
        mode="on",
        reason="raised",
        since=at,
        made_at=at,
        ticks=1,
        target=target,
        target_min=target,
        target_max=target,
        reserve=2,
        want=target + 2,
        staying=target + 2,
        capped=False,
        outlook=FLAT,
        horizon_seconds=90,
        coverage_bp=9900,
        history_seconds=15,
        parameters=derive("p"),
        input=derive("i"),
        state_seq=1,
    )
    return replace(fact, **terms)


def refused() -> dict[str, Any]:
    """An episode past the cap whose one request is in the ledger."""
    return {"capped_at": EARLIER, "refused": True}


def rule(sight: Sight, standing: Standing, last: ForecastMade | None = None) -> Verdict:
    return decide(sight, standing, last if last is not None else told(sight.target), NOW)


# ------------------------------------------------------------------------------------------------------ what is wanted


def test_a_pool_shall_have_its_target_and_its_reserve_on_top() -> None:
    assert rule(seen(6), stands()).want == 8


def test_it_shall_never_have_less_than_its_floor_nor_more_than_its_maximum() -> None:
    assert rule(seen(0), stands(reserve=0, floor=4)).want == 4
    assert rule(seen(50), stands(pool={"max_vms": 9})).want == 9


def test_a_reserve_that_the_contract_does_not_leave_is_clipped_and_no_more_said() -> None:
    verdict = rule(seen(6), stands(6, most=7))
    assert (verdict.want, verdict.capped) == (7, False)
    assert [ask.want for ask in verdict.asks if isinstance(ask, Scale)] == [7]


def test_what_is_missing_is_asked_for_at_once_and_up_to_what_fits() -> None:
    [ask] = rule(seen(6), stands(3)).asks
    assert ask == Scale(pool="web", key="web@2026-11-22T09:00:00Z/scale", want=8, up_to=True)


def test_more_than_a_decision_can_move_is_asked_for_tick_by_tick() -> None:
    [ask] = rule(seen(500), stands(10, most=1000)).asks
    assert isinstance(ask, Scale)
    assert ask.want == 74


def test_in_forecast_only_mode_everything_is_said_and_nothing_asked() -> None:
    verdict = rule(seen(6), stands(3, pool={"forecast": "only"}), told(5, mode="only"))
    assert (verdict.want, verdict.asks, verdict.reason) == (8, (), "raised")


def test_a_frozen_pool_is_foreseen_and_left_alone() -> None:
    assert rule(seen(6), stands(3, frozen=True)).asks == ()
    assert rule(seen(6), stands(30, frozen=True)).asks == ()


def test_what_is_asked_for_already_is_not_asked_again_unless_it_is_less() -> None:
    assert rule(seen(6), stands(3, raising=8)).asks == ()
    assert rule(seen(6), stands(3, raising=7)).asks != ()


def test_after_a_refusal_nothing_is_asked_until_its_time() -> None:
    later = NOW + dt.timedelta(seconds=1)
    assert rule(seen(6), stands(3, retry_at=later)).asks == ()
    assert rule(seen(6), stands(3, retry_at=NOW)).asks != ()


def test_who_wants_more_than_hosts_had_no_room_for_asks_at_once() -> None:
    later = NOW + dt.timedelta(seconds=1)
    assert rule(seen(6), stands(3, retry_at=later, lacking=8)).asks == ()
    assert rule(seen(7), stands(3, retry_at=later, lacking=8)).asks != ()


# ------------------------------------------------------------------------------------------------------ lost signals

LONG_AGO = NOW - UNMEASURED


@pytest.mark.parametrize(
    ("sight", "standing"),
    [
        (seen(2, measured_at=LONG_AGO), stands(30)),
        (seen(2, away=True), stands(30)),
        (seen(2, measured_at=None), stands(30)),
        (seen(2), stands(30, lost=True)),
        (seen(2, slope=-20_000, measured_at=LONG_AGO), stands(30, paused=9, rested=9)),
    ],
)
def test_without_a_signal_what_is_awake_stays_and_it_is_told_once(sight: Sight, standing: Standing) -> None:
    verdict = rule(sight, standing)
    assert (verdict.want, verdict.asks, verdict.reason) == (30, (), "signal-lost")
    assert rule(sight, standing, told(2, reason="signal-lost")).reason is None


def test_a_pool_whose_samples_come_seldom_is_not_lost_unless_signal_says_so() -> None:
    seldom = seen(6, measured_at=LONG_AGO + dt.timedelta(seconds=15))
    assert rule(seldom, stands(8)).reason is None
    assert rule(seldom, stands(8, lost=True)).reason == "signal-lost"


def test_a_signal_that_is_found_is_told_and_the_pool_follows_it_again() -> None:
    verdict = rule(seen(6), stands(30), told(6, reason="signal-lost"))
    assert verdict.reason == "signal-found"
    assert verdict.want == 8


def test_a_reserve_that_fell_asleep_is_refilled_without_a_signal_too() -> None:
    verdict = rule(seen(6, measured_at=None), stands(1, floor=3), told(6, reason="signal-lost"))
    assert (verdict.want, verdict.reason) == (3, "signal-lost")
    assert [ask.want for ask in verdict.asks if isinstance(ask, Scale)] == [3]


# --------------------------------------------------------------------------------------------------------- putting to sleep


def leaving(sight: Sight, standing: Standing) -> int:
    return sum(ask.count for ask in rule(sight, standing).asks if isinstance(ask, Quiesce))


def test_a_plateau_loses_a_tenth_of_what_is_too_much_at_a_time_and_one_at_least() -> None:
    assert leaving(seen(6), stands(9)) == 1
    assert leaving(seen(6), stands(8 + 25)) == 3


def test_as_many_go_as_demand_falls_by_within_the_cooldown() -> None:
    assert leaving(seen(6, slope=-4000), stands(20)) == 4
    assert leaving(seen(6, slope=-4000), stands(20, pool={"horizon_seconds": 180})) == 2


def test_never_more_go_than_the_pools_limit_leaves_of_the_minute_nor_than_is_too_much() -> None:
    assert leaving(seen(6, slope=-40_000), stands(60)) == 8
    assert leaving(seen(6, slope=-40_000), stands(60, lowered=5)) == 3
    assert leaving(seen(6, slope=-40_000), stands(60, lowered=8)) == 0
    assert leaving(seen(6, slope=-40_000), stands(10)) == 2


def test_nothing_goes_while_demand_rises_or_before_the_cooldown_is_over() -> None:
    assert leaving(seen(6, slope=1000), stands(20)) == 0
    assert leaving(seen(6, slope=999), stands(20)) == 2
    assert leaving(seen(6), stands(20, moved_at=NOW - dt.timedelta(seconds=89))) == 0
    assert leaving(seen(6), stands(20, moved_at=NOW - dt.timedelta(seconds=90))) == 2


def test_nobody_goes_before_as_many_serve_as_are_wanted() -> None:
    assert leaving(seen(6), stands(20, serving=8)) == 0
    assert leaving(seen(6, slope=-40_000), stands(20, serving=11)) == 3


def test_nothing_goes_while_an_answer_is_awaited_or_the_past_is_not_learnt_yet() -> None:
    assert leaving(seen(6), stands(20, lowering=True)) == 0
    assert leaving(seen(6), stands(20, raising=30)) == 0
    assert leaving(seen(6, learnt=False), stands(20)) == 0


# ------------------------------------------------------------------------------------------------------ depth of sleep


def stay_paused(sight: Sight, standing: Standing) -> int | None:
    return next((ask.paused for ask in rule(sight, standing).asks if isinstance(ask, Save)), None)


def test_sleepers_that_the_week_does_not_need_soon_go_to_disk() -> None:
    assert stay_paused(seen(6, peak=9100), stands(8, paused=9, rested=9)) == 4


def test_those_that_fell_asleep_lately_stay_in_memory() -> None:
    assert stay_paused(seen(6, peak=0), stands(8, paused=9, rested=3)) == 6
    assert stay_paused(seen(6, peak=0), stands(8, paused=9, rested=0)) is None


def test_who_does_not_know_the_week_or_may_not_leaves_them_in_memory() -> None:
    assert stay_paused(seen(6, peak=None), stands(8, paused=9, rested=9)) is None
    assert stay_paused(seen(6, peak=0), stands(8, paused=9, rested=9, pool={"sleep": "paused"})) is None


# ------------------------------------------------------------------------------------------------------ what is told


def test_the_first_forecast_a_change_and_every_hour_are_told_and_nothing_else() -> None:
    assert decide(seen(6), stands(8), None, NOW).reason == "began"
    assert rule(seen(7), stands(9), told(6)).reason == "raised"
    assert rule(seen(5), stands(7), told(6)).reason is None
    assert rule(seen(5), stands(9), told(6)).reason == "lowered"  # and one goes
    assert rule(seen(5), stands(7), told(6, made_at=NOW - LOWERED)).reason == "lowered"
    assert rule(seen(6), stands(8), told(6)).reason is None
    old = told(6, made_at=NOW - HELD)
    assert rule(seen(6), stands(8), old).reason == "held"


@pytest.mark.parametrize(
    "former", [{"mode": "only"}, {"reserve": 1}, {"horizon_seconds": 60}, {"coverage_bp": 9500}]
)
def test_a_forecast_by_other_numbers_than_the_last_is_told(former: dict[str, Any]) -> None:
    assert rule(seen(6), stands(8), told(6, **former)).reason == "redefined"


def test_what_is_asked_for_is_told_with_its_reason() -> None:
    assert rule(seen(6), stands(7), told(6)).reason == "refilled"
    assert rule(seen(6), stands(9), told(6)).reason == "thinned"
    assert rule(seen(6, peak=0), stands(8, paused=9, rested=9), told(6)).reason == "rested"


# --------------------------------------------------------------------------------------------------------- for all

sights = st.builds(
    seen,
    st.integers(0, 200),
    slope=st.integers(-50_000, 50_000),
    peak=st.none() | st.integers(0, 100_000),
    measured_at=st.none() | st.sampled_from([NOW, NOW - dt.timedelta(seconds=60), LONG_AGO]),
    away=st.booleans(),
    learnt=st.booleans(),
)


@st.composite
def standings(draw: st.DrawFn) -> Standing:
    staying = draw(st.integers(0, 120))
    low = draw(st.integers(0, 20))
    return stands(
        staying,
        serving=draw(st.integers(0, staying)),
        reserve=draw(st.integers(0, 20)),
        floor=draw(st.integers(low, 40)),
        most=staying + draw(st.integers(0, 60)),
        lost=draw(st.booleans()),
        frozen=draw(st.booleans()),
        raising=draw(st.sampled_from([0, 0, 5, 80])),
        lowering=draw(st.booleans()),
        lowered=draw(st.integers(0, 10)),
        paused=draw(st.integers(0, 10)),
        rested=draw(st.integers(0, 10)),
        moved_at=draw(st.none() | st.sampled_from([NOW, NOW - dt.timedelta(hours=1)])),
        capped_at=draw(st.none() | st.just(EARLIER)),
        refused=draw(st.booleans()),
        pool={"max_vms": draw(st.integers(40, 150)), "min_vms": low},
    )


@given(sights, standings(), st.none() | st.builds(told, st.integers(0, 200), capped=st.booleans()))
def test_whatever_it_is_fed_it_wants_no_more_than_the_contract_leaves_and_no_less_than_the_floor(
    sight: Sight, standing: Standing, last: ForecastMade | None
) -> None:
    verdict = decide(sight, standing, last, NOW)
    assert verdict.want <= standing.most
    assert verdict.want <= max(standing.pool.max_vms, standing.floor)
    assert verdict.want >= min(standing.floor, standing.most, standing.pool.max_vms)
    assert len(verdict.asks) <= 1
    for ask in verdict.asks:
        assert verdict.reason is not None
        assert not standing.frozen
        match ask:
            case Scale(want=want):
                assert want is not None
                assert standing.staying < want <= standing.staying + 64
                assert want <= standing.pool.max_vms or want <= standing.floor
                if want > standing.most:
                    assert verdict.capped
                    assert standing.capped_at is None or not standing.refused
                    assert ask.key == past_cap("web", standing.capped_at or NOW)
                else:
                    assert ask.key == f"web@{instant(NOW)}/scale"
            case Quiesce(count=count):
                assert not standing.lost
                assert not sight.away
                assert sight.measured_at not in {None, LONG_AGO}
                assert standing.serving - count >= verdict.want
                assert count + standing.lowered <= standing.pool.quiesce_per_minute
            case Save(paused=paused):
                assert not standing.lost
                assert standing.paused - standing.rested <= paused < standing.paused


@given(sights, standings(), st.builds(told, st.integers(0, 200), capped=st.booleans()))
def test_who_asked_past_the_cap_asks_no_second_time_in_the_same_episode(
    sight: Sight, standing: Standing, last: ForecastMade
) -> None:
    asked = replaced(standing, **refused())
    verdict = decide(sight, asked, replace(last, capped=True), NOW)
    assert all(not isinstance(ask, Scale) or (ask.want or 0) <= standing.most for ask in verdict.asks)
