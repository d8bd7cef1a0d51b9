"""A clock that was an hour ahead for a moment: what it said of the future keeps nobody waiting once it is right.

In each story somebody tells something by such a clock, the clock is set right, and what would have been answered or done without
it is. That who differs by less than a minute is believed is tested where the waiting is.
"""

import datetime as dt

import pytest

from events.ahead import AHEAD, is_to_come
from events.freeze import ScalingThawed
from events.gate import SuspendOrdered, WakeOrdered
from events.vm import VmWakeFailed
from projections.breakers.fold import Breakers
from schemas.names import FORECAST
from schemas.pool import Trigger
from services.forecaster.state import Orgs, State
from services.signal.decide import cooled
from services.signal.metrics import UNTOLD
from services.waker.port import SAVE_SECONDS
from tests.given import ORG, Past
from tests.rules.desk import Desk, play, pool
from tests.rules.failing import fail, opened, setting, starts
from tests.rules.notifier_relay import Gate, People, Relay, named, notifier
from tests.rules.test_signal_windows import TRIGGER, Life, at, scene
from tests.rules.test_waker_restores import BUSY, saved
from tests.rules.waker_host import Site
from tests.simulation.clock import EPOCH, pause

HOUR = 3600.0


def test_what_is_told_of_more_than_a_minute_from_now_was_told_by_a_wrong_clock() -> None:
    assert not is_to_come(EPOCH + AHEAD, EPOCH)
    assert is_to_come(EPOCH + AHEAD + dt.timedelta.resolution, EPOCH)


# ------------------------------------------------------------------------------------------------------------ the gate


def test_a_cooldown_that_began_in_an_hour_is_none() -> None:
    past = Past().contract(vcpu=20).pool("web").host().asleep("web", 3)
    past.later(HOUR)
    past.trigger()
    assert past.answer()[0].code == "Granted"
    past.later(-HOUR)
    past.trigger()
    assert past.answer()[0].code == "Granted"
    past.trigger()
    assert past.answer()[0].code == "Cooldown", "this one began now"


def test_what_forecasts_put_to_sleep_in_an_hour_is_no_part_of_this_minute() -> None:
    past = (
        Past()
        .contract(vcpu=40)
        .pool("web", quiesce_per_minute=2, cooldown_seconds=1)
        .host()
        .serving("web", 6)
    )
    past.later(HOUR)
    past.quiesce(count=2, origin="forecast", publisher=FORECAST)
    assert past.answer()[0].code == "Granted"
    past.later(-HOUR)
    past.quiesce(count=2, origin="forecast", publisher=FORECAST)
    assert past.answer()[0].code == "Granted"


def test_a_breaker_that_was_opened_in_an_hour_is_tried_again_at_once() -> None:
    past = setting().asleep("web", 2)
    past.later(HOUR)
    fail(past, 3)
    assert len(opened(past)) == 1
    past.later(-HOUR - 180)
    past.scale(add=1)
    answer, orders = past.answer()
    assert (answer.code, len(orders)) == ("Granted", 1)
    past.wake_failed(orders[0].vm)
    (again,) = opened(past)
    assert again.until - again.opened_at == dt.timedelta(seconds=120), "what failed before is not forgotten"
    past.scale(add=1)
    assert past.answer()[0].code == "BreakerOpen", "this one was opened now"


def test_a_vm_that_failed_in_an_hour_and_is_not_off_keeps_its_pool_below_what_is_wanted_no_longer_than_another() -> (
    None
):
    past = setting().asleep("web", 3)
    past.scale(want=1)
    past.round()
    past.later(HOUR)
    past.unready("web-1")
    past.later(-HOUR)
    past.round()
    past.scale(want=1)
    assert [kind for kind, _, _ in starts(past.round())] == [WakeOrdered]


def test_nobody_waits_for_a_vm_that_was_told_to_sleep_in_an_hour() -> None:
    past = Past().contract(vcpu=4).pool("web").host(memory_mib=1024).serving("web", 2)
    past.later(HOUR)
    past.quiesce(count=1)
    past.round()
    past.drained("web-2")
    assert [type(one) for one in past.round().orders] == [SuspendOrdered]
    past.later(-HOUR)
    past.scale(add=1)
    past.scale("nosuch", add=1)
    assert [one.code for one in past.round().answers] == ["CapExceeded", "PoolUnknown"]


def test_a_save_that_failed_in_an_hour_holds_no_host_back() -> None:
    past = Past().contract(vcpu=1000).pool("web").host(memory_mib=1 << 20).asleep("web", 4)
    past.save(paused=0)
    (first, _) = past.answer()[1]
    past.later(HOUR)
    past.save_failed(first.vm)
    past.later(-HOUR)
    past.save(paused=0)
    assert past.answer()[0].code == "Granted"


def test_a_thaw_ends_a_freeze_whatever_time_it_was_told_at() -> None:
    past = Past().contract(vcpu=20).pool("web").host().frozen("web", 2 * HOUR)
    in_an_hour = past.now + dt.timedelta(hours=1)
    past.happened(ScalingThawed(org=ORG, pool="web", actor="ops", reason="done", thawed_at=in_an_hour))
    past.scale(add=1)
    assert past.answer()[0].code == "Granted"
    assert past.state.freezes.of(ORG, "web", past.now) is None
    past.frozen("web", 60)
    past.scale(add=1)
    assert past.answer()[0].code == "Frozen", "it was frozen anew"


def test_the_fold_says_of_a_breaker_that_is_to_come_that_its_time_is_over() -> None:
    past = setting().asleep("web", 2)
    past.later(HOUR)
    fail(past, 3)
    opened(past)
    breakers: Breakers = past.state.breakers
    now = past.now - dt.timedelta(hours=2)
    assert breakers.until(ORG, "web", "host", "h1", now) == now
    assert breakers.until(ORG, "web", "host", "h1", past.now) == past.now + dt.timedelta(seconds=60)
    assert breakers.until(ORG, "web", "host", "h2", past.now) is None


# -------------------------------------------------------------------------------------------------------- the forecaster


def test_a_forecaster_is_not_kept_waiting_by_what_a_gate_answered_in_an_hour() -> None:
    past = Past().contract(vcpu=40).pool("web", forecast="on").host(memory_mib=512).asleep("web", 1)
    past.later(HOUR)
    past.scale(want=5, up_to=True, origin="forecast", publisher=FORECAST)
    assert past.answer()[0].code == "HostsFull"
    past.later(-HOUR)
    past.quiesce(count=1, origin="person")
    state = State()
    for line in past.lines:
        state.apply(line)
    wrong = Orgs(state, past.now, past.seq).standing(ORG, "web")
    assert (wrong.retry_at, wrong.moved_at) == (None, None)
    then = Orgs(state, past.now + dt.timedelta(hours=1), past.seq).standing(ORG, "web")
    assert then.retry_at == past.now + dt.timedelta(hours=1, minutes=5), "by the clock that answered it waits"


# ------------------------------------------------------------------------------------------------------------- signal


def test_a_trigger_that_asked_in_an_hour_may_ask_now() -> None:
    web = pool("web", Trigger(query="p99_ms", above=250.0))
    assert cooled(web, EPOCH + dt.timedelta(hours=1), EPOCH)
    assert not cooled(web, EPOCH + AHEAD, EPOCH)
    assert not cooled(web, EPOCH, EPOCH + dt.timedelta(seconds=web.cooldown_seconds, microseconds=-1))


def test_what_is_seen_after_a_clock_was_set_right_is_in_the_windows_of_now() -> None:
    async def story(life: Life) -> None:
        life.start()
        await pause(400)
        life.desk.clock.off_seconds = HOUR
        await pause(400)
        life.desk.clock.off_seconds = 0.0
        untold = UNTOLD._value.get()
        await pause(700)
        begins = [one.window_from for one in life.told()]
        assert {at(0), at(900)} <= set(begins)
        assert at(1200) not in begins, "it is not over"
        assert UNTOLD._value.get() >= untold
        await pause(300)
        assert at(1200) in [one.window_from for one in life.told()]

    assert TRIGGER.query == "p99_ms"
    scene(story)


@pytest.mark.parametrize("dedup_seconds", [600.0, 0.0])
def test_two_signal_workers_write_one_event_also_where_a_window_of_tomorrow_is_in_the_ledger(
    dedup_seconds: float,
) -> None:
    async def story(life: Life) -> None:
        life.desk.clock.off_seconds = 86_400.0
        life.start()
        life.start()
        await pause(400)
        life.desk.clock.off_seconds = 0.0
        before = len(life.told())
        assert before == 1
        await pause(900)
        assert [one.window_from for one in life.told()[before:]] == [at(300), at(600), at(900)]

    scene(story, dedup_seconds=dedup_seconds)


# --------------------------------------------------------------------------------------------------------- the waker


@pytest.mark.parametrize("steps", [HOUR, -HOUR])
def test_a_start_that_is_not_answered_is_waited_for_as_long_as_it_may_take_whatever_clock_is_set(
    steps: float,
) -> None:
    async def scene() -> None:
        site = Site()
        site.asleep()
        async with site.waker():
            await saved(site, "web-1")
            site.host.fates["start"].extend([BUSY] * 20)
            order = site.wake()
            await pause(5)
            site.desk.clock.off_seconds = HOUR
            await pause(5)
            site.desk.clock.off_seconds = HOUR + steps
            await pause(SAVE_SECONDS - 15)
            assert site.said(VmWakeFailed) == []
            site.desk.clock.off_seconds = HOUR
            await pause(20)
        (said,) = site.said(VmWakeFailed)
        assert (said.reservation, said.code) == (order, "wake-refused")

    play(scene)


# ------------------------------------------------------------------------------------------------------------ the mails


def test_a_refusal_that_the_bus_stored_in_an_hour_is_mailed_in_the_period_of_now() -> None:
    async def story() -> None:
        desk, relay = Desk(), Relay()
        desk.contract()
        gate = Gate(desk)
        async with notifier(desk, relay, People()):
            desk.clock.off_seconds = HOUR
            requests = [*gate.refuse(0), *gate.refuse(1, 2)]
            await pause(10)
            desk.clock.off_seconds = 0.0
            assert named(desk) == requests[:1], "the others wait for their digest, an hour from now"
            requests += gate.refuse(3)
            await pause(10)
            assert sorted(named(desk)) == sorted(requests)

    play(story)
