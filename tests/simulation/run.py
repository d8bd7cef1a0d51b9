"""One seed, from the first start of every program to the verdict."""

import asyncio
import gc
import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from events import envelope
from events.bus import ledger
from events.bus.port import Stored
from events.envelope import Recorded
from tests.simulation.afterwards import behind, is_owed, locked_out, try_again
from tests.simulation.chance import Length, keeping, plan_of
from tests.simulation.clock import DeadlockError, SpinError, VirtualLoop, pause
from tests.simulation.load import Client
from tests.simulation.older import comes_back_older
from tests.simulation.programs import make_task
from tests.simulation.torment import Torment
from tests.simulation.trace import Note, digest, lines
from tests.simulation.verdict import judge, unrest
from tests.simulation.world import World

LOOK_SECONDS: Final = 5.0
"""A world is looked at so often when its faults are over."""

MONTHS_SECONDS: Final = 62 * 86_400.0

MOST_CALM_SECONDS: Final = 1_500.0
"""A world that has not come to rest by then never will."""


@dataclass(frozen=True, slots=True)
class Run:
    """What became of one seed."""

    seed: int
    faults: tuple[str, ...]
    """Laws that were broken, one sentence each; empty is good."""
    events: int
    kills: int
    strikes: int
    """How often a fault struck."""
    virtual_seconds: float
    turns: int
    notes: tuple[Note, ...]
    stored: tuple[Stored, ...]

    @property
    def trace(self) -> tuple[str, ...]:
        """What happened, line by line; put into words only for whoever reads it."""
        return lines(self.notes)

    @property
    def digest(self) -> str:
        """Of the trace: two runs of one world have the same."""
        return digest(self.trace)

    @property
    def ledger(self) -> tuple[str, ...]:
        """The ledger, line by line."""
        return tuple(f"{one.seq} {one.subject} {one.payload.decode()}" for one in self.stored)


def run(
    seed: int,
    length: Length | None = None,
    *,
    powers: bool = True,
    seals: bool = True,
    steps: bool = True,
    keeps: bool = False,
    **changes: Any,
) -> Run:
    """The world of this seed lived, and was judged; it is as long as its seed says unless `length` says it.

    `changes` are what else of its plan shall be otherwise: what is rare is looked at where it is frequent.
    """
    plan = plan_of(seed, length, powers=powers, seals=seals, steps=steps)
    plan = replace(keeping(plan) if keeps else plan, **changes)
    loop = VirtualLoop()
    loop.set_task_factory(make_task)
    world = World(plan, loop)
    faults: list[str] = []
    with silence(), quick():
        try:
            loop.run_until_complete(_story(world, faults))
        except (DeadlockError, SpinError) as error:
            faults.extend([*world.truth.broken, str(error)])
        else:
            faults.extend(judge(world))
            if world.sealing is not None and not faults:
                faults.extend(world.sealing.laws(world.truth.stored))
                if not faults and world.plan.ends_older:
                    loop.run_until_complete(comes_back_older(world))
                    faults.extend(world.truth.broken)
        finally:
            lived = loop.time()
            loop.run_until_complete(_end(world))
            loop.end()
            if world.directory is not None:
                world.directory.cleanup()
    return Run(
        seed=seed,
        faults=tuple(dict.fromkeys(faults)),
        events=len(world.truth.stored),
        kills=sum(program.lives - 1 for program in world.programs),
        strikes=world.weather.strikes,
        virtual_seconds=lived,
        turns=loop.turns,
        notes=tuple(world.notes),
        stored=tuple(world.truth.stored),
    )


async def _story(world: World, faults: list[str]) -> None:
    """Everything starts, goes wrong for a while, and comes to rest."""
    for program in world.programs:
        program.start()
    torment = asyncio.create_task(Torment(world).go_on())
    asking = [asyncio.create_task(_ask(world, client)) for client in world.clients]
    asking += [
        asyncio.create_task(one.keep_asking(world.plan.chaos_seconds, world.plan.ask_seconds[0]))
        for one in world.tenants
    ]
    asking += [
        asyncio.create_task(one.rule(world.plan.chaos_seconds, world.plan.rule_seconds))
        for one in world.authorities
    ]
    if not await _until_over(world, world.plan.chaos_seconds):
        _calm(world)
        await asyncio.wait(asking, timeout=120.0)
    await _come_to_rest(world, faults, world.plan.quiet_seconds)
    if world.living is not None and not (faults or world.truth.broken):
        world.note("two months go by: who was to be deleted is gone")
        world.clocks.pass_by(MONTHS_SECONDS)
        await _come_to_rest(world, faults, LOOK_SECONDS)
    if not (faults or world.truth.broken) and is_owed(world):
        keys = await try_again(world)
        await _come_to_rest(world, faults, LOOK_SECONDS)
        faults.extend(locked_out(world, keys))
    for task in (torment, *asking):
        task.cancel()


async def _come_to_rest(world: World, faults: list[str], quiet_seconds: float) -> None:
    """Nothing is left to be done, nothing is on its way, and nothing new has come for so long."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not await _until_over(world, LOOK_SECONDS):
        left = [*unrest(world), *_on_the_way(world), *behind(world)]
        if not left and loop.time() - max(began, world.truth.grown_at) >= quiet_seconds:
            break
        if loop.time() - began > MOST_CALM_SECONDS:
            faults.extend(left or ["The ledger grows and grows."])
            break


def _on_the_way(world: World) -> Iterator[str]:
    """What was sent or asked before the calm and has not arrived yet, one sentence each."""
    if asyncio.get_running_loop().time() < world.trouble.lands_at:
        yield "A message is on its way to the bus that nobody waits for any more."
    if world.sealing is not None:
        yield from world.sealing.unsealed(world.truth.stored)
    for host in world.hosts:
        if host.busy():
            yield f"Host {host.name} has not done yet what was asked of it."


async def _until_over(world: World, seconds: float) -> bool:
    """Whether a law was broken within so many virtual seconds."""
    try:
        async with asyncio.timeout(seconds):
            await world.truth.over.wait()
    except TimeoutError:
        return False
    return True


async def _end(world: World) -> None:
    """Everything that still lives is killed."""
    world.weather.calm = True
    for program in world.programs:
        if program.life is not None:
            program.life.end()


async def _ask(world: World, client: Client) -> None:
    await pause(1.0)
    if client.publisher == "operator":
        await client.stock_up(client.chance.rng.choice(world.plan.stock_vms))
    await client.keep_asking(world.plan.chaos_seconds, client.chance.rng.choice(world.plan.ask_seconds))


def _calm(world: World) -> None:
    """No fault strikes any more, and whatever is down comes up."""
    world.note("calm")
    world.weather.calm = True
    world.clocks.agree()
    world.server.start()
    world.balancer.up = True
    world.gauges.load = 0.0
    for host in world.hosts:
        host.sick = host.unfit = False
        if not host.up:
            host.start_libvirtd()


@contextmanager
def quick() -> Generator[None]:
    """A line of the ledger is decoded once for all who read it, and nobody collects garbage meanwhile.

    Events are frozen, so that sharing them changes nothing; `verdict` decodes and encodes each once more.
    """
    decoded: dict[int, tuple[bytes, Recorded]] = {}

    def read(seq: int, stored_ns: int, payload: bytes, *more: Any) -> Recorded:
        known = decoded.get(seq)
        if known is None or known[0] is not payload:
            known = decoded[seq] = payload, envelope.read(seq, stored_ns, payload, *more)
        return known[1]

    before, collecting = ledger.read, gc.isenabled()
    ledger.read = read
    gc.disable()
    try:
        yield
    finally:
        ledger.read = before
        if collecting:
            gc.enable()


@contextmanager
def silence() -> Generator[None]:
    """Workers say what goes wrong, and here everything does."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
