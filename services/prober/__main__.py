"""Runs the prober: alone with `python -m services.prober`, or beside the others in one process."""

from events.bus.alone import run_alone
from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.clock import Clock
from schemas.house import House
from services.prober.http import HttpGuests
from services.prober.worker import Prober


async def work(house: House, ledger: Ledger, bus: Bus, clock: Clock) -> None:
    """Every guest on its way up is watched, for ever."""
    del house
    await Prober(ledger, bus, clock, HttpGuests()).work()


if __name__ == "__main__":
    run_alone("prober", work)
