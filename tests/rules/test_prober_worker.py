import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable

import pytest

from events.host import HostAdmitted, HostFenced, HostRegistered
from events.vm import VmReady, VmUnready
from schemas.names import PLATFORM
from services.prober.decide import (
    MOST_IN_FLIGHT,
    patience_seconds,
    pause_seconds,
    window_seconds,
)
from services.prober.port import Pulse
from services.prober.state import Trips
from services.prober.worker import Prober
from tests.simulation.clock import EPOCH, VirtualClock, VirtualLoop, pause
from tests.support import eventually
from tests.told import Told, telling

ADDRESS = "127.0.0.1:20001"


class Toy:
    """Guests in memory: they answer 5 ms after a probe that reaches them awake, or hold it until they wake."""

    def __init__(self) -> None:
        self.awake = asyncio.Event()
        self.card_up = asyncio.Event()
        """Probes that go out before this are lost."""
        self.card_up.set()
        self.boot_id = "boot-1"
        self.clock_off_ms: int | None = None
        self.sent_at: list[float] = []
        self.in_flight = 0
        self.most_in_flight = 0

    async def probe(self, address: str, timeout_seconds: float) -> Pulse | None:
        assert address == ADDRESS
        loop = asyncio.get_running_loop()
        self.sent_at.append(loop.time())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        lost = not self.card_up.is_set()
        try:
            async with asyncio.timeout(timeout_seconds):
                if lost:
                    await asyncio.Event().wait()
                await self.awake.wait()
                await pause(0.005)
        except TimeoutError:
            return None
        finally:
            self.in_flight -= 1
        told_ms = int((EPOCH.timestamp() + loop.time()) * 1000)
        return Pulse(self.boot_id, None if self.clock_off_ms is None else told_ms + self.clock_off_ms)


def story(tell: Callable[[Told, Toy], Awaitable[None]]) -> None:
    """The story is told in virtual time, of VM web-1 that sleeps and a prober at work."""
    loop = VirtualLoop()

    async def whole() -> None:
        toy = Toy()
        async with telling(VirtualClock(loop)) as told:
            await told.boot("web-1", purpose="stock")
            await told.defined("web-1", ADDRESS)
            await told.proven("web-1", cold=True)
            await told.ready("web-1")
            await told.asleep("web-1")
            async with told.at_work(
                "prober", lambda ledger, bus, clock: Prober(ledger, bus, clock, toy).work()
            ):
                await tell(told, toy)

    try:
        loop.run_until_complete(whole())
    finally:
        loop.end()


def test_a_guest_is_asked_from_the_order_on_and_ready_5_ms_after_it_wakes() -> None:
    async def tell(told: Told, toy: Toy) -> None:
        await told.wake("web-1")
        await pause(0.012)
        toy.awake.set()
        woken = asyncio.get_running_loop().time()
        await told.becomes("web-1", "warm")
        assert toy.sent_at[0] < 0.01
        ready = told.all(VmReady)[-1]
        assert (ready.answered_at - EPOCH).total_seconds() == pytest.approx(woken + 0.005, abs=0.001)
        assert ready.probes == 1
        assert ready.clock_offset_ms is None

    story(tell)


def test_a_network_card_that_comes_up_late_costs_a_hedge_and_not_a_timeout() -> None:
    async def tell(told: Told, toy: Toy) -> None:
        toy.card_up.clear()
        toy.awake.set()
        await told.wake("web-1")
        await pause(0.1)
        up = asyncio.get_running_loop().time()
        toy.card_up.set()
        await told.becomes("web-1", "warm")
        assert asyncio.get_running_loop().time() - up < 0.06

    story(tell)


def test_the_guests_clock_is_compared_where_it_tells_it() -> None:
    async def tell(told: Told, toy: Toy) -> None:
        toy.clock_off_ms = -400
        toy.awake.set()
        await told.wake("web-1")
        await told.becomes("web-1", "warm")
        assert told.all(VmReady)[-1].clock_offset_ms == pytest.approx(-400, abs=1)

    story(tell)


def test_probes_never_pile_up_and_settle_at_four_a_second() -> None:
    async def tell(told: Told, toy: Toy) -> None:
        await told.wake("web-1")
        await pause(30)
        assert toy.most_in_flight == MOST_IN_FLIGHT
        assert 100 <= len(toy.sent_at) <= 130
        assert told.vm("web-1").state == "waking"

    story(tell)


def test_the_window_runs_from_the_proof_that_the_vm_is_awake() -> None:
    async def tell(told: Told, toy: Toy) -> None:
        await told.wake("web-1", ready_seconds=20)
        await pause(50)
        assert told.vm("web-1").state == "waking"
        await told.proven("web-1")
        proven = asyncio.get_running_loop().time()
        await told.becomes("web-1", "unready", 30)
        assert 20 <= asyncio.get_running_loop().time() - proven < 20.1
        unready = told.all(VmUnready)[-1]
        assert (unready.code, unready.probes) == ("probe-timeout", len(toy.sent_at))
        assert toy.in_flight == 0

    story(tell)


def test_the_proof_that_a_vm_woke_makes_the_probes_quick_again() -> None:
    async def tell(told: Told, toy: Toy) -> None:
        toy.card_up.clear()
        await told.wake("web-1")
        await pause(10)
        toy.card_up.set()
        toy.awake.set()
        await told.proven("web-1")
        proven = asyncio.get_running_loop().time()
        await eventually(lambda: told.vm("web-1").state == "warm", every_seconds=0.001)
        assert asyncio.get_running_loop().time() - proven < 0.05

    story(tell)


def test_a_prober_that_comes_back_after_the_window_still_asks_before_it_gives_up() -> None:
    now = EPOCH
    assert window_seconds(20, now - dt.timedelta(seconds=5), now) == 15
    assert window_seconds(20, now - dt.timedelta(hours=5), now) == 2
    assert window_seconds(20, now + dt.timedelta(hours=5), now) == 20


def test_nobody_asks_a_guest_of_a_host_that_is_dead() -> None:
    async def tell(told: Told, toy: Toy) -> None:
        await told.tell(HostRegistered(PLATFORM, "h1", "test:///default", 9_000_000, "test", 4, 4096, EPOCH))
        await told.wake("web-1")
        await pause(1)
        await told.tell(HostFenced(PLATFORM, "h1", "ops", "its rack burnt", EPOCH))
        await told.becomes("web-1", "stopped")
        asked = len(toy.sent_at)
        await pause(3600)
        assert (len(toy.sent_at), toy.in_flight) == (asked, 0)
        assert told.all(VmUnready) == []
        await told.tell(HostAdmitted(PLATFORM, "h1", "ops", "it was not", EPOCH))
        toy.awake.set()
        toy.boot_id = "boot-2"
        await told.boot("web-1")
        await told.proven("web-1", cold=True)
        await told.becomes("web-1", "warm")

    story(tell)


def test_a_guest_that_is_being_shut_down_for_its_reboot_is_not_the_one_that_was_booted() -> None:
    async def tell(told: Told, toy: Toy) -> None:
        toy.awake.set()
        await told.boot("web-1")
        await pause(1)  # the former guest answers all the while
        await told.proven("web-1", cold=True)
        await pause(2)
        assert told.vm("web-1").state == "booting"
        toy.boot_id = "boot-2"
        await told.becomes("web-1", "warm")
        assert [one.boot_id for one in told.all(VmReady)] == ["boot-1", "boot-2"]

    story(tell)


def test_trips_to_a_host_end_with_it_and_others_go_on() -> None:
    async def tell(told: Told, toy: Toy) -> None:
        del toy
        await told.wake("web-1")
        open_after = []
        for host in ("h2", "h1"):
            await told.tell(HostFenced(PLATFORM, host, "ops", "its rack burnt", EPOCH))
            trips = Trips()
            for event in told.events():
                trips.apply(event)
            open_after.append([trip.vm for trip in trips.open.values()])
        assert open_after == [["web-1"], []]

    story(tell)


def test_pauses_double_from_20_to_250_ms_and_patience_grows_from_250_ms_to_1_s() -> None:
    assert [pause_seconds(step) for step in range(6)] == [0.02, 0.04, 0.08, 0.16, 0.25, 0.25]
    assert (patience_seconds(0), patience_seconds(1), patience_seconds(100)) == (0.25, 0.3125, 1.0)
