"""Runs the waker of one host: alone with `python -m services.waker`, or beside the others in one process."""

from pathlib import Path

from events.bus.alone import run_alone
from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.clock import Clock
from events.lock import hold
from schemas.house import House
from services.waker.libvirt.hypervisor import Libvirt
from services.waker.worker import Waker


async def work(house: House, ledger: Ledger, bus: Bus, clock: Clock) -> None:
    """Orders for the house's first host are carried out, for ever; with several hosts, one of these runs for each."""
    place = house.hosts[0]
    lock = Path(house.directory) / f"waker-{place.name}.lock"
    with hold(lock, f"Host {place.name} has a waker"):
        hypervisor = Libvirt(place, Path(house.templates))
        try:
            await Waker(ledger, bus, clock, hypervisor, place).work()
        finally:
            await hypervisor.close()


if __name__ == "__main__":
    run_alone("waker", work)
