"""Nobody brings a pool below its warm reserve, and forecasts neither blindly nor all at once."""

import datetime as dt
from typing import Any

import pytest

from events.forecast import ForecastMade
from events.gate import Answer, DrainOrdered
from events.ids import derive
from events.scale import Origin
from events.sentences import sentence
from services.notifier.decide import is_refusal
from tests.given import ORG, Past


def setting(**pool: Any) -> Past:
    """A quota of 40 vCPU with a reserve of 10 %: two VMs of two vCPU."""
    terms: dict[str, Any] = {"forecast": "on", **pool}
    return Past().contract(vcpu=40, warm_reserve_bp=1000).pool("web", **terms).host()


@pytest.mark.parametrize("origin", ["person", "program", "trigger", "forecast"])
def test_nobody_brings_a_pool_below_its_warm_reserve(origin: Origin) -> None:
    past = setting().serving("web", 5)
    past.quiesce(count=5, origin=origin)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.granted, len(orders)) == ("partial", "WarmReserve", 3, 3)
    past.later(60)
    past.quiesce(count=1, origin=origin)
    past.later(90)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.granted, orders) == ("unchanged", "WarmReserve", 0, ())
    (line,) = answer.evidence
    assert (
        line.dimension,
        line.used,
        line.reserved,
        line.requested,
        line.projected,
        line.limit,
        line.quota,
    ) == (
        "pool_floor_vms",
        2,
        0,
        1,
        3,
        2,
        None,
    )


def test_a_person_is_told_what_the_reserve_is() -> None:
    past = setting().serving("web", 3)
    past.quiesce(count=3, origin="person")
    decided = past.round()
    assert sentence(ORG, decided.answers[0], decided.contract) == (
        "Pool acme/web: The pool may not go below its warm reserve, which takes what a forecast misses. 2 VMs are kept awake, 3 "
        "were to sleep, and 3 are there. 1 of 3 VMs were granted."
    )


def test_a_minimum_above_the_reserve_is_the_floor() -> None:
    past = setting(min_vms=4).serving("web", 5)
    past.quiesce(count=5)
    answer, _ = past.answer()
    assert (answer.code, answer.granted, answer.evidence) == ("AlreadyAtMin", 1, ())


@pytest.mark.parametrize("forecast", ["off", "only"])
def test_a_pool_that_no_forecast_moves_goes_down_to_its_minimum(forecast: str) -> None:
    past = setting(forecast=forecast).serving("web", 3)
    past.quiesce(count=3)
    assert past.answer()[0].granted == 3


def test_pools_that_forecasts_move_share_the_reserve() -> None:
    past = setting().pool("api", forecast="on").pool("jobs").serving("web", 3)
    past.quiesce(count=3)
    answer, _ = past.answer()
    assert (answer.code, answer.granted) == ("WarmReserve", 2)
    past.pool("api", forecast="only")
    past.quiesce(count=3)
    assert past.answer()[0].granted == 0, "its share is the whole reserve again"


def test_where_fewer_serve_than_could_go_that_is_the_reason() -> None:
    past = setting(forecast="off").serving("web", 1)
    past.waking("web", 4)
    past.quiesce(count=3)
    answer, _ = past.answer()
    assert (answer.code, answer.granted, answer.evidence) == ("NothingServing", 1, ())


@pytest.mark.parametrize(("pool", "code"), [({}, "WarmReserve"), ({"min_vms": 3}, "AlreadyAtMin")])
def test_what_is_kept_serves_and_is_not_on_its_way(pool: dict[str, Any], code: str) -> None:
    past = setting(**pool).serving("web", 4)
    kept = pool.get("min_vms", 2)
    past.scale(add=4, origin="person")
    past.quiesce(count=4, origin="person")
    grown, shrunk = past.round().answers
    assert grown.code == "Granted"
    assert (shrunk.outcome, shrunk.code, shrunk.granted) == ("partial", code, 4 - kept)
    assert len(past.fleet.members(ORG, "web", "serving")) == kept
    past.quiesce(count=1, origin="person")
    answer, _ = past.answer()
    assert (answer.outcome, answer.code) == ("unchanged", code)
    for vm in list(past.fleet.members(ORG, "web", "booting")):
        past.ready(vm)
        past.announced(vm)
    past.quiesce(count=4, origin="person")
    assert past.answer()[0].code == "Granted", "they serve by now"


@pytest.mark.parametrize("origin", ["trigger", "forecast"])
def test_while_the_signal_is_lost_nothing_is_put_to_sleep_automatically(origin: Origin) -> None:
    past = setting(sleep="auto").serving("web", 5).asleep("web", 2)
    past.lost()
    past.quiesce(count=2, origin=origin)
    past.save(origin=origin)
    assert [(one.code, one.outcome, one.asked) for one in past.round().answers] == [
        ("SignalStale", "refused", 2),
        ("SignalStale", "refused", 2),
    ]
    past.found()
    past.quiesce(count=2, origin=origin)
    past.save(origin=origin)
    assert [one.code for one in past.round().answers] == ["Granted", "Granted"]


@pytest.mark.parametrize("origin", ["person", "program"])
def test_who_knows_why_may_put_to_sleep_what_nobody_measures(origin: Origin) -> None:
    past = setting().serving("web", 5).asleep("web", 1)
    past.lost()
    past.quiesce(count=1, origin=origin)
    past.save(origin=origin)
    assert [one.code for one in past.round().answers] == ["Granted", "Granted"]


def test_a_lost_signal_of_one_pool_holds_no_other() -> None:
    past = setting().pool("jobs").serving("web", 5)
    past.lost("jobs")
    past.quiesce(count=1, origin="forecast")
    assert past.answer()[0].code == "Granted"


def test_forecasts_send_no_more_to_sleep_in_a_minute_than_the_pool_allows() -> None:
    past = setting(quiesce_per_minute=3).serving("web", 12)
    began = past.now
    past.quiesce(count=2, origin="forecast")
    assert past.answer()[0].code == "Granted"
    past.later(15)
    past.quiesce(count=2, origin="forecast")
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, answer.granted, len(orders)) == ("partial", "QuiesceRate", 1, 1)
    (line,) = answer.evidence
    assert (line.dimension, line.used, line.reserved, line.requested, line.projected, line.limit) == (
        "quiesce_per_minute",
        2,
        0,
        2,
        4,
        3,
    )
    past.later(15)
    past.quiesce(count=2, origin="forecast")
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("refused", "QuiesceRate", ())
    assert answer.retry_at == began + dt.timedelta(minutes=1)
    past.later(29.999_999)
    past.quiesce(count=2, origin="forecast")
    assert past.answer()[0].code == "QuiesceRate"
    past.later(0.000_001)
    past.quiesce(count=2, origin="forecast")
    answer, orders = past.answer()
    assert (answer.code, len(orders)) == ("Granted", 2)
    past.later(15)
    past.quiesce(count=1, origin="forecast")
    assert past.answer()[0].code == "Granted", "a minute after the step before the last one"


def test_the_rate_binds_forecasts_alone_and_counts_their_steps_alone() -> None:
    past = setting(quiesce_per_minute=2).serving("web", 12)
    past.quiesce(count=3, origin="program")
    past.quiesce(count=2, origin="forecast")
    assert [one.code for one in past.round().answers] == ["Granted", "Granted"]
    past.later(1)
    past.quiesce(count=3, origin="program")
    assert past.answer()[0].code == "Granted"


def test_the_rate_is_a_pools_own() -> None:
    past = (
        setting(quiesce_per_minute=1).pool("jobs", quiesce_per_minute=1).serving("web", 5).serving("jobs", 5)
    )
    past.quiesce("web", 1, origin="forecast")
    past.quiesce("jobs", 1, origin="forecast")
    assert [one.code for one in past.round().answers] == ["Granted", "Granted"]


def test_what_has_just_grown_a_forecast_lets_stand_for_the_cooldown() -> None:
    past = setting(cooldown_seconds=30).serving("web", 5).asleep("web", 1)
    past.scale(add=1, origin="person")
    past.round()
    past.later(29.999_999)
    past.quiesce(count=1, origin="forecast")
    answer, _ = past.answer()
    assert (answer.code, answer.retry_at) == ("Cooldown", past.now + dt.timedelta(microseconds=1))
    past.later(0.000_001)
    past.quiesce(count=1, origin="forecast")
    assert [type(one) for one in past.answer()[1]] == [DrainOrdered]


def test_of_two_limits_the_tighter_is_told_and_of_equal_ones_the_floor() -> None:
    past = setting(quiesce_per_minute=1).serving("web", 4)
    past.quiesce(count=5, origin="forecast")
    assert past.answer()[0].code == "QuiesceRate"
    past = setting(quiesce_per_minute=2).serving("web", 4)
    past.quiesce(count=5, origin="forecast")
    assert past.answer()[0].code == "WarmReserve"


def test_a_save_of_none_while_the_signal_is_lost_asks_for_none() -> None:
    past = setting().asleep("web", 1)
    past.lost()
    past.save(paused=3, origin="forecast")
    answer, _ = past.answer()
    assert (answer.code, answer.asked) == ("SignalStale", 0)


def refill(code: str, wanted: int, *, capped: bool = False, origin: Origin = "forecast") -> Answer:
    """Somebody else takes the last room in the very round in which the pool is to have so many VMs."""
    past = Past().contract(vcpu=10, allowance_bp=1000).pool("web", forecast="on").pool("jobs").host()
    past.asleep("web", 4).asleep("jobs", 2).serving("web", 3).serving("jobs", 1)
    if capped:
        past.happened(
            ForecastMade(
                org=ORG,
                pool="web",
                mode="on",
                reason="capped",
                since=past.now,
                made_at=past.now,
                ticks=1,
                target=4,
                target_min=4,
                target_max=4,
                reserve=1,
                want=4,
                staying=3,
                capped=True,
                outlook=None,
                horizon_seconds=90,
                coverage_bp=9900,
                history_seconds=0,
                parameters=derive("p"),
                input=derive("i"),
                state_seq=past.seq,
            )
        )
    past.scale("jobs", add=1)
    past.scale("web", want=wanted, up_to=True, origin=origin)
    jobs, web = past.round().answers
    assert (jobs.code, web.code) == ("Granted", code)
    return web


def test_what_lacks_only_of_the_reserve_is_neither_refused_nor_mailed() -> None:
    answer = refill("ReserveClipped", 4)
    assert (answer.outcome, answer.granted, is_refusal(answer)) == ("unchanged", 0, False)
    assert answer.evidence


def test_what_the_forecast_itself_lacks_is_refused_and_mailed() -> None:
    assert is_refusal(refill("CapExceeded", 5)), "one more than the reserve"
    assert is_refusal(refill("CapExceeded", 4, capped=True)), (
        "the ledger says that the forecast passes the cap"
    )
    assert is_refusal(refill("CapExceeded", 4, origin="program")), "whoever else asks wants no reserve"


def test_a_reserve_that_fits_in_part_is_granted_in_part() -> None:
    past = Past().contract(vcpu=40, warm_reserve_bp=2000).pool("web", forecast="on").host()
    past.asleep("web", 30).serving("web", 19)
    past.scale(want=23, up_to=True, origin="forecast")
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, len(orders)) == ("partial", "ReserveClipped", 3)
    assert not is_refusal(answer)
