"""The way into a house's bus: by name, with the key that the house keeps for that name."""

from collections.abc import Callable

from events import keys
from events.bus import nats
from events.bus.past import Past
from events.bus.permissions import appends, inbox
from schemas.house import House


async def connect_as(house: House, name: str, on_fault: Callable[[str], None]) -> nats.NatsBus:
    """A connection of the house's user `name`, with its own inbox; it comes back whenever it is lost.

    `on_fault` hears one sentence about whatever no call can be told. Raises `KeyFileError` without a key that only
    its owner can read, `Unanswered` when nobody answers, and `Denied` when the bus does not know the key. A worker
    appends only with the sealer's permit, in a house that asks for one. What lies before the stream's first message is read
    from the house's archive.
    """
    seed = keys.read(keys.path_of(house.keys, name))
    return await nats.connect(
        house.bus_url,
        name,
        seed=seed,
        inbox=inbox(name),
        on_fault=on_fault,
        permit_seconds=house.permit_seconds if appends(name) else 0.0,
        past=Past(house.audit),
    )
