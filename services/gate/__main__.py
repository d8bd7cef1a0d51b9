"""Runs the gate: alone with `python -m services.gate`, or beside the others in one process."""

import os
import socket
from pathlib import Path

from events.bus.alone import run_alone
from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.clock import Clock
from schemas.house import House
from schemas.pool import Pool, read, says_refresh
from services.gate.worker import Gate


async def work(house: House, ledger: Ledger, bus: Bus, clock: Clock) -> None:
    """The pools of the house are defined, and the gate answers for ever."""
    gate = Gate(ledger, bus, clock, f"{socket.gethostname()}-{os.getpid()}")
    files = _pools(house)
    unsaid = {(pool.org, pool.name) for pool, text in files if not says_refresh(text)}
    await gate.work([pool for pool, _ in files], unsaid)


def _pools(house: House) -> list[tuple[Pool, str]]:
    texts = [path.read_text() for path in sorted(Path(house.pools).glob("*.toml"))]
    return [(read(text), text) for text in texts]


if __name__ == "__main__":
    run_alone("gate", work)
