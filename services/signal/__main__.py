"""Runs the intake and the triggers: alone with `python -m services.signal`, or beside the others in one process."""

from events.bus.alone import run_alone
from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.clock import Clock
from schemas.house import House
from services.signal.prometheus import Prometheus
from services.signal.worker import Signal


async def work(house: House, ledger: Ledger, bus: Bus, clock: Clock) -> None:
    """The intake is served and the triggers ask, for ever."""
    metrics = Prometheus(house.prometheus_url)
    try:
        await Signal(ledger, bus, clock, metrics, remote_write=house.remote_write).work()
    finally:
        await metrics.close()


if __name__ == "__main__":
    run_alone("signal", work)
