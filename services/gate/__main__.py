"""Runs the gate: alone with `python -m services.gate`, or beside the others in one process."""

import os
import socket
from pathlib import Path

from events.bus.alone import run_alone
from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.clock import Clock
from schemas.contract import read as read_contract
from schemas.house import House
from schemas.pool import read as read_pool
from services.gate.worker import Gate


async def work(house: House, ledger: Ledger, bus: Bus, clock: Clock) -> None:
    """The contracts and pools of the house take effect, and the gate answers for ever."""
    gate = Gate(ledger, bus, clock, f"{socket.gethostname()}-{os.getpid()}")
    await gate.work(
        [read_contract(text) for text in _texts(house.contracts)],
        [read_pool(text) for text in _texts(house.pools)],
    )


def _texts(directory: str) -> list[str]:
    return [path.read_text() for path in sorted(Path(directory).glob("*.toml"))]


if __name__ == "__main__":
    run_alone("gate", work)
