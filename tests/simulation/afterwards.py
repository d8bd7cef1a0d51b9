"""What must come again once the faults are over and the clocks agree: ticks, looks, the reserve, and pools behind an open breaker."""

import asyncio
import datetime as dt
from collections.abc import Iterator
from typing import Final

from events.ahead import AHEAD
from events.gate import BootOrdered, DrainCancelled, GateDecided, WakeOrdered
from events.scale import ScaleRequested
from events.vm import VmReady
from services.forecaster.gather import newest_closed
from services.forecaster.state import Orgs
from services.signal.decide import cooled
from services.signal.triggers import POLL_SECONDS
from tests.simulation.world import World

MOST_WAIT: Final = dt.timedelta(minutes=31)
"""So long at most a forecaster may be told to wait: the longest that a breaker is open."""

LATE_TICKS: Final = 1
"""The newest tick is taken in, or the one before it while that is being done."""

LOOKS: Final = dt.timedelta(seconds=3 * POLL_SECONDS)


def behind(world: World) -> Iterator[str]:
    """What does not go on yet, one sentence each."""
    yield from _ticks(world)
    yield from _reserves(world)
    yield from _looks(world)


def _ticks(world: World) -> Iterator[str]:
    """The forecaster takes in each tick as it is over."""
    if world.forecaster is not None:
        newest, taken = newest_closed(world.clocks.now()), world.forecaster._roster.number
        if not newest - LATE_TICKS <= taken <= newest + LATE_TICKS:
            yield f"The newest tick is {newest}, and the forecaster has taken in {taken}."


def _reserves(world: World) -> Iterator[str]:
    """A pool that lacks of its floor has it again, as far as its contract leaves room and nobody holds it still."""
    if world.forecaster is None:
        return
    now, state = world.clocks.now(), world.forecaster._state
    orgs = Orgs(state, now, 0)
    for org, name in state.foreseen():
        one = orgs.standing(org, name)
        short = min(one.floor, one.pool.max_vms, one.most) - one.staying
        if one.pool.forecast == "on" and short > 0 and not (one.frozen or _waits(one.retry_at, now)):
            yield f"{org}/{name} lacks {short} VMs of its floor of {one.floor}, and nobody refills it."


def _waits(retry_at: dt.datetime | None, now: dt.datetime) -> bool:
    """Whether a forecaster was told to wait, and for no longer than anybody may be."""
    return retry_at is not None and now < retry_at <= now + MOST_WAIT


def _looks(world: World) -> Iterator[str]:
    """Signal looks at each pool, and what it sees is in the window that is now."""
    if world.signal is None:
        return
    now = world.clocks.now()
    for (org, name), window in world.signal._observer._windows.items():
        if abs(now - window.looked_until) > LOOKS:
            yield f"What is seen of {org}/{name} is left out since {window.looked_until}, and it is {now}."
    for (org, name), pool in world.truth.fleet.pools.items():
        asked_at = world.signal._intake.triggered_at(org, name)
        if pool.triggers and not cooled(
            pool, asked_at, now + dt.timedelta(seconds=pool.cooldown_seconds) + LOOKS
        ):
            yield f"The triggers of {org}/{name} ask for nothing until {asked_at}, and it is {now}."


# ---------------------------------------------------------------------------------------------------- open breakers


def held_back(world: World) -> dict[tuple[str, str], dt.timedelta]:
    """The pools that a breaker stands before, and how long it may be open at most."""
    found: dict[tuple[str, str], dt.timedelta] = {}
    for (org, pool, _, _), opened in world.truth.trips.open_at_rest():
        lasts = opened.until - opened.opened_at
        found[org, pool] = max(lasts, found.get((org, pool), lasts))
    return found


def refilled_in(world: World) -> Iterator[dt.timedelta]:
    """For how long each pool that lacks of its floor is not asked for, since not all was granted the last time."""
    if world.forecaster is not None:
        now, state = world.clocks.now(), world.forecaster._state
        orgs = Orgs(state, now, 0)
        for org, name in state.foreseen():
            one = orgs.standing(org, name)
            short = min(one.floor, one.pool.max_vms, one.most) > one.staying
            if one.pool.forecast == "on" and short and one.retry_at is not None and _waits(one.retry_at, now):
                yield one.retry_at - now


def is_owed(world: World) -> bool:
    """Whether somebody waits for time to pass."""
    return bool(held_back(world)) or any(refilled_in(world))


async def try_again(world: World) -> set[str]:
    """The time of each open breaker is over, what was missing is there, and every such pool is asked for one VM more.

    Their keys. Time passes by the clocks alone: nobody has anything to do meanwhile. A forecaster that waits asks by itself then.
    """
    held = held_back(world)
    for host in world.hosts:
        host.missing_templates.clear()
    world.note("the faults are mended, and the time of every breaker is over")
    # A gate whose clock is ahead by less than that is believed.
    longest = max([*held.values(), *refilled_in(world)]) + AHEAD
    world.clocks.pass_by(longest.total_seconds() + 5.0)
    asks = [
        client.ask("scale", {"pool": pool, "key": f"again-{pool}", "add": 1, "up_to": True})
        for client in world.clients
        if client.publisher == "operator"
        for org, pool in held
        if client.org == org
    ]
    await asyncio.gather(*asks)
    return {f"again-{pool}" for _, pool in held}


def locked_out(world: World, keys: set[str]) -> Iterator[str]:
    """Who asked so was held back by no breaker, and has what was granted; where the first that came was not fit, another came."""
    asked = {
        line.id: line
        for line in world.truth.lines
        if isinstance(line.fact, ScaleRequested) and line.fact.key in keys
    }
    ready = {line.fact.reservation for line in world.truth.lines if isinstance(line.fact, VmReady)}
    granted: dict[str, int] = {}
    for line in world.truth.lines:
        if not isinstance(line.fact, GateDecided):
            continue
        for answer in line.fact.answers:
            # One that was opened by a clock that was ahead may have its time only now; `Floors` says how long that may be.
            held = answer.code == "BreakerOpen" and not world.plan.clock_step_seconds
            if answer.request in asked and held:
                yield f"{line.fact.org}/{answer.pool} is locked out at #{line.seq}, though its breakers' time is over: {answer}."
            if answer.request in asked:
                granted[answer.request] = answer.granted
        for order in line.fact.orders:
            if isinstance(order, DrainCancelled) and order.request in granted:
                granted[order.request] -= 1
            elif isinstance(order, WakeOrdered | BootOrdered) and order.request in granted:
                granted[order.request] -= order.id in ready
    for request, left in granted.items():
        if left > 0:
            yield f"{left} VMs were granted to {asked[request].fact} and did not come, though all is well."
