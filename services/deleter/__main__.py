"""Runs the deleter: alone with `python -m services.deleter`, or beside the others in one process."""

from events.bus.alone import run_alone
from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.clock import Clock
from events.vault import Vault
from schemas.house import House
from services.deleter.alertmanager import Alertmanager
from services.deleter.worker import Deleter


async def work(house: House, ledger: Ledger, bus: Bus, clock: Clock) -> None:
    """VMs are led through the stages of their deletion, for ever."""
    silences = Alertmanager(house.alertmanager_url) if house.alertmanager_url else None
    try:
        await Deleter(ledger, bus, clock, silences, Vault(house.vault)).work()
    finally:
        if silences is not None:
            await silences.close()


if __name__ == "__main__":
    run_alone("deleter", work)
