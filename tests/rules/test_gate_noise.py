"""However much noise somebody writes who may only read: every org is answered, and every request is taken."""

import asyncio

import msgspec
import pytest

from events.bus import ledger as reading
from events.bus.ledger import Ledger
from events.bus.port import Outgoing
from events.envelope import fence
from schemas.intake import Receipt
from services.gate.worker import Gate
from tests.rules.desk import Desk, play
from tests.rules.test_signal_worker import decode, intake

MANY = 5
REQUESTS = "vs.acme.signal.pool.web.scale.requested"


def make_noise(desk: Desk, *subjects: str) -> None:
    """An answer of the bus's own, which has no id, on each subject."""
    for subject in subjects:
        desk.server.ledger._put(Outgoing(subject, "", b"{}", None), desk.clock.now_ns())
    for bus in desk.server.buses:
        bus.ring()


def test_noise_that_is_forgotten_holds_up_neither_the_gate_nor_the_intake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reading, "_MOST_NOISE", MANY)

    async def scene() -> None:
        desk = Desk()
        desk.contract()
        make_noise(desk, fence("acme"), REQUESTS)
        make_noise(desk, *(f"vs.acme.gate.org.noise-{number}.gate.decided" for number in range(MANY)))
        bus = desk.worker_bus("gate")
        ledger = Ledger(bus)
        gate = Gate(ledger, bus, desk.clock, "g1")
        tasks = [asyncio.create_task(gate.work([])), asyncio.create_task(ledger.follow())]
        payload = msgspec.json.encode({"pool": "web", "key": "k", "add": 1, "wait": True})
        async with intake(desk) as signal, asyncio.timeout(60):
            receipt = decode(await signal.answer("in.acme.shop.scale", payload))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(receipt, Receipt)
        assert receipt.outcome is not None

    play(scene)
