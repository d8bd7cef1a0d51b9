"""A woken guest serves once its clock is right, its entropy is fresh, and it is the boot that slept."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Literal

import pytest

from events.vm import VmReady, VmUnready
from projections.fleet.life import State
from schemas.pool import Refresh
from services.prober.decide import (
    ENOUGH_ANSWERS,
    MOST_OFF_MS,
    Seen,
    Verdict,
    complaint,
    is_other_boot,
    judge,
    offset_ms,
)
from services.prober.http import read_pulse
from services.prober.port import Pulse
from services.prober.state import Trip
from services.prober.worker import Prober
from tests.simulation.clock import EPOCH, VirtualClock, VirtualLoop, pause
from tests.told import Told, telling

ADDRESS = "127.0.0.1:20001"
SLEPT_MS = 3_600_000


class Woken:
    """A guest that answers after 5 ms, as far behind as it slept until its clock is set."""

    def __init__(self) -> None:
        self.boot_id = "boot-1"
        self.off_ms = -SLEPT_MS
        self.asked = 0
        self.late = 0
        """So many answers are still from before its clock was set."""
        self.tells: Literal["ms", "second", "nothing"] = "ms"

    async def probe(self, address: str, timeout_seconds: float) -> Pulse | None:
        assert (address, timeout_seconds > 0) == (ADDRESS, True)
        self.asked += 1
        await pause(0.005)
        now_ms = int((EPOCH.timestamp() + asyncio.get_running_loop().time()) * 1000)
        told_ms = now_ms + (-SLEPT_MS if self.late > 0 else self.off_ms)
        self.late -= 1
        second = told_ms // 1000 if self.tells == "second" else None
        return Pulse(self.boot_id, told_ms if self.tells == "ms" else None, second)


def story(tell: Callable[[Told, Woken], Awaitable[None]], *, refresh: Refresh = "agent") -> None:
    """VM web-1 sleeps in a pool whose guests are refreshed, or so, and a prober is at work."""
    loop = VirtualLoop()

    async def whole() -> None:
        guest = Woken()
        async with telling(VirtualClock(loop), refresh=refresh) as told:
            await told.boot("web-1", purpose="stock")
            await told.defined("web-1", ADDRESS)
            await told.proven("web-1", cold=True)
            await told.ready("web-1")
            await told.asleep("web-1")
            async with told.at_work(
                "prober", lambda ledger, bus, clock: Prober(ledger, bus, clock, guest).work()
            ):
                await tell(told, guest)

    try:
        loop.run_until_complete(whole())
    finally:
        loop.end()


def test_a_woken_guest_that_answers_is_not_ready_before_its_waker_has_spoken_and_at_once_after_it() -> None:
    async def tell(told: Told, guest: Woken) -> None:
        await told.wake("web-1")
        await pause(10)
        assert told.vm("web-1").state == "waking"
        guest.off_ms = 3
        await told.proven("web-1", refreshed=True)
        proven = asyncio.get_running_loop().time()
        await told.becomes("web-1", "warm")
        assert asyncio.get_running_loop().time() - proven < 0.02
        assert told.all(VmReady)[-1].clock_offset_ms == pytest.approx(3, abs=6)

    story(tell)


def test_a_woken_guest_that_was_not_refreshed_is_unready_at_once() -> None:
    async def tell(told: Told, guest: Woken) -> None:
        await told.wake("web-1")
        guest.off_ms = 0
        await pause(1)
        await told.proven("web-1", refreshed=False)
        await told.becomes("web-1", "unready")
        said = told.all(VmUnready)[-1]
        assert said.code == "not-refreshed"
        assert 'refresh = "none"' in said.text

    story(tell)


def test_a_clock_that_is_still_off_after_three_answers_makes_a_guest_unready() -> None:
    async def tell(told: Told, guest: Woken) -> None:
        await told.wake("web-1")
        await pause(1)
        before = guest.asked
        await told.proven("web-1", refreshed=True)
        await told.becomes("web-1", "unready")
        assert told.all(VmUnready)[-1].code == "clock-off"
        assert guest.asked - before <= ENOUGH_ANSWERS + 1

    story(tell)


def test_one_answer_that_was_on_its_way_when_the_clock_was_set_does_no_harm() -> None:
    async def tell(told: Told, guest: Woken) -> None:
        await told.wake("web-1")
        await pause(1)
        await told.proven("web-1", refreshed=True)
        guest.off_ms = 0
        await told.becomes("web-1", "warm")

    story(tell)


@pytest.mark.parametrize(("late", "state"), [(ENOUGH_ANSWERS - 1, "warm"), (ENOUGH_ANSWERS, "unready")])
def test_a_clock_is_believed_to_be_off_when_three_answers_say_so_and_two_may_be_late(
    late: int, state: State
) -> None:
    async def tell(told: Told, guest: Woken) -> None:
        await told.wake("web-1")
        await pause(1)
        await told.proven("web-1", refreshed=True)
        guest.off_ms, guest.late = 0, late
        await told.becomes("web-1", state)
        assert ENOUGH_ANSWERS == 3

    story(tell)


def test_a_guest_that_had_to_be_booted_needs_no_refreshing() -> None:
    async def tell(told: Told, guest: Woken) -> None:
        guest.boot_id = "boot-2"
        await told.wake("web-1")
        await pause(1)
        await told.proven("web-1", cold=True)
        await told.becomes("web-1", "warm")

    story(tell)


def test_a_boot_whose_domain_was_found_asleep_is_held_to_the_rules_of_a_wake() -> None:
    async def tell(told: Told, guest: Woken) -> None:
        del guest
        await told.tell()
        await told.boot("web-1")
        await told.proven("web-1", refreshed=False)
        await told.becomes("web-1", "unready")
        assert told.all(VmUnready)[-1].code == "not-refreshed"

    story(tell)


def test_a_window_of_20_seconds_is_given_whole_to_a_guest_that_takes_19() -> None:
    async def tell(told: Told, guest: Woken) -> None:
        mute, guest.probe = guest.probe, _silent
        await told.wake("web-1", ready_seconds=20)
        await told.proven("web-1", refreshed=True)
        await pause(19)
        assert told.vm("web-1").state == "waking"
        guest.probe, guest.off_ms = mute, 0
        await told.becomes("web-1", "warm")
        assert told.all(VmUnready) == []

    story(tell)


@pytest.mark.parametrize("tells", ["ms", "second"])
def test_a_guest_that_nobody_refreshes_has_its_whole_window_to_set_its_clock_and_serves_then(
    tells: Literal["ms", "second"],
) -> None:
    async def tell(told: Told, guest: Woken) -> None:
        guest.tells = tells
        await told.wake("web-1", ready_seconds=20)
        await pause(0.5)
        assert told.vm("web-1").state == "waking"
        await told.proven("web-1")
        await pause(19)
        assert told.vm("web-1").state == "waking"
        guest.off_ms = -MOST_OFF_MS + 100
        await told.becomes("web-1", "warm")
        assert told.all(VmUnready) == []

    story(tell, refresh="none")


def test_a_guest_that_nobody_refreshes_and_whose_clock_stays_off_does_not_serve() -> None:
    async def tell(told: Told, guest: Woken) -> None:
        del guest
        await told.wake("web-1", ready_seconds=20)
        await told.proven("web-1")
        await pause(21)
        assert told.vm("web-1").state == "unready"
        said = told.all(VmUnready)[-1]
        assert said.code == "clock-off"
        assert "did not set it itself" in said.text

    story(tell, refresh="none")


def test_a_guest_that_nobody_refreshes_and_that_tells_no_clock_is_ready_when_it_answers() -> None:
    async def tell(told: Told, guest: Woken) -> None:
        guest.tells = "nothing"
        await told.wake("web-1")
        await told.becomes("web-1", "warm")

    story(tell, refresh="none")


def test_a_guest_that_nobody_refreshes_and_that_had_to_be_booted_is_ready_whatever_its_clock() -> None:
    async def tell(told: Told, guest: Woken) -> None:
        guest.boot_id = "boot-2"
        await told.wake("web-1")
        await pause(1)
        await told.proven("web-1", cold=True)
        await told.becomes("web-1", "warm")

    story(tell, refresh="none")


async def _silent(address: str, timeout_seconds: float) -> Pulse | None:
    del address
    await pause(timeout_seconds)
    return None


_ASLEEP = Trip(
    "acme", "web-1", "web", "order", "request", cold=False, ready_seconds=20, host="h1", refreshes=True
)
_WOKEN = replace(_ASLEEP, awake_at=EPOCH, refreshed=True)


@pytest.mark.parametrize(
    ("trip", "seen", "off_answers", "verdict"),
    [
        (_ASLEEP, None, 0, "again"),
        (_ASLEEP, Seen(other_boot=False, off_ms=0), 0, "wait"),
        (_WOKEN, None, 0, "again"),
        (_WOKEN, Seen(other_boot=False, off_ms=MOST_OFF_MS), 0, "ready"),
        (_WOKEN, Seen(other_boot=False, off_ms=MOST_OFF_MS + 1), ENOUGH_ANSWERS - 1, "again"),
        (_WOKEN, Seen(other_boot=False, off_ms=MOST_OFF_MS + 1), ENOUGH_ANSWERS, "clock-off"),
        (_WOKEN, Seen(other_boot=True, off_ms=0), 0, "rebooted"),
        (replace(_ASLEEP, cold=True), Seen(other_boot=False, off_ms=0), 0, "wait"),
        (replace(_WOKEN, cold=True), Seen(other_boot=False, off_ms=0), 0, "again"),
        (replace(_WOKEN, cold=True), Seen(other_boot=True, off_ms=MOST_OFF_MS + 1), 0, "ready"),
    ],
)
def test_what_an_answer_means(trip: Trip, seen: Seen | None, off_answers: int, verdict: Verdict) -> None:
    assert judge(trip, seen, off_answers) == verdict


def test_a_guest_that_does_not_come_up_again_is_said_to_be_silent_and_not_to_have_a_wrong_clock() -> None:
    booted, former = replace(_WOKEN, cold=True), Seen(other_boot=False, off_ms=0)
    code, text = complaint("again", booted, "at 127.0.0.1:21000", former, 9)
    assert code == "probe-timeout"
    assert "answered as the boot before, and gave no proper answer since: 9 probes within 20 s" in text
    assert complaint("again", booted, "at 127.0.0.1:21000", None, 9)[0] == "probe-timeout"
    code, text = complaint("wait", booted, "at 127.0.0.1:21000", Seen(other_boot=True, off_ms=0), 9)
    assert code == "probe-timeout"
    assert "as the boot before" not in text, "it was the one that was started"


@pytest.mark.parametrize(
    ("pulse", "now_ms", "told"),
    [
        (Pulse("b", 10_000), 9_400, (600, 600)),
        (Pulse("b", None), 9_400, (None, 0)),
        (Pulse("b", None, 9), 9_400, (None, 0)),
        (Pulse("b", None, 9), 10_400, (None, 401)),
        (Pulse("b", None, 9), 8_400, (None, 600)),
    ],
)
def test_a_clock_that_is_told_to_the_second_is_only_as_far_off_as_it_must_be(
    pulse: Pulse, now_ms: int, told: tuple[int | None, int]
) -> None:
    assert offset_ms(pulse, now_ms) == told


def test_the_date_of_an_http_answer_is_the_guests_clock_to_the_second() -> None:
    moment = dt.datetime(2026, 11, 22, 12, 2, 25, tzinfo=dt.UTC)
    head = b"HTTP/1.0 200 OK\r\ndate: Sun, 22 Nov 2026 12:02:25 GMT\r\n\r\n"
    assert read_pulse(head + b"ok boot-1\n") == Pulse("boot-1", None, int(moment.timestamp()))
    for nonsense in (b"yesterday", b"Sun, 99 Nov 2026 12:02:25 GMT", b"x" * 500):
        answer = b"HTTP/1.0 200 OK\r\nDate: " + nonsense + b"\r\n\r\nok boot-1\n"
        assert read_pulse(answer) == Pulse("boot-1", None, None)


def test_a_guest_of_which_nobody_knows_which_boot_slept_is_not_taken_for_the_same() -> None:
    """It fell asleep before it ever answered, and may have been reset in its sleep."""
    assert is_other_boot(None, "b")
    assert is_other_boot("a", "b")
    assert not is_other_boot("b", "b")
