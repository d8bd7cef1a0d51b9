"""Several triggers of one pool, a demand of its own, and samples that are pushed: at work in virtual time."""

import msgspec

from events.pool import PoolObserved
from services.signal.port import Measurement
from tests.rules.signal_life import POOL, QUEUE, TRIGGER, Life, at, scene
from tests.simulation.clock import pause


def test_any_of_several_triggers_asks_and_they_share_the_cooldown_of_the_pool() -> None:
    async def story(life: Life) -> None:
        store = life.start()
        await pause(62)
        store.values["queue"] = 50.0
        await pause(20)
        (asked,) = life.requests()
        assert asked.sample is not None
        assert (asked.sample.query, asked.add) == ("queue", 5)
        store.values["p99"] = 300.0
        await pause(60)
        assert len(life.requests()) == 1, "the pool is cooling"
        store.values["queue"] = 1.0
        await pause(60)
        assert [one.add for one in life.requests()] == [5, 2]

    scene(story)


def test_of_two_triggers_that_are_due_together_the_one_that_wants_more_asks() -> None:
    slow = msgspec.structs.replace(POOL, triggers=(TRIGGER, msgspec.structs.replace(QUEUE, samples=3)))

    async def story(life: Life) -> None:
        store = life.start()
        store.values |= {"queue": 50.0, "p99": 300.0}
        await pause(20)
        assert [one.add for one in life.requests()] == [5]

    scene(story, slow)


def test_a_rise_asks_before_the_limit_is_passed() -> None:
    async def story(life: Life) -> None:
        store = life.start()
        await pause(1)
        for step in range(300):
            store.values["p99"] = 100.0 + step
            await pause(1)
            if life.requests():
                break
        (asked,) = life.requests()
        assert asked.sample is not None
        assert asked.sample.query == "p99"
        assert 150 < asked.sample.value < 200, "it will pass 250 within the horizon of 90 s"

    scene(story)


def test_the_telemetry_has_the_mean_demand_of_each_tick_in_thousandths_of_a_vm() -> None:
    async def story(life: Life) -> None:
        life.start()
        await pause(76)
        assert await life.ticks() == [(tick, 2500, 3) for tick in range(5)]

    scene(story)


def test_where_a_pool_has_a_demand_of_its_own_its_windows_say_it_beside_every_trigger() -> None:
    async def story(life: Life) -> None:
        life.start()
        await pause(400)
        (seen,) = [one.fact for one in life.desk.facts(PoolObserved) if isinstance(one.fact, PoolObserved)]
        assert [(one.source, one.above, one.samples) for one in seen.readings] == [
            ("trigger", 250.0, 60),
            ("trigger", 10.0, 60),
            ("demand", 100.0, 60),
        ]
        assert seen.demand is not None
        assert (seen.demand.mean, seen.demand.samples) == (2500, 60)

    scene(story)


def test_a_pushed_sample_counts_at_once_and_its_query_is_not_asked_meanwhile() -> None:
    async def story(life: Life) -> None:
        store = life.start()
        store.answers = {"queue": None}
        await pause(7)
        for second in range(7, 60):
            life.signal._triggers.pushed("queue", Measurement(50.0, at(second)))
            await pause(1)
            if second == 9:
                assert [one.add for one in life.requests()] == [5], "two samples, a second apart"
        assert life.lost() == []
        await pause(100)
        assert [one.code for one in life.lost()] == ["silent"], "pushes have ended, and nobody answers"

    scene(story)
