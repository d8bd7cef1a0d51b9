"""Runs the announcer: alone with `python -m services.announcer`, or beside the others in one process."""

from pathlib import Path

from events.bus.alone import run_alone
from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.clock import Clock
from schemas.house import House
from services.announcer.haproxy import Haproxy
from services.announcer.worker import Announcer


async def work(house: House, ledger: Ledger, bus: Bus, clock: Clock) -> None:
    """The load balancer follows the ledger, for ever."""
    haproxy = Haproxy(Path(house.balancer_socket), Path(house.balancer_config), Path(house.balancer_base))
    await Announcer(ledger, bus, clock, haproxy).work()


if __name__ == "__main__":
    run_alone("announcer", work)
