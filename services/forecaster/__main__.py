"""Runs the forecaster: alone with `python -m services.forecaster`, or beside the others in one process."""

from pathlib import Path
from typing import Final

from events.bus.alone import run_alone
from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.clock import Clock, machine
from schemas.house import House
from services.forecaster.keeping import Directory
from services.forecaster.worker import Forecaster

FOLDER: Final = "forecast"
"""Where in the house what was learnt lies."""


async def work(house: House, ledger: Ledger, bus: Bus, clock: Clock) -> None:
    """Every pool is foreseen, for ever."""
    await Forecaster(ledger, bus, machine(clock), Directory(Path(house.directory) / FOLDER)).work()


if __name__ == "__main__":
    run_alone("forecaster", work)
