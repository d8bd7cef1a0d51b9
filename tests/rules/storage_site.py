"""Storage at work on one toy disk, in virtual time, and words for what becomes of its VM."""

from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from events.vm import VmQuiesced
from events.volume import SnapshotFailed, VolumeCreated
from schemas.pool import Storage as Kind
from schemas.seed import Seed
from services.storage.errors import StorageError, WokeError
from services.storage.port import Look, Made, Sleeper, Standing, Volumes
from services.storage.volumes import Store
from services.storage.worker import Pauses, Storage
from services.waker.port import domain_name
from tests.rules.one_life import one_life
from tests.rules.waker_host import Site
from tests.simulation.clock import pause

VOLUME = "/volumes/acme.web-1.qcow2"
AT_ONCE = Pauses(0.0, 0.0)


@dataclass
class Toy:
    """One disk; `no` says which of the next calls are refused, `slow` how long a join takes."""

    standing: Standing = "paused"
    layers: int = 1
    pinned: int | None = None
    joining: bool = False
    slow: float = 0.0
    no: dict[str, deque[StorageError]] = field(default_factory=dict[str, "deque[StorageError]"])
    asked: list[str] = field(default_factory=list[str])
    there: set[str] = field(default_factory=set[str])
    """VMs whose volume is there."""
    during: dict[str, Callable[[], object]] = field(default_factory=dict[str, "Callable[[], object]"])
    """What happens while a call is under way."""

    def has_disk(self, template: str) -> bool:
        return template == "tiny"

    def has_seed(self, template: str) -> bool:
        return template == "seeded"

    def template_bytes(self, template: str) -> int:
        raise AssertionError(template)

    async def enrol(self, org: str, quota_bytes: int) -> None:
        raise AssertionError((org, quota_bytes))

    def store(self, host: str, storage: Kind) -> Store | None:
        return None

    async def lay_seed(self, org: str, vm: str, seed: Seed) -> None:
        await self._ask(f"lay {seed.hostname}")

    async def clear(self, org: str, vm: str) -> None:
        await self._ask(f"clear {org}.{vm}")

    def at(self, host: str) -> Volumes | None:
        return self if host == "h1" else None

    async def make(self, org: str, vm: str, template: str) -> Made:
        await self._ask("make")
        fresh = vm not in self.there
        self.there.add(vm)
        return Made(f"/volumes/{org}.{vm}.qcow2", 1 << 26, fresh)

    async def look(self, sleeper: Sleeper) -> Look:
        assert sleeper == Sleeper(domain_name("acme", "web-1"), VOLUME)
        await self._ask("look")
        return Look(self.standing, self.layers, self.pinned, self.joining)

    async def join(self, sleeper: Sleeper, asleep: Callable[[], bool]) -> None:
        self.joining = True
        await self._ask("join")
        for _ in range(int(self.slow / 0.1)):
            await pause(0.1)
            if not asleep():
                await self.abandon(sleeper)
                raise WokeError("It woke.")
        self.layers, self.pinned, self.joining = 1, None, False

    async def abandon(self, sleeper: Sleeper) -> None:
        await self._ask("abandon")
        self.joining = False

    async def pin(self, sleeper: Sleeper, asleep_since: int) -> str:
        await self._ask("pin")
        self.layers, self.pinned = self.layers + 1, asleep_since
        return sleeper.volume

    async def _ask(self, what: str) -> None:
        self.asked.append(what)
        await pause(0.01)
        if (happens := self.during.pop(what, None)) is not None:
            happens()
        refusals = self.no.get(what)
        if refusals:
            raise refusals.popleft()


class Scene:
    """A desk with VM web-1, whose disk is a toy."""

    def __init__(self) -> None:
        self.site = Site()
        self.toy = Toy()

    @asynccontextmanager
    async def storage(self, pauses: Pauses = AT_ONCE) -> AsyncGenerator[None]:
        desk = self.site.desk
        async with one_life(
            desk,
            "storage",
            lambda ledger, bus: Storage(ledger, bus, desk.clock, self.toy, pauses).work(),
        ):
            yield

    def disk(self) -> str:
        """VM web-1 runs and has its disk; its reservation."""
        reservation = self.site.awake()
        now = self.site.desk.clock.now()
        self.site.desk.write(VolumeCreated("acme", "web-1", "h1", VOLUME, "tiny", 1 << 26, reservation, now))
        return reservation

    def sleeps(self, reservation: str) -> int:
        """It falls asleep; the sequence that says so."""
        self.site.quiesce("web-1", reservation)
        return self.site.desk.facts(VmQuiesced)[-1].seq

    def wakes(self, number: int = 9) -> str:
        """The gate has it woken, and it runs and is ready."""
        self.toy.standing = "running"
        reservation = self.site.wake("web-1", number)
        self.site.ready("web-1", reservation)
        return reservation

    def codes(self) -> list[str]:
        return [said.code for said in self.site.said(SnapshotFailed)]
