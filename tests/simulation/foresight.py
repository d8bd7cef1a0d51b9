"""What is foreseen in a world: pools with a demand, what forecasters keep, and what must be so of all they said and asked."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from events.ahead import AHEAD
from events.envelope import Recorded
from events.forecast import ForecastMade
from events.gate import GateDecided
from events.quiesce import QuiesceRequested
from events.save import SaveRequested
from events.scale import ScaleRequested
from projections.fleet.fold import Fleet
from projections.usage.fold import Usage
from schemas.capacity import ENFORCED
from schemas.names import FORECAST
from schemas.pool import DemandQuery, Pool
from schemas.reserve import floor_vms
from tests.simulation.chance import Chance, Plan

Asked = ScaleRequested | QuiesceRequested | SaveRequested


def foreseen(pool: Pool, chance: Chance) -> Pool:
    """The pool with a demand of up to three or ten VMs, that is foreseen or only looked at."""
    rng = chance.rng
    return replace(
        pool,
        demand=DemandQuery("load", rng.choice((0.1, 0.3))),
        forecast=rng.choice(("on", "on", "on", "only")),
        sleep=rng.choice(("auto", "paused")),
        quiesce_per_minute=rng.choice((1, 8, 64)),
    )


@dataclass(slots=True)
class Shelf:
    """What one forecaster keeps: whole, or torn where the world has programs that die."""

    plan: Plan
    chance: Chance
    data: bytes | None = None

    async def read(self) -> bytes | None:
        """What is there."""
        return self.data

    async def put(self, data: bytes | bytearray) -> None:
        """It is there."""
        torn = self.chance.strikes(min(1.0, 10 * self.plan.kill))
        self.data = bytes(data[: len(data) // 2] if torn else data)


# --------------------------------------------------------------------------------------------------------- the laws


def broken_forecasts(lines: Sequence[Recorded]) -> Iterator[str]:
    """What is wrong with the forecasts of a story, one sentence each."""
    made = [line for line in lines if isinstance(line.fact, ForecastMade)]
    if made:
        yield from _ticks(made)
        yield from _bounds(lines)
        yield from _asked(lines)
        yield from _episodes(lines)


def _ticks(made: Sequence[Recorded]) -> Iterator[str]:
    """No tick of a pool is told twice; one that was still to come when the next was told, by the bus's time, was none."""
    until: dict[tuple[str, str], list[dt.datetime]] = {}
    for line in made:
        fact = line.fact
        assert isinstance(fact, ForecastMade)
        told = until.setdefault((fact.org, fact.pool), [])
        while told and told[-1] > line.stored_at + AHEAD >= fact.made_at:
            told.pop()
        if told and fact.since <= told[-1]:
            yield f"#{line.seq} tells ticks of {fact.org}/{fact.pool} since {fact.since}, and they were told until {told[-1]}."
        if fact.made_at - fact.since != (fact.ticks - 1) * dt.timedelta(seconds=15):
            yield f"#{line.seq} tells {fact.ticks} ticks from {fact.since} to {fact.made_at}."
        told.append(fact.made_at)


def _bounds(lines: Sequence[Recorded]) -> Iterator[str]:
    """No forecast wants more than the contract and the pool allow, nor less than its floor, by what it had read."""
    wanted: dict[int, list[Recorded]] = {}
    for line in lines:
        if isinstance(line.fact, ForecastMade):
            wanted.setdefault(line.fact.state_seq, []).append(line)
    fleet, usage = Fleet(), Usage()
    for line in lines:
        fleet.apply(line)
        usage.apply(line)
        for made in wanted.pop(line.seq, ()):
            yield from _bound(made, fleet, usage)
    for seq in wanted:
        yield f"A forecast is made from a ledger up to #{seq}, which there is not."


def _bound(line: Recorded, fleet: Fleet, usage: Usage) -> Iterator[str]:
    fact = line.fact
    assert isinstance(fact, ForecastMade)
    org, name = fact.org, fact.pool
    pool, contract = fleet.pools[org, name], usage.contracts[org]
    pools = sum(one.forecast == "on" for (of, _), one in fleet.pools.items() if of == org)
    staying, floor = fleet.staying(org, name), floor_vms(contract, pool, pools)
    fits = min(contract.limit.of(one) // pool.size.compute.of(one) for one in ENFORCED)
    who = f"#{line.seq} wants {fact.want} VMs of {org}/{name}"
    if fact.staying != staying:
        yield f"#{line.seq} says that {fact.staying} VMs of {org}/{name} stay, and {staying} do."
    if fact.want > max(staying, fits):
        yield f"{who}, and the contract allows {fits}; {staying} stay."
    if fact.want > pool.max_vms:
        yield f"{who}, and its maximum is {pool.max_vms}."
    if fact.want < min(floor, pool.max_vms, staying):
        yield f"{who}, and nobody may bring it below {floor}; {staying} stay."
    if fact.reason == "signal-lost" and fact.want < min(staying, pool.max_vms):
        yield f"{who} without a signal, and {staying} stay."


def _asked(lines: Sequence[Recorded]) -> Iterator[str]:
    """Each request of a forecaster follows from a forecast that is in the ledger before it, and goes no further."""
    made: dict[tuple[str, str, str], ForecastMade] = {}
    for line in lines:
        fact = line.fact
        if isinstance(fact, ForecastMade):
            made[fact.org, fact.pool, f"{fact.made_at:%Y-%m-%dT%H:%M:%SZ}"] = fact
        if not isinstance(fact, Asked) or fact.publisher != FORECAST:
            continue
        cause = made.get((fact.org, fact.pool, fact.key.partition("@")[2].partition("/")[0]))
        if cause is None or (cause.mode != "on" and not _past_the_cap(fact)):
            yield f"#{line.seq} was asked for by a forecast, and none says so: {fact.key}."
        elif _past_the_cap(fact):
            if not cause.capped:
                yield f"#{line.seq} asks past the cap, and its forecast is within: {fact.key}."
        elif isinstance(fact, ScaleRequested):
            if (fact.want or 0) > cause.want:
                yield f"#{line.seq} asks for {fact.want} VMs, and its forecast wants {cause.want}."
        elif cause.reason == "signal-lost":
            yield f"#{line.seq} puts VMs of {fact.org}/{fact.pool} to sleep without a signal."
        elif isinstance(fact, QuiesceRequested) and cause.staying - fact.count < cause.want:
            yield f"#{line.seq} puts {fact.count} of {cause.staying} VMs to sleep, and its forecast wants {cause.want}."


def _past_the_cap(fact: Asked) -> bool:
    """Whether it is the one request of an episode that the contract leaves less for."""
    return isinstance(fact, ScaleRequested) and fact.key.endswith("/scale-past-cap")


def _episodes(lines: Sequence[Recorded]) -> Iterator[str]:
    """While a pool is past its cap, what is beyond it is asked for once; a signal that is lost meanwhile ends nothing."""
    capped: dict[tuple[str, str], ForecastMade] = {}
    asked: dict[tuple[str, str], set[str]] = {}
    past: dict[tuple[str, str], int] = {}
    beyond: dict[str, tuple[str, str]] = {}
    for line in lines:
        fact = line.fact
        if isinstance(fact, ForecastMade):
            key = (fact.org, fact.pool)
            if fact.reason == "signal-lost":
                continue
            if not fact.capped or key not in capped:
                past[key] = 0
                asked.pop(key, None)
            if fact.capped:
                capped[key] = fact
            else:
                capped.pop(key, None)
        elif isinstance(fact, ScaleRequested) and fact.publisher == FORECAST:
            key = (fact.org, fact.pool)
            if _past_the_cap(fact):
                beyond[line.id] = key
                asked.setdefault(key, set()).add(fact.key)
                if len(asked[key]) > 1:
                    yield f"#{line.seq} asks past the cap of {key[0]}/{key[1]} a second time in one episode."
        elif isinstance(fact, GateDecided):
            for answer in fact.answers:
                if answer.request in beyond and answer.code == "CapExceeded":
                    key = beyond[answer.request]
                    past[key] = past.get(key, 0) + 1
                    if past[key] > 1:
                        yield f"#{line.seq} refuses {key[0]}/{key[1]} a second time in one episode past its cap."
