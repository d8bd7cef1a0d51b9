"""What is asked for where the contract leaves less than a pool needs: more than it leaves once, and then what it leaves."""

import datetime as dt
from dataclasses import replace as replaced
from typing import Literal

import pytest

from schemas.intake import Scale
from services.forecaster.decide import (
    past_cap,
)
from tests.rules.test_forecaster_rules import EARLIER, NOW, refused, rule, seen, stands, told


def test_past_the_cap_the_whole_target_is_asked_for_once_and_the_rest_is_refused_once() -> None:
    first = rule(seen(20), stands(10, most=12), told(12))
    assert (first.want, first.capped, first.reason) == (12, True, "capped")
    assert [ask.want for ask in first.asks if isinstance(ask, Scale)] == [20]
    assert [ask.key for ask in first.asks] == [past_cap("web", NOW)]
    then = rule(seen(21), stands(12, most=12, **refused()), told(20, capped=True))
    assert (then.want, then.capped, then.asks) == (12, True, ())


def test_what_the_cap_leaves_later_is_asked_for_and_no_more() -> None:
    verdict = rule(seen(21), stands(12, most=14, **refused()), told(21, capped=True))
    assert [ask.want for ask in verdict.asks if isinstance(ask, Scale)] == [14]


@pytest.mark.parametrize("mode", ["on", "only"])
def test_what_is_past_the_cap_is_owed_until_the_ledger_shows_that_it_was_asked_for(
    mode: Literal["on", "only"],
) -> None:
    owing = stands(12, most=12, capped_at=EARLIER)
    [ask] = rule(seen(21), owing, told(21, capped=True, mode=mode)).asks
    assert ask == Scale(pool="web", key=past_cap("web", EARLIER), want=21, up_to=True)
    assert rule(seen(21), replaced(owing, raising=21), told(21, capped=True)).asks == ()


def test_a_retry_that_is_waited_for_puts_off_what_is_past_the_cap_and_drops_it_not() -> None:
    waiting = stands(12, most=12, retry_at=NOW + dt.timedelta(seconds=1))
    verdict = rule(seen(21), waiting, told(12))
    assert (verdict.capped, verdict.asks) == (True, ())
    later = stands(12, most=12, capped_at=EARLIER, retry_at=NOW)
    assert [ask.key for ask in rule(seen(21), later, told(21, capped=True)).asks] == [
        past_cap("web", EARLIER)
    ]


def test_a_steep_ramp_is_asked_for_in_steps_and_the_last_one_goes_past_the_cap() -> None:
    staying, wants, keys = 10, list[int | None](), list[str]()
    owing = stands(staying, most=100, pool={"max_vms": 500})
    for _ in range(5):
        for ask in rule(seen(200), replaced(owing, staying=staying), told(200, capped=True)).asks:
            assert isinstance(ask, Scale)
            wants.append(ask.want)
            keys.append(ask.key)
            staying = min(ask.want or 0, 100)
        past = past_cap("web", NOW) in keys
        owing = replaced(owing, capped_at=NOW, refused=past)
    assert wants == [74, 138]
    assert keys == ["web@2026-11-22T09:00:00Z/scale", past_cap("web", NOW)]


def test_the_episode_ends_when_the_target_is_within_the_cap_again() -> None:
    verdict = rule(seen(12), stands(12, most=12), told(21, capped=True))
    assert (verdict.capped, verdict.reason) == (False, "uncapped")


def test_a_pool_past_its_own_maximum_is_no_episode() -> None:
    assert not rule(seen(50), stands(9, most=12, pool={"max_vms": 9})).capped
