"""The ledger's stream as a house that comes up needs it: there, guarded, and nothing half done to it."""

import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from events.bus.entrance import connect_as
from events.bus.port import Bus
from replay.keeping import intent, stream
from schemas.house import House

log = logging.getLogger("virtscale.world")


def set_aside(directory: Path) -> None:
    """A store that `virtscale ledger recover` gave up lies beside the new one; to be done before the bus starts."""
    stream.set_aside(intent.read(directory), directory / "bus")


async def stand(house: House, admin: Bus, say: Callable[[str], None]) -> None:
    """The stream is there; what `virtscale ledger roll`, `recover`, `restore` or `import` had begun is completed first."""
    unasked = msgspec.structs.replace(house, permit_seconds=0.0)  # no sealer works yet

    async def sealer() -> Bus:
        return await connect_as(unasked, "sealer", log.warning)

    done = await stream.stand(Path(house.directory), Path(house.audit), Path(house.marks), admin, sealer)
    if done is not None:
        say(f"the ledger was {done.what} behind sequence {done.size}, as had been begun")
