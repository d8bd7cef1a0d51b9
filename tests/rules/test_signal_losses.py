"""When a query counts as lost, and that the ledger is told of it once: as a rule, and at work in virtual time."""

import math

import msgspec
import pytest

from events.bus.faults import Fate
from events.ids import derive
from events.pool import PoolDefined
from services.signal.port import Heard, Measurement
from services.signal.silence import (
    FIRST_PATIENCE_SECONDS,
    LONGEST_PATIENCE_SECONDS,
    PATIENCE_SECONDS,
    Silence,
)
from tests.rules.signal_life import POOL, Life, at, scene
from tests.rules.test_signal_windows import Away
from tests.simulation.clock import pause


def heard_every(*distances: float) -> Silence:
    silence = Silence(0.0)
    now = 0.0
    silence.hear(now)
    for distance in distances:
        now += distance
        silence.hear(now)
    return silence


@pytest.mark.parametrize(
    ("silence", "patience"),
    [
        (Silence(0.0), PATIENCE_SECONDS),
        (heard_every(), FIRST_PATIENCE_SECONDS),
        (heard_every(1, 1, 1), PATIENCE_SECONDS),
        (heard_every(60, 60), 150.0),
        (heard_every(1, 600), PATIENCE_SECONDS),
        (heard_every(600, 15), 37.5),
        (heard_every(300, 300), LONGEST_PATIENCE_SECONDS),
    ],
    ids=[
        "never heard",
        "heard once, and nobody knows when it is due again",
        "every second",
        "once a minute",
        "after a loss of ten minutes, which is no usual distance",
        "found again a sample ago",
        "as seldom as can be",
    ],
)
def test_how_long_a_query_may_be_silent_follows_from_how_often_it_speaks(
    silence: Silence, patience: float
) -> None:
    assert silence.patience_seconds == patience


def test_silence_is_counted_only_by_those_who_look() -> None:
    silence = Silence(0.0)
    assert not silence.is_lost(1000.0), "whoever stood still for so long has heard nothing, and knows nothing"
    for _ in range(3):
        silence.miss("vanished")
    assert silence.is_lost(1000.0)
    assert silence.why == "vanished"
    silence.hear(1000.0)
    assert not silence.is_lost(1001.0)
    assert silence.is_heard(1001.0)


# ------------------------------------------------------------------------------------------------------ at work


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (None, "silent"),
        ("vanished", "vanished"),
        ("many", "many"),
        ("no-number", "no-number"),
        (Measurement(math.nan, at(10_000)), "no-number"),
        (Measurement(math.inf, at(10_000)), "no-number"),
        (Measurement(-1.0, at(70)), "no-number"),
        (Measurement(250.0, at(55)), "stale"),
        (Measurement(250.0, at(20)), "stale"),
        (Measurement(250.0, at(10_000)), "future"),
    ],
)
def test_a_query_that_yields_nothing_new_is_told_once_with_the_reason_and_once_more_when_it_does(
    answer: Heard, code: str
) -> None:
    async def story(life: Life) -> None:
        store = life.start()
        await pause(61)
        assert life.lost() == []
        store.answers["rate"] = answer
        await pause(600)
        (lost,) = life.lost()
        assert (lost.source, lost.query, lost.code) == ("demand", derive("query", "rate"), code)
        assert 30 < (lost.lost_at - at(55)).total_seconds() < 50
        assert lost.last_sample_at is not None
        assert at(50) <= lost.last_sample_at <= at(70)
        assert "acme/web has yielded nothing new" in lost.text
        assert life.found() == []
        del store.answers["rate"]
        await pause(60)
        (found,) = life.found()
        assert (found.source, found.query, found.lost_at) == ("demand", lost.query, lost.lost_at)
        assert len(life.lost()) == 1
        ticks = await life.ticks()
        assert {milli for _, milli, _ in ticks} == {2500}, "silence is no zero"
        assert not [tick for tick, *_ in ticks if 6 <= tick <= 43], "and is not told"

    scene(story)


def test_a_trigger_s_query_that_is_no_number_is_not_lost_for_a_share_of_no_requests_is_none() -> None:
    async def story(life: Life) -> None:
        store = life.start()
        store.answers = {"p99": "no-number"}
        await pause(600)
        assert life.lost() == []
        store.answers = {"p99": None}
        await pause(60)
        assert [one.code for one in life.lost()] == ["silent"]
        store.answers = {"p99": Measurement(math.nan, at(10_000))}
        await pause(60)
        assert len(life.found()) == 1
        assert life.requests() == []

    scene(story)


def test_a_metrics_store_that_is_away_from_the_start_is_told_for_every_query_after_thirty_seconds() -> None:
    async def story(life: Life) -> None:
        store = life.start()
        store.answers = {"rate": None, "p99": None, "queue": None}
        await pause(29)
        assert life.lost() == []
        await pause(30)
        assert {(one.source, one.code, one.last_sample_at) for one in life.lost()} == {
            ("demand", "silent", None),
            ("trigger", "silent", None),
        }
        assert len(life.lost()) == 3

    scene(story)


def test_a_worker_that_begins_anew_neither_tells_a_loss_again_nor_says_that_it_hears_what_it_does_not() -> (
    None
):
    async def story(life: Life) -> None:
        store = life.start()
        store.answers["rate"] = None
        await pause(60)
        await life.kill()
        store = life.start()
        store.answers["rate"] = None
        await pause(600)
        assert (len(life.lost()), len(life.found())) == (1, 0)
        await life.kill()
        life.start()
        await pause(20)
        assert (len(life.lost()), len(life.found())) == (1, 1)

    scene(story)


@pytest.mark.parametrize("fate", ["answered", "request-lost", "ack-lost", "stored-late"])
def test_two_workers_tell_one_loss_and_one_find(fate: Fate) -> None:
    async def story(life: Life) -> None:
        stores = [life.start(), life.start()]
        await pause(60)
        for store in stores:
            store.answers["rate"] = "vanished"
        await pause(300)
        assert len(life.lost()) == 1
        for store in stores:
            store.answers.clear()
        await pause(120)
        assert (len(life.lost()), len(life.found())) == (1, 1)

    scene(story, faults=Away(fate, 80, 120))


def test_of_two_workers_one_that_hears_nothing_does_not_quarrel_with_the_other_more_than_twice_a_minute() -> (
    None
):
    async def story(life: Life) -> None:
        life.start()
        deaf = life.start()
        await pause(60)
        deaf.answers = dict.fromkeys(("rate", "p99", "queue"), None)
        await pause(600)
        assert len([one for one in life.lost() if one.source == "demand"]) <= 20
        assert abs(len(life.lost()) - len(life.found())) <= 3

    scene(story)


def test_a_query_that_is_no_longer_the_pool_s_is_not_missed() -> None:
    async def story(life: Life) -> None:
        store = life.start()
        store.answers["rate"] = None
        await pause(20)
        plain = msgspec.structs.replace(POOL, demand=None)
        life.desk.write(PoolDefined(org="acme", pool="web", definition=plain))
        await pause(600)
        assert life.lost() == []

    scene(story)


def test_what_is_sampled_once_a_minute_is_not_lost_in_between() -> None:
    async def story(life: Life) -> None:
        store = life.start()
        for minute in range(10):
            store.answers["rate"] = Measurement(250.0, at(60.0 * minute))
            await pause(60)
        assert life.lost() == []

    scene(story)


def test_a_clock_that_is_set_forward_or_back_is_no_loss() -> None:
    async def story(life: Life) -> None:
        life.start()
        await pause(100)
        for step in (3600.0, -7200.0, 3600.0, 20.0, -20.0):
            life.desk.clock.off_seconds += step
            await pause(100)
            assert life.lost() == [], "the store's clock is the worker's here, as on one machine"

    scene(story)
