"""Runs storage: alone with `python -m services.storage`, or beside the others in one process."""

from events.bus.alone import run_alone
from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.clock import Clock
from events.vault import Vault
from schemas.house import House
from services.storage.copies.freezing import Freezer
from services.storage.places import Places
from services.storage.worker import Storage


async def work(house: House, ledger: Ledger, bus: Bus, clock: Clock) -> None:
    """Disks of all hosts are made and pinned, for ever."""
    places = Places(house, clock)
    try:
        words, still = Vault(house.vault).seed, Freezer(places.place).still
        await Storage(ledger, bus, clock, places, words=words, backups=house.backups, still=still).work()
    finally:
        await places.close()


if __name__ == "__main__":
    run_alone("storage", work)
