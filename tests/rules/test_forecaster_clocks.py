"""The forecaster at work with clocks that are far off: its own, or everybody's."""

import datetime as dt

import pytest
from msgspec.structs import replace

from services.forecaster import metrics
from tests.rules.forecast_desk import EPOCH, Life, scene
from tests.rules.test_forecaster_worker import once
from tests.simulation.clock import pause


@pytest.mark.parametrize(("whose", "ahead"), [("its own", 86_400.0), ("everybody's", 7200.0)])
def test_a_clock_that_was_far_ahead_silences_no_pool_afterwards(whose: str, ahead: float) -> None:
    async def story(life: Life) -> None:
        clocks = [life.clock] if whose == "its own" else [life.clock, life.desk.clock]
        life.start()
        await pause(600)
        for clock in clocks:
            clock.off_seconds = ahead
        await pause(30)
        for clock in clocks:
            clock.off_seconds = 0.0
        await pause(300)
        before, asked = len(life.made()), len(life.asked)
        life.demand["web"] = lambda _: 30_000
        await pause(300)
        assert "raised" in {fact.reason for fact in life.made()[before:]}
        assert all(fact.made_at <= life.desk.clock.now() for fact in life.made()[before:])
        assert len(life.asked) > asked
        if whose == "its own":
            once(life.made())

    scene(story)


def test_a_forecast_of_tomorrow_in_the_ledger_silences_no_pool_after_a_restart() -> None:
    async def story(life: Life) -> None:
        tasks = life.start()
        await pause(600)
        await life.kill(tasks)
        life.drawer.data = None
        tomorrow = life.made()[-1].made_at + dt.timedelta(days=1)
        life.desk.write(replace(life.made()[-1], since=tomorrow, made_at=tomorrow, ticks=1))
        life.start()
        before = len(life.made())
        life.demand["web"] = lambda _: 30_000
        await pause(300)
        assert len(life.made()) > before
        assert all(fact.made_at <= life.desk.clock.now() for fact in life.made()[before:])

    scene(story)


def test_a_clock_that_is_wrong_from_the_start_is_not_gone_by() -> None:
    async def story(life: Life) -> None:
        life.clock.off_seconds = 86_400.0 * 365
        life.start()
        await pause(600)
        assert life.made()[0].made_at < EPOCH + dt.timedelta(seconds=60)
        assert metrics.CLOCK_OFF._value.get() == pytest.approx(86_400 * 365, abs=20)
        once(life.made())

    scene(story)
