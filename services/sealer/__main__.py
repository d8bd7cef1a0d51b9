"""Runs the sealer: alone with `python -m services.sealer`, or beside the others in one process."""

from pathlib import Path
from typing import Final

import httpx

from events.bus.alone import run_alone
from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.clock import Clock
from events.lock import hold
from events.tlog.files import DirectoryFiles
from schemas.house import House
from services.sealer import key
from services.sealer.aside import Thread
from services.sealer.witness import TIMEOUT_SECONDS, Witness
from services.sealer.worker import Sealer

LOCK: Final = "sealer.lock"
"""In the archive's directory: two sealers would write over each other."""


async def work(house: House, ledger: Ledger, bus: Bus, clock: Clock) -> None:
    """The house's ledger is sealed into its archive, for ever, and appends are permitted."""
    del ledger  # what is sealed is what the bus stored, decoded by nobody
    archive, key_file = Path(house.audit), Path(house.audit_key)
    with hold(_made(archive) / LOCK, f"The archive {archive} has a sealer"):
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
            aside = Thread()
            try:
                await Sealer(
                    bus,
                    clock,
                    DirectoryFiles(archive),
                    lambda first: key.opened(key_file, house.origin, first=first),
                    aside,
                    witnesses=[Witness(place, client) for place in house.witnesses],
                ).work()
            finally:
                aside.end()


def _made(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    return directory


if __name__ == "__main__":
    run_alone("sealer", work, reads=False)
