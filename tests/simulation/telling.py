"""How a story is told: asked step by step, each when the one before has come to rest; and what is there at its end."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from schemas.intake import Receipt
from services.storage.volumes import Volume
from tests.simulation.clock import VirtualLoop, pause
from tests.simulation.load import Client
from tests.simulation.programs import make_task
from tests.simulation.run import quick, silence
from tests.simulation.setting import KEPT_POOL, SIZES
from tests.simulation.steps import Call, Script, Stage
from tests.simulation.trace import lines
from tests.simulation.verdict import judge, unrest

LOOK_SECONDS: Final = 0.5
MOST_SECONDS: Final = 400.0
"""A story that has not come to rest by then never will: a start that is not answered is waited for for four minutes."""

ORG: Final = "acme"


class Teller:
    """Asks for the story's steps, and waits until each is done."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.client: Client = stage.tenants[1].client
        assert self.client.publisher == "operator"
        self._number = 0

    async def ask(self, verb: str, vm: str = "db", **body: Any) -> str:
        """The request was answered, and all that follows from it has come to rest; the code of its answer."""
        self._number += 1
        body |= {"vm": vm, "key": f"k{self._number}", "actor": "kim", "wait": True}
        answer = await self.client.ask(verb, body)
        assert isinstance(answer, Receipt), answer
        await self.rest()
        return answer.code or ""

    async def create(self, vm: str = "db", **terms: Any) -> None:
        """There is a VM."""
        await self.ask("create", vm, **{"pool": KEPT_POOL, "size": SIZES[0], "start": True} | terms)

    async def change(self, change: str, vm: str = "db", **terms: Any) -> None:
        """The VM was told to."""
        await self.ask("change", vm, **{"change": change, "reason": "because", "when": "now"} | terms)

    async def resize(self, vm: str = "db", **terms: Any) -> None:
        """The VM has another size."""
        await self.ask("resize", vm, **{"when": "now"} | terms)

    def works(self, vm: str = "db") -> None:
        """The guest wrote something."""
        assert self.stage.living is not None
        volume = Volume(ORG, vm)
        for guests in self.stage.living.guests.values():
            if volume in guests.shelf.volumes:
                guests.work(volume)

    async def rest(self) -> None:
        """Nothing is left to be done, and nothing new has come for a while."""
        loop, truth = asyncio.get_running_loop(), self.stage.truth
        began = loop.time()
        while True:
            await pause(LOOK_SECONDS)
            quiet = loop.time() - truth.grown_at > 2 * LOOK_SECONDS
            left = list(unrest(self.stage)) if quiet else ["The ledger grows."]
            if truth.broken or not left:
                return
            if loop.time() - began > MOST_SECONDS:
                truth.breaks(f"It does not come to rest: {left}")
                return

    async def later(self, **time: float) -> None:
        """So much time has passed, as if all machines had slept meanwhile, and all that was due is done."""
        self.stage.clocks.pass_by(dt.timedelta(**time).total_seconds())
        await pause(2.0)
        await self.rest()


Part = Callable[[Teller], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Story:
    """What was before, undisturbed, and what is then asked."""

    before: tuple[Part, ...]
    then: Part


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a story: its calls, what is there at its end, and what went wrong."""

    calls: tuple[Call, ...]
    struck: bool
    end: dict[str, Any]
    faults: tuple[str, ...]
    trace: Callable[[], tuple[str, ...]]


def tell(story: Story, script: Script, seed: int = 0) -> Told:
    """The story was told."""
    loop = VirtualLoop()
    loop.set_task_factory(make_task)
    stage = Stage(script, seed, loop)
    with silence(), quick():
        try:
            loop.run_until_complete(_tell(stage, story))
            faults = list(judge(stage))
            end = portrait(stage)
        finally:
            for program in stage.programs:
                if program.life is not None:
                    program.life.end()
            loop.end()
            if stage.directory is not None:
                stage.directory.cleanup()
    return Told(tuple(script.calls), script.struck, end, tuple(faults), lambda: lines(stage.notes))


async def _tell(stage: Stage, story: Story) -> None:
    for program in stage.programs:
        program.start()
    await pause(0.5)
    teller = Teller(stage)
    await teller.rest()
    for part in story.before:
        await part(teller)
    stage.script.armed = True
    await story.then(teller)
    await teller.rest()


def portrait(stage: Stage) -> dict[str, Any]:
    """What is there at the end, without when and under which ids."""
    living, truth = stage.living, stage.truth
    assert living is not None
    return {
        "directory": {
            key: (one.pool, one.size, one.disk_bytes, one.protected, one.awaits)
            for key, one in living.directory.vms.items()
        },
        "fleet": {
            key: (one.state, one.size, one.host, one.reservation is not None)
            for key, one in truth.fleet.vms.items()
        },
        "held": {org: living.held(org) for org in stage.orgs},
        "disks": {key: (one.host, one.size_bytes, one.layers) for key, one in truth.volumes.disks.items()},
        "copies": sorted((one.org, one.vm, one.name, one.kind, one.state) for one in living.copies.all()),
        "deletions": sorted(
            (one.org, one.vm, one.begun, one.completed, one.ran, one.over) for one in living.deletions.all()
        ),
        "domains": {
            machine.name: (machine.state, machine.size, machine.boot) for machine in truth.machines()
        },
        "volumes": {
            str(volume): (kept.now, kept.parent, [(one.name, then) for one, then in kept.snapshots])
            for host in stage.hosts
            if host.disks.shelf is not None
            for volume, kept in host.disks.shelf.volumes.items()
        },
        "mails": len(stage.relay.taken),
        "calendar": sorted(
            (one.entry.vm, one.entry.stage, one.entry.result or "")
            for one in living.calendar.entries.values()
        ),
        "foreign": {
            file: (foreign.state, foreign.order is not None)
            for host in stage.hosts
            if host.disks.shelf is not None
            for file, foreign in host.disks.shelf.foreign.items()
        },
        "silent": [(org, vm) for org, vm, _ in stage.hush.silent()],
        "backups": sorted(
            (str(file.relative_to(stage.directory.name)), file.read_bytes())
            for file in Path(stage.directory.name).rglob("*.qcow2*")
        )
        if stage.directory is not None
        else [],
    }


def unlike(told: Told, undisturbed: Told) -> Iterator[str]:
    """Where the end is not the same, one sentence each."""
    for part, there in undisturbed.end.items():
        if told.end[part] != there:
            yield f"{part}: {told.end[part]}, and undisturbed {there}"
