"""What is past the cap is asked for once in an episode, whatever happens to the forecaster and to the signal meanwhile."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from events.scale import ScaleRequested
from schemas.capacity import Size
from schemas.intake import Scale
from services.forecaster.asking import Intake
from tests.rules.desk import answer
from tests.rules.forecast_desk import FIRST, Life, foreseen, scene
from tests.simulation.clock import pause

BIG = Size("big", 8, 4096)
"""Of which the contract leaves 13."""


def leap(tick: int) -> int:
    """Three VMs, and after five minutes forty."""
    return 3000 if tick - FIRST < 20 else 40_000


def past(life: Life) -> list[Scale]:
    """What was asked for past the cap."""
    asked = (request for _, _, request in life.asked)
    return [one for one in asked if isinstance(one, Scale) and one.key.endswith("/scale-past-cap")]


async def refuse(life: Life) -> None:
    """The gate says of everything that is asked what the contract does not leave."""
    through = 0
    while True:
        await pause(1.0)
        for one in life.desk.facts(ScaleRequested):
            if one.seq > through:
                through = one.seq
                life.desk.decide(answer(one.id, one.seq))


@asynccontextmanager
async def gate(life: Life) -> AsyncGenerator[None]:
    """So long it does."""
    refusing = asyncio.create_task(refuse(life))
    try:
        yield
    finally:
        refusing.cancel()
        await asyncio.wait([refusing])


def test_what_is_past_the_cap_is_asked_for_once_however_long_it_lasts() -> None:
    async def story(life: Life) -> None:
        life.demand["web"] = leap
        life.start()
        life.start()
        async with gate(life):
            await pause(1200)
        assert len({request.key for request in past(life)}) == 1
        assert all((request.want or 0) > 13 for request in past(life))

    scene(story, foreseen(size=BIG))


def test_a_signal_that_is_lost_and_found_begins_no_new_episode() -> None:
    async def story(life: Life) -> None:
        life.demand["web"] = lambda tick: None if 60 <= tick - FIRST < 80 else leap(tick)
        life.start()
        async with gate(life):
            await pause(1800)
        assert {"signal-lost", "signal-found"} <= {fact.reason for fact in life.made()}
        assert len(past(life)) == 1

    scene(story, foreseen(size=BIG))


def test_killed_between_the_forecast_and_its_request_it_asks_past_the_cap_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def story(life: Life) -> None:
        life.demand["web"] = leap
        with monkeypatch.context() as patch:
            patch.setattr(Intake, "ask", lambda *_: None)
            tasks = life.start()
            while not any(fact.capped for fact in life.made()):
                await pause(1.0)
            await life.kill(tasks)
        assert past(life) == []
        life.start()
        async with gate(life):
            await pause(600)
        assert len(past(life)) == 1

    scene(story, foreseen(size=BIG))


def test_a_pool_that_was_only_looked_at_asks_past_the_cap_once_it_is_switched_on() -> None:
    async def story(life: Life) -> None:
        life.demand["web"] = leap
        life.start()
        await pause(600)
        assert life.made()[-1].capped
        assert life.asked == []
        life.define(foreseen(size=BIG))
        async with gate(life):
            await pause(600)
        assert len(past(life)) == 1

    scene(story, foreseen(size=BIG, forecast="only"))
