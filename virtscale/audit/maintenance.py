"""A house that is down, and of it the bus alone: for what may only be done to the ledger while nobody works on it."""

import logging
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from events import keys
from events.bus import nats
from events.bus.past import Past
from events.bus.permissions import Permit, admin, inbox, worker
from events.bus.port import Bus
from events.lock import hold
from lab.bus import BusServer, BusUser
from lab.ports import free_ports
from replay.keeping import stream
from replay.keeping.intent import Intent
from schemas.house import House
from services.sealer.__main__ import LOCK as SEALER_LOCK
from virtscale.description import ORIGIN
from virtscale.show import say
from virtscale.standing import make_way

log = logging.getLogger("virtscale.audit")

LOCK = "up.lock"
"""Held by a house that is up, and by whoever works on one that is down."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a house keeps its ledger and what belongs to it; the house may not have been up yet."""

    directory: Path
    keys: Path
    audit: Path
    audit_key: Path
    marks: Path
    origin: str

    @classmethod
    def of(cls, house: House) -> Self:
        """The places of a house that has been up."""
        return cls(
            Path(house.directory),
            Path(house.keys),
            Path(house.audit),
            Path(house.audit_key),
            Path(house.marks),
            house.origin,
        )

    @classmethod
    def fresh(cls, directory: Path, origin: str = ORIGIN) -> Self:
        """Where `virtscale up` will look in a directory that holds no house yet; `origin` is whose log it will be."""
        return cls(
            directory,
            directory / "keys",
            directory / "audit",
            directory / "audit-key" / "log.ed25519",
            directory / "marks",
            origin,
        )

    @property
    def bus(self) -> Path:
        """The directory of the bus."""
        return self.directory / "bus"

    @contextmanager
    def down(self) -> Generator[None]:
        """Nobody else works on the house while this lasts, nor on its archive; `TakenError` when somebody does.

        A sealer that was started alone (`python -m services.sealer`) holds the archive, and not the house.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            held.enter_context(hold(self.directory / LOCK, f"The house {self.directory} is up"))
            if self.audit.is_dir():
                held.enter_context(hold(self.audit / SEALER_LOCK, f"The archive {self.audit} has a sealer"))
            yield


class BusAlone:
    """The bus of a house that is down, running for the two users who may change the ledger's stream."""

    def __init__(self, place: Place, server: BusServer) -> None:
        self._place = place
        self._server = server

    async def connect(self, permit: Permit) -> Bus:
        """A connection of one of the two, without any permit of a sealer: there is none."""
        return await nats.connect(
            self._server.url,
            permit.name,
            seed=keys.read(keys.path_of(self._place.keys, permit.name)),
            inbox=inbox(permit.name),
            on_fault=log.warning,
            past=Past(self._place.audit),
        )

    async def sealer(self) -> Bus:
        """The one who reads all and writes the ledger's own events."""
        return await self.connect(worker("sealer"))

    async def admin(self) -> Bus:
        """The one who makes streams."""
        return await self.connect(admin())

    async def stand(self) -> Intent | None:
        """What was under way is done; what that was."""
        place = self._place
        bus = await self.admin()
        try:
            return await stream.stand(place.directory, place.audit, place.marks, bus, self.sealer, warn=say)
        finally:
            await bus.close()

    async def find_again(self) -> None:
        """There is a stream, with all that lies in the store, or an empty one."""
        bus = await self.admin()
        try:
            await stream.found_again(bus, say)
        finally:
            await bus.close()


@asynccontextmanager
async def bus_alone(place: Place) -> AsyncGenerator[BusAlone]:
    """The bus runs on a free port until the block ends. An old store that was to be set aside is, before it starts."""
    await make_way(place.directory)
    users = [_user(place.keys, permit) for permit in (worker("sealer"), admin())]
    server = BusServer(place.bus, free_ports(1)[0], users)
    await server.start()
    try:
        yield BusAlone(place, server)
    finally:
        await server.stop()


def _user(directory: Path, permit: Permit) -> BusUser:
    key = keys.create(keys.path_of(directory, permit.name))
    return BusUser(permit.name, key, permit.publish, permit.subscribe, permit.allow_responses)
