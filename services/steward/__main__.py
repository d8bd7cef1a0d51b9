"""Runs the steward: alone with `python -m services.steward`, or beside the others in one process."""

from events.bus.alone import run_alone
from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.clock import Clock
from schemas.house import House
from services.steward.worker import Steward


async def work(house: House, ledger: Ledger, bus: Bus, clock: Clock) -> None:  # noqa: ARG001 - every worker is given its house
    """Kept VMs are worked on in their windows, for ever."""
    await Steward(ledger, bus, clock).work()


if __name__ == "__main__":
    run_alone("steward", work)
