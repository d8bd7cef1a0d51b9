"""A year of kept VMs in four zones: every worker as it is, and time that leaps from one instant at which something is due to the next.

People make VMs, resize and reboot them in windows, copy, delete and take back, by lot; one pool is backed up each night. The clocks go
forward and back in spring and autumn, on different days in different zones.
"""

import asyncio
import datetime as dt
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from msgspec.structs import replace as struct_replace

from schemas.capacity import NOTHING, Capacity, Size
from schemas.maintenance import Window
from schemas.pool import Pool
from services.storage.copies.nights import Nights, Sky, look
from tests import papers
from tests.simulation.chance import Chance
from tests.simulation.clock import EPOCH, VirtualLoop, pause
from tests.simulation.programs import Reach, make_task
from tests.simulation.run import quick, silence
from tests.simulation.setting import DISK_BYTES, MIB, kept_pool
from tests.simulation.steps import Script, Stage, calm
from tests.simulation.verdict import unrest

ORG: Final = "acme"
DAYS: Final = 365
ZONES: Final = {
    "berlin": "Europe/Berlin",
    "york": "America/New_York",
    "nepal": "Asia/Kathmandu",
    "samoa": "Pacific/Apia",
}
NIGHTLY: Final = "berlin"
SIZES: Final = tuple(Size(f"year-{vcpu}", vcpu, 256 * vcpu) for vcpu in (1, 2, 3, 4))
QUIET_SECONDS: Final = 1.2
"""The steward and the deleter look at the time each second."""
A_MINUTE: Final = dt.timedelta(seconds=61)
"""After which the deleter says again what was refused."""
MOST_EVENTS: Final = 400_000


class Year(Stage):
    """One crew of all workers, hosts with room, and a pool in each zone."""

    def __init__(self, seed: int, loop: asyncio.AbstractEventLoop) -> None:
        self._seed = seed
        super().__init__(Script(), seed, loop)
        self.memory_mib = 1 << 20
        self.truth.most_events = MOST_EVENTS
        assert self.living is not None
        self.nights = Nights()
        self.sky = Sky(
            self.nights,
            self.living.copies,
            self.living.deletions,
            self.living.directory,
            self.truth.fleet,
            self.truth.volumes,
        )
        fold = self.truth.witness

        def witness(line: Any) -> Iterator[str]:
            self.nights.apply(line)
            yield from fold(line)

        self.truth.witness = witness
        self.kept_pools = [self._pool(name, zone) for name, zone in ZONES.items()]

    @staticmethod
    def plan_for(seed: int) -> Any:
        """One host, one program."""
        return replace(calm(seed), crews=1)

    def _pool(self, name: str, zone: str) -> Pool:
        pool = kept_pool(ORG, size=SIZES[0], window=Window(zone=zone, start="22:00", end="05:00"))
        nightly = {"backups": "nightly", "backups_kept": 7} if name == NIGHTLY else {}
        return struct_replace(pool, name=name, **nightly)

    def _sign(self, org: str, chance: Chance) -> None:
        del chance
        quota = Capacity(vcpu=4000, memory_mib=1 << 22, block_bytes=1 << 44)
        self._file(org, papers.terms(org, quota=quota, valid_until=EPOCH + dt.timedelta(days=500)), None)

    def _reaching(self) -> Any:
        return Reach

    def due(self) -> Iterator[dt.datetime]:
        """When something is to happen by itself."""
        assert self.living is not None
        now = self.clocks.now()
        for planned in self.living.calendar.open(ORG):
            yield planned.entry.slot.start
        for deletion in self.living.deletions.standing():
            if deletion.next is not None:
                instant = deletion.instant(deletion.next)
                yield instant if instant > now else now + A_MINUTE
        _, again = look(self.sky, now)
        if again is not None:
            yield again


@dataclass(slots=True)
class Folk:
    """Everybody who wants something within the year."""

    year: Year
    vms: int
    rng: random.Random
    days: int
    wishes: list[tuple[dt.datetime, str, dict[str, Any]]] = field(
        default_factory=list[tuple[dt.datetime, str, dict[str, Any]]]
    )
    _number: int = 0

    def plan(self) -> None:
        """What is wanted when, by lot."""
        names = [f"vm-{number}x" for number in range(self.vms)]
        for name in names:
            pool = self.rng.choice(list(ZONES))
            made = self._instant(0.0, 0.05)
            body = {"pool": pool, "size": self.rng.choice(SIZES), "start": self.rng.random() < 0.9}
            self.wishes.append((made, "create", {"vm": name, **body}))
            for _ in range(self.rng.randrange(1, 5)):
                at = self._instant(0.05, 1.0)
                verb, more = self._anything()
                self.wishes.append((at, verb, {"vm": name, **more}))
        self.wishes.sort(key=lambda one: (one[0], one[2]["vm"]))

    def _instant(self, first: float, last: float) -> dt.datetime:
        seconds = self.rng.uniform(first, last) * self.days * 86_400
        return EPOCH + dt.timedelta(seconds=round(seconds))

    def _anything(self) -> tuple[str, dict[str, Any]]:
        because = {"reason": "because"}
        match self.rng.choice(
            ("resize", "resize", "reboot", "grow", "copy", "delete", "delete", "undelete", "stop")
        ):
            case "resize":
                return "resize", {"size": self.rng.choice(SIZES), "when": "window"}
            case "reboot":
                return "change", {"change": "reboot", "when": "window", **because}
            case "stop":
                return "change", {"change": self.rng.choice(("stop", "start")), "when": "now", **because}
            case "grow":
                return "resize", {
                    "disk_bytes": DISK_BYTES + self.rng.randrange(1, 9) * 16 * MIB,
                    "when": "now",
                }
            case "copy":
                return "copy", {"kind": self.rng.choice(("snapshot", "backup")), **because}
            case "delete":
                return "delete", because
            case _:
                return "undelete", because

    async def ask(self, verb: str, body: dict[str, Any]) -> None:
        """It is asked; the answer may be a refusal."""
        self._number += 1
        await self.year.tenants[1].client.ask(verb, {**body, "key": f"k{self._number}", "actor": "kim"})


async def live(year: Year, vms: int, days: int) -> int:
    """The year went by; how many leaps it took."""
    folk = Folk(year, vms, random.Random(f"{year.plan.seed}/folk"), days)
    folk.plan()
    for program in year.programs:
        program.start()
    await _rest(year)
    leaps, ends = 0, EPOCH + dt.timedelta(days=days)
    while not year.truth.broken:
        now = year.clocks.now()
        wanted = [folk.wishes[0][0]] if folk.wishes else []
        to = min([*wanted, *year.due(), ends])
        if to > now:
            year.clocks.pass_by((to - now).total_seconds())
            leaps += 1
        if to >= ends:
            break
        while folk.wishes and folk.wishes[0][0] <= year.clocks.now():
            _, verb, body = folk.wishes.pop(0)
            await folk.ask(verb, body)
        await _rest(year)
    for _ in range(60):
        await pause(1.0)
        if not list(unrest(year)):
            break
    return leaps


async def _rest(year: Year) -> None:
    """Nothing is open, and nothing new has come for a moment."""
    loop, truth, living = asyncio.get_running_loop(), year.truth, year.living
    assert living is not None
    await pause(QUIET_SECONDS)
    for _ in range(1000):
        quiet = loop.time() - truth.grown_at >= QUIET_SECONDS
        opened = living.copies.making or living.copies.dropping or living.deletions.erasing
        opened = opened or truth.usage.reserved(ORG) != NOTHING
        if truth.broken or (quiet and not opened and not list(truth.docket.waiting())):
            return
        await pause(0.2)
    truth.breaks("The world does not come to rest.")


def run(seed: int, vms: int, days: int = DAYS) -> tuple[Year, int, tuple[str, ...]]:
    """A year of this seed: the world at its end, the leaps it took, and what is wrong."""
    loop = VirtualLoop()
    loop.set_task_factory(make_task)
    year = Year(seed, loop)
    with silence(), quick():
        try:
            leaps = loop.run_until_complete(live(year, vms, days))
            faults = [*year.truth.broken, *unrest(year)]
        finally:
            for program in year.programs:
                if program.life is not None:
                    program.life.end()
            loop.end()
            if year.directory is not None:
                year.directory.cleanup()
    return year, leaps, tuple(faults)
