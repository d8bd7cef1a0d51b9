"""What a forecast asks where hosts have no room, or are left alone for a while: neither for ever nor not at all."""

import datetime as dt

from events.breaker import BreakerOpened
from schemas.capacity import Size
from schemas.intake import Scale
from schemas.names import FORECAST
from services.forecaster.decide import Standing
from services.forecaster.state import RETRY, Orgs, State
from tests.given import ORG, Past
from tests.rules.test_forecaster_rules import rule, seen, stands
from tests.rules.test_gate_silent import hanging

LARGE = Size(name="large", vcpu=2, memory_mib=512)


def standing(past: Past) -> Standing:
    """How the forecaster sees the pool by now."""
    state = State()
    for line in past.lines:
        state.apply(line)
    return Orgs(state, past.now, past.seq).standing(ORG, "web")


def want(past: Past, vms: int) -> str:
    """The forecaster wants so many; how the gate answers."""
    past.scale(want=vms, up_to=True, origin="forecast", publisher=FORECAST)
    return past.answer()[0].code


def test_a_breaker_of_one_host_keeps_a_forecast_from_asking_no_longer_than_hosts_that_are_full() -> None:
    past = Past().contract(vcpu=400).pool("web", size=LARGE, forecast="on").host().host("h2", 512)
    half_an_hour = past.now + dt.timedelta(minutes=30)
    past.happened(
        BreakerOpened(
            org=ORG,
            pool="web",
            scope="host",
            name="h1",
            failures=8,
            code="wake-refused",
            opened_at=past.now,
            until=half_an_hour,
        )
    )
    assert want(past, 6) == "BreakerOpen"
    assert standing(past).retry_at == past.now + RETRY
    past.later(29 * 60)
    assert want(past, 6) == "BreakerOpen"
    assert standing(past).retry_at == half_an_hour, "it ends sooner"


def test_hosts_that_lacked_the_room_for_so_many_are_asked_for_more_at_once() -> None:
    past = Past().contract(vcpu=400).pool("web", size=LARGE, forecast="on").host("h1", 512)
    assert want(past, 6) == "HostsFull"
    assert standing(past).lacking == 6
    past.host("h2")
    assert want(past, 7) == "Granted"
    assert (standing(past).lacking, standing(past).retry_at) == (0, None)


def test_more_than_the_cap_left_is_not_asked_for_at_once() -> None:
    past = Past().contract(vcpu=10).pool("web", size=LARGE, forecast="on").host()
    assert want(past, 9) == "CapExceeded"
    assert standing(past).lacking == 0


def test_a_pool_whose_places_hang_on_a_silent_host_is_not_asked_for_at_every_tick() -> None:
    past = hanging(max_vms=4, forecast="on")
    assert want(past, 4) == "AlreadyAtMax"
    assert standing(past).retry_at == past.now + RETRY
    assert (standing(past).staying, standing(past).serving) == (2, 2)


def test_a_forecast_that_falls_beside_a_silent_host_sends_nobody_away_who_is_needed() -> None:
    past = hanging(forecast="on")
    known = standing(past)
    (ask,) = rule(seen(4), stands(known.staying, serving=known.serving)).asks
    assert isinstance(ask, Scale)
