"""Sleepers that go to disk one by one, or cannot, are not asked about at every tick."""

import datetime as dt

from schemas.names import FORECAST
from services.forecaster.state import RETRY, Asked, Orgs, State
from tests.given import ORG, Past


def asked(past: Past) -> dt.datetime | None:
    """From when on sleepers are asked to be saved again, as the forecaster reads the ledger."""
    fold = Asked()
    for line in past.lines:
        fold.apply(line)
    return fold.desk(ORG, "web").rest_at


def test_what_was_granted_is_left_to_go_to_disk_and_what_is_held_back_is_asked_for_when_the_gate_says() -> (
    None
):
    past = Past().contract(vcpu=1000).pool("web").host().asleep("web", 9)
    past.save(origin="forecast", publisher=FORECAST)
    (first, _) = past.answer()[1]
    assert asked(past) == past.now + RETRY
    state = State()
    for line in past.lines:
        state.apply(line)
    rested = [
        Orgs(state, past.now + after, past.seq).standing(ORG, "web").rested for after in (RETRY / 2, RETRY)
    ]
    assert rested == [0, 7]
    past.save_failed(first.vm)
    past.later(15)
    past.save(origin="forecast", publisher=FORECAST)
    answer, _ = past.answer()
    assert (answer.code, asked(past)) == ("SaveHeldBack", answer.retry_at)
    assert answer.retry_at == past.now + dt.timedelta(seconds=45)


def test_what_others_ask_holds_no_forecast_back_nor_does_what_changed_nothing() -> None:
    past = Past().contract(vcpu=1000).pool("web").host().asleep("web", 9)
    past.save(paused=8)
    past.round()
    assert asked(past) is None
    past.save(paused=8, origin="forecast", publisher=FORECAST)
    assert past.answer()[0].code == "AlreadyAtDesired"
    assert asked(past) is None
