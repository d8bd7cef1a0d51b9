"""The ledger's stream as a house that comes up needs it: there, guarded, and nothing half done to it."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from events.bus.entrance import connect_as
from events.bus.port import Bus
from lab.errors import LabError
from replay.keeping import intent, stream
from schemas.house import House

log = logging.getLogger("virtscale.world")


_END_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 0.02


async def make_way(directory: Path) -> None:
    """Nothing serves the house's store, and one that `virtscale ledger recover` gave up lies beside; before the bus starts.

    Whoever calls this holds the house's lock. A bus that runs all the same was left behind by a command that was killed in
    the moment in which it started it; two on one store would write over each other.
    """
    bus = directory / "bus"
    deadline = asyncio.get_running_loop().time() + _END_SECONDS
    asked: set[int] = set()
    while left := list(_left_behind(bus)):
        for pid in left:
            if pid not in asked:
                log.warning(
                    "process %d serves the store of %s and belongs to nobody: it is ended", pid, directory
                )
                os.kill(pid, signal.SIGTERM)
                asked.add(pid)
        if asyncio.get_running_loop().time() > deadline:
            raise LabError(
                "lab.bus-left-behind",
                f"Process {left[0]} serves the store {bus} and does not end: run `kill -9 {left[0]}`. Nothing was started.",
            )
        await asyncio.sleep(_LOOK_SECONDS)
    stream.set_aside(intent.read(directory), bus)


def _left_behind(bus: Path) -> Iterator[int]:
    """Processes that were started with the configuration of this bus."""
    mark = str(bus / "nats.conf").encode()
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                words = (process / "cmdline").read_bytes().split(b"\0")
            except OSError:  # gone meanwhile, or somebody else's
                continue
            if mark in words:
                yield int(process.name)


async def stand(house: House, admin: Bus, say: Callable[[str], None]) -> None:
    """The stream is there; what `virtscale ledger roll`, `recover`, `restore` or `import` had begun is completed first."""
    unasked = msgspec.structs.replace(house, permit_seconds=0.0)  # no sealer works yet

    async def sealer() -> Bus:
        return await connect_as(unasked, "sealer", log.warning)

    done = await stream.stand(
        Path(house.directory), Path(house.audit), Path(house.marks), admin, sealer, warn=say
    )
    if done is not None:
        say(f"the ledger was {done.what} behind sequence {done.size}, as had been begun")
