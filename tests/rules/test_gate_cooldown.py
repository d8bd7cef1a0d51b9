"""How old a measurement may be, and how long a pool stands still before it may shrink, or a trigger may raise it."""

import datetime as dt
from typing import Any

import pytest

from events.scale import Origin
from tests.given import Past


def setting(vcpu: int = 20, **pool: Any) -> Past:
    return Past().contract(vcpu=vcpu).pool("web", **pool).host()


@pytest.mark.parametrize(
    ("seconds", "code"), [(90.0, "Granted"), (90.000_001, "SignalStale"), (-5, "Granted")]
)
def test_a_measurement_counts_for_as_long_as_the_pool_looks_ahead(seconds: float, code: str) -> None:
    past = setting(cooldown_seconds=1).serving("web", 2)
    past.quiesce(origin="forecast", sample=past.measured(seconds))
    assert past.answer()[0].code == code
    past.scale(add=1, origin="forecast", sample=past.measured(seconds))
    assert past.answer()[0].code == code


def test_whoever_asks_without_a_measurement_is_never_stale() -> None:
    past = setting()
    scale = past.scale(add=1, received_at=past.now - dt.timedelta(days=1))
    assert scale.seq == past.seq
    assert past.answer()[0].code == "Granted"


@pytest.mark.parametrize("origin", ["trigger", "forecast"])
def test_what_came_may_go_by_itself_only_after_the_cooldown(origin: Origin) -> None:
    past = setting().serving("web", 3).asleep("web", 1)
    past.scale(add=1, origin="person")
    past.round()
    past.quiesce(origin=origin)
    answer, orders = past.answer()
    assert (answer.outcome, answer.code, orders) == ("refused", "Cooldown", ())
    assert answer.retry_at == past.now + dt.timedelta(seconds=90)
    past.later(89.999_999)
    past.quiesce(origin=origin)
    assert past.answer()[0].code == "Cooldown"
    past.later(0.000_001)
    past.quiesce(origin=origin)
    assert past.answer()[0].code == "Granted"
    past.quiesce(origin=origin)
    paced = "Cooldown" if origin == "trigger" else "Granted"
    assert past.answer()[0].code == paced, "what a forecast lowers step by step is paced by its rate"


@pytest.mark.parametrize("origin", ["person", "program"])
def test_a_person_or_program_shrinks_a_pool_at_any_time(origin: Origin) -> None:
    past = setting().serving("web", 3).asleep("web", 1)
    past.scale(add=1)
    past.round()
    past.quiesce(origin=origin)
    assert past.answer()[0].code == "Granted"


def test_a_forecast_raises_at_any_time_and_a_trigger_waits() -> None:
    past = setting().asleep("web", 4)
    past.trigger()
    past.round()
    past.scale(add=1, origin="forecast")
    past.scale(add=1, origin="program")
    past.trigger()
    forecast, program, trigger = past.round().answers
    assert (forecast.code, program.code, trigger.code) == ("Granted", "Granted", "Cooldown")


def test_the_cooldown_of_one_pool_holds_back_no_other_to_shrink() -> None:
    past = setting().pool("jobs").serving("web", 2).serving("jobs", 2)
    past.quiesce("jobs", 1)
    past.round()
    past.quiesce(origin="forecast")
    assert past.answer()[0].code == "Granted"


def test_a_request_that_moved_nothing_starts_no_cooldown() -> None:
    past = setting(vcpu=2).serving("web", 1)
    past.scale(add=5)
    past.stock(vms=1)
    past.round()
    past.quiesce(origin="forecast")
    assert past.answer()[0].code == "Granted"


def test_making_stock_is_no_move_of_the_pool() -> None:
    past = setting().serving("web", 1)
    past.stock(vms=2)
    past.round()
    past.quiesce(origin="forecast")
    assert past.answer()[0].code == "Granted"
