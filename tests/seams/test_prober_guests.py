import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from events.vm import VmReady, VmUnready
from lab.ports import LOOPBACK
from services.prober.http import HttpGuests
from services.prober.port import Pulse
from services.prober.worker import Prober
from tests.support import eventually, free_port
from tests.told import Told, telling


class Guest:
    """A port that takes connections from the start, as a host does for a paused guest, and answers once awake."""

    def __init__(self) -> None:
        self.awake = asyncio.Event()
        self.boot_id = "5a9e8e08-8f4c-4f0b-9a36-0d7f1c2b3a44"
        self.head = b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n"
        self.asked = 0
        self.open = 0
        self.deaf = 0
        """So many of the next connections are never answered."""
        self.address = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        self.open += 1
        lost = self.deaf > 0
        self.deaf -= lost
        try:
            await reader.readuntil(b"\r\n\r\n")
            gone = asyncio.ensure_future(reader.read())
            await asyncio.wait(
                {gone, asyncio.ensure_future(self.awake.wait())}, return_when="FIRST_COMPLETED"
            )
            if lost:
                await gone
            if not gone.done():
                body = f"ok {self.boot_id}\n".encode()
                writer.write(self.head % len(body) if b"%d" in self.head else self.head)
                await writer.drain()
                writer.write(body)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def listening(guest: Guest, port: int = 0) -> AsyncGenerator[Guest]:
    server = await asyncio.start_server(guest.answer, LOOPBACK, port)
    guest.address = f"{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    try:
        yield guest
    finally:
        server.close()


@pytest.fixture
async def guest() -> AsyncGenerator[Guest]:
    async with listening(Guest()) as guest:
        yield guest


@pytest.fixture
async def told() -> AsyncGenerator[Told]:
    async with telling() as told:
        yield told


def probing(told: Told) -> AbstractAsyncContextManager[None]:
    return told.at_work("prober", lambda ledger, bus, clock: Prober(ledger, bus, clock, HttpGuests()).work())


@asynccontextmanager
async def asleep(told: Told, guest: Guest, boot_id: str | None = None) -> AsyncGenerator[None]:
    """VM web-1 sleeps, the ledger knows its address and boot, and from then on a prober is at work."""
    await told.boot("web-1", purpose="stock")
    await told.defined("web-1", guest.address)
    await told.proven("web-1", cold=True)
    await told.ready("web-1", boot_id or guest.boot_id)
    await told.asleep("web-1")
    async with probing(told):
        yield


async def test_a_paused_guest_is_ready_as_soon_as_it_answers(told: Told, guest: Guest) -> None:
    async with asleep(told, guest):
        loop = asyncio.get_running_loop()
        await told.wake("web-1")
        await eventually(lambda: guest.asked >= 3, why="it is asked before it is known to be awake")
        woken = loop.time()
        guest.awake.set()
        await told.becomes("web-1", "warm")
        assert loop.time() - woken < 0.2
        ready = told.all(VmReady)[-1]
        assert (ready.boot_id, ready.rebooted, ready.clock_offset_ms) == (guest.boot_id, False, None)
        assert ready.reservation == told.reservation("web-1")
        assert ready.probe_started_at <= ready.answered_at
        await eventually(lambda: guest.open == 0, why="probes under way are given up")


async def test_probes_that_were_lost_cost_one_short_pause_and_not_their_timeout(
    told: Told, guest: Guest
) -> None:
    guest.deaf = 2
    guest.awake.set()
    async with asleep(told, guest):
        started = asyncio.get_running_loop().time()
        await told.wake("web-1")
        await told.becomes("web-1", "warm")
        assert asyncio.get_running_loop().time() - started < 0.2
        assert told.all(VmReady)[-1].probes == 3


async def test_at_most_four_probes_of_a_guest_are_open_at_once(told: Told, guest: Guest) -> None:
    async with asleep(told, guest):
        most = 0

        def enough() -> bool:
            nonlocal most
            most = max(most, guest.open)
            return guest.asked >= 9

        await told.wake("web-1")
        await eventually(enough, every_seconds=0.002)
        assert most <= 5  # one more for the moment in which a closed one is still noticed


async def test_a_guest_that_rebooted_in_silence_is_not_ready_once_its_waker_says_that_it_was_resumed(
    told: Told, guest: Guest
) -> None:
    async with asleep(told, guest, boot_id="the-boot-before"):
        guest.awake.set()
        await told.wake("web-1")
        await eventually(lambda: guest.asked >= 2)
        assert told.vm("web-1").state == "waking"
        await told.proven("web-1")
        await told.becomes("web-1", "unready")
        assert told.all(VmUnready)[-1].code == "rebooted"


async def test_a_cold_boot_is_awaited_from_a_closed_port_on(told: Told) -> None:
    guest, port = Guest(), free_port()
    guest.awake.set()
    await told.boot("web-1")
    await told.defined("web-1", f"{LOOPBACK}:{port}")
    await told.proven("web-1", cold=True)
    async with probing(told), listening(guest, port):
        await told.becomes("web-1", "warm")
    assert not told.all(VmReady)[-1].rebooted


async def test_a_guest_that_stays_silent_is_unready_when_its_window_since_awake_is_over(
    told: Told, guest: Guest
) -> None:
    async with asleep(told, guest):
        await told.wake("web-1", ready_seconds=2)
        await eventually(lambda: guest.asked >= 4)
        assert told.vm("web-1").state == "waking"
        await told.proven("web-1")
        await told.becomes("web-1", "unready")
        unready = told.all(VmUnready)[-1]
        assert unready.code == "probe-timeout"
        assert unready.probes >= 4
        assert "acme/web-1" in unready.text
        assert "2 s" in unready.text


async def test_a_guest_is_left_alone_once_its_reservation_ended(told: Told, guest: Guest) -> None:
    async with asleep(told, guest):
        await told.wake("web-1")
        await eventually(lambda: guest.open > 0)
        await told.crashed("web-1")
        await eventually(lambda: guest.open == 0, 1.0)
        assert len(told.all(VmReady)) == 1


async def test_a_prober_that_was_killed_is_replaced_by_one_that_asks_on(told: Told, guest: Guest) -> None:
    async with asleep(told, guest):
        order = await told.wake("web-1")
        await eventually(lambda: guest.asked > 0)
    guest.awake.set()
    async with probing(told):
        await told.becomes("web-1", "warm")
    assert [ready.reservation for ready in told.all(VmReady)].count(order) == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.0 503 Service Unavailable\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 9000\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"",
    ],
)
async def test_an_answer_that_is_not_a_pulse_is_none(guest: Guest, head: bytes) -> None:
    guest.awake.set()
    guest.head = head
    assert await HttpGuests().probe(guest.address, 0.5) is None


async def test_a_pulse_is_read_although_it_comes_in_pieces(guest: Guest) -> None:
    guest.awake.set()
    assert await HttpGuests().probe(guest.address, 0.5) == Pulse(guest.boot_id, None)


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:", "127.0.0.1:70000", "[::1]:1"])
async def test_an_address_that_nobody_can_answer_at_gives_no_pulse(address: str) -> None:
    assert await HttpGuests().probe(address, 0.5) is None
