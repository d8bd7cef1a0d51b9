"""Runs the notifier: alone with `python -m services.notifier`, or beside the others in one process."""

from events.bus.alone import run_alone
from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.clock import Clock
from events.vault import Vault
from schemas.house import House
from services.notifier.smtp import Smtp
from services.notifier.worker import Notifier


async def work(house: House, ledger: Ledger, bus: Bus, clock: Clock) -> None:
    """Owners hear of refusals and people are erased, for ever."""
    relay = Smtp(house.smtp_host, house.smtp_port)
    await Notifier(ledger, bus, clock, relay, Vault(house.vault)).work()


if __name__ == "__main__":
    run_alone("notifier", work)
