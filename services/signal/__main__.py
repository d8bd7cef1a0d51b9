"""Runs the intake and the triggers: alone with `python -m services.signal`, or beside the others in one process."""

import asyncio
from pathlib import Path
from typing import Final

from events.bus.alone import run_alone
from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.bus.telemetry import Telemetry
from events.clock import Clock
from schemas.house import House
from schemas.image import Image, image_of
from services.signal.backfill import Backfill
from services.signal.prometheus import Prometheus
from services.signal.worker import Signal

FOLDER: Final = "signal"
"""Where this worker keeps what it must not do twice, in the house's directory."""


async def work(house: House, ledger: Ledger, bus: Bus, clock: Clock) -> None:
    """The intake is served, the triggers ask, and pools' past is told, for ever."""
    metrics = Prometheus(house.prometheus_url)
    templates = Path(house.templates)

    def image(template: str) -> Image | None:
        return image_of(templates / template) if (templates / template).is_dir() else None

    signal = Signal(ledger, bus, clock, metrics, remote_write=house.remote_write, image_of=image)
    marks = Path(house.directory) / FOLDER / "backfill.json"
    backfill = Backfill(ledger, clock, metrics, Telemetry(bus), marks)
    try:
        async with asyncio.TaskGroup() as parts:
            parts.create_task(signal.work())
            parts.create_task(backfill.work())
    finally:
        await metrics.close()


if __name__ == "__main__":
    run_alone("signal", work)
