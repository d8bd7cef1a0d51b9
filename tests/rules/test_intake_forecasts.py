"""What the forecaster may ask through the intake, and what a request to save becomes."""

import pytest

from events.quiesce import QuiesceRequested
from events.save import SaveRequested
from events.scale import ScaleRequested
from schemas.intake import Quiesce, Rejection, Request, Save, Scale, Stock, Thaw
from schemas.names import FORECAST, OPERATOR
from services.signal.decide import Asked, content, judge, read
from services.signal.known import Known
from tests.given import ORG, Past


def known() -> Known:
    past = Past().contract().pool("web")
    return Known(past.usage, past.fleet, past.state.contracts)


def judged(publisher: str, verb: str, request: Request) -> object:
    return judge(Asked(ORG, publisher, verb, request), known(), Past().now)


def test_a_forecast_scales_quiesces_and_saves_in_its_own_name() -> None:
    scaled = judged(FORECAST, "scale", Scale(pool="web", key="k", want=4, up_to=True))
    quiesced = judged(FORECAST, "quiesce", Quiesce(pool="web", key="k", count=2))
    saved = judged(FORECAST, "save", Save(pool="web", key="k", paused=1))
    assert isinstance(scaled, ScaleRequested)
    assert (scaled.origin, scaled.want, scaled.up_to) == ("forecast", 4, True)
    assert isinstance(quiesced, QuiesceRequested)
    assert (quiesced.origin, quiesced.count) == ("forecast", 2)
    assert isinstance(saved, SaveRequested)
    assert (saved.origin, saved.paused, saved.publisher) == ("forecast", 1, FORECAST)


@pytest.mark.parametrize(
    ("verb", "request_"),
    [("stock", Stock(pool="web", key="k", vms=1)), ("thaw", Thaw(key="k", actor="ann", reason="over"))],
)
def test_a_forecast_asks_for_nothing_else(verb: str, request_: Request) -> None:
    refused = judged(FORECAST, verb, request_)
    assert isinstance(refused, Rejection)
    assert refused.code == "PublisherReserved"
    assert f"never for {verb}" in refused.text


@pytest.mark.parametrize(("publisher", "origin"), [(OPERATOR, "person"), ("shop", "program")])
def test_people_and_programs_save_too(publisher: str, origin: str) -> None:
    saved = judged(publisher, "save", Save(pool="web", key="k", paused=0))
    assert isinstance(saved, SaveRequested)
    assert saved.origin == origin


def test_a_save_of_no_pool_or_of_a_number_that_is_none_is_refused_at_the_door() -> None:
    unknown = judged("shop", "save", Save(pool="nosuch", key="k", paused=0))
    assert isinstance(unknown, Rejection)
    assert unknown.code == "PoolUnknown"
    for paused in ("-1", "10001", '"2"', "null"):
        found = read(f"in.{ORG}.shop.save", f'{{"pool":"web","key":"k","paused":{paused}}}'.encode())
        assert isinstance(found, Rejection)
        assert found.code == "RequestUnreadable"


def test_the_same_key_saves_the_same_once_and_nothing_else() -> None:
    one, other = (judged("shop", "save", Save(pool="web", key="k", paused=paused)) for paused in (0, 1))
    assert isinstance(one, SaveRequested)
    assert isinstance(other, SaveRequested)
    assert content(one) != content(other)
