"""`make bench-scale`: ten thousand simulated pools on the real bus, foreseen every 15 s by the forecaster as it is.

Telemetry goes in as signal tells it, ticks are taken in by a process of its own, and forecasts come out into the ledger. Measured
are the time from a tick's end until its forecasts can be read, CPU and memory of forecaster and bus, and the telemetry's bytes. How
often a pool's forecast changes in a day is played without a bus, with the same rules. The last line is one JSON object.
"""

import argparse
import asyncio
import datetime as dt
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from bench import orgs
from bench.processes import Clock as Cpu
from bench.stage import ROOT, Stage, a_stage
from events.bus.nats import NatsBus
from events.bus.pen import Pen
from events.bus.permissions import STREAM_INFO, TELEMETRY
from events.bus.telemetry import Telemetry, end_of, tick_of
from events.clock import SystemClock
from events.forecast import ForecastMade
from events.ids import derive
from events.pool import PoolDefined
from lab.ports import free_ports
from schemas.capacity import Size
from schemas.pool import Pool
from schemas.telemetry import TICK_SECONDS, PoolTold, Told
from services.forecaster.__main__ import FOLDER
from services.forecaster.decide import Sight, Standing, decide
from services.forecaster.keeping import FILE, decode
from services.forecaster.roster import Roster

DAY: Final = 86_400
SIZE: Final = Size(name="small", vcpu=1, memory_mib=32)
TOGETHER: Final = 500
BEHIND_SECONDS: Final = 0.3
"""So long after a tick's end signal tells it."""

STIRRED: Final = 0.02
"""Of all pools, whose demand grows by half in each tick: more than days have, so that there is something to tell in every tick."""

PLAYED_POOLS: Final = 100


class Demand:
    """What the pools carry: a day's curve, each its own, and noise of three in a hundred; the same at every run."""

    def __init__(self, pools: int) -> None:
        rng = random.Random(4711)
        self._shape = [(rng.lognormvariate(1.6, 0.9), rng.random() * 0.8, rng.random()) for _ in range(pools)]
        self._rng = random.Random(42)

    def stir(self, share: float) -> None:
        """Of so many pools in a hundred the demand grows by half, for good."""
        for place in self._rng.sample(range(len(self._shape)), round(share * len(self._shape))):
            mean, swing, phase = self._shape[place]
            self._shape[place] = (1.5 * mean, swing, phase)

    def at(self, pool: int, tick: int) -> int:
        """Thousandths of a VM."""
        mean, swing, phase = self._shape[pool]
        day = math.sin(2 * math.pi * (tick * TICK_SECONDS / DAY + phase / 4))
        return max(0, round(1000 * mean * (1 + swing * day) * (1 + self._rng.gauss(0.0, 0.03))))


def pool_of(org: str, name: str) -> Pool:
    return Pool(org=org, name=name, size=SIZE, template="tiny", forecast="only")


async def found(stage: Stage, names: list[tuple[str, str]]) -> None:
    """Every org has a contract, and its pools are defined."""
    bus, clock = await stage.connect("gate"), SystemClock()
    try:
        pen, batch = Pen(bus, "gate", clock), []
        facts: list[Any] = [
            orgs.founding(org, clock.now())[0] for org in dict.fromkeys(org for org, _ in names)
        ]
        facts += [PoolDefined(org=org, pool=name, definition=pool_of(org, name)) for org, name in names]
        for place, fact in enumerate(facts, start=1):
            id_ = derive("scale", place)
            batch.append((pen.event(fact, id=id_, cause=None, correlation=id_), None))
            if len(batch) == TOGETHER or place == len(facts):
                await pen.append_batch(batch)
                batch = []
    finally:
        await bus.close()


async def tell(telemetry: Telemetry, names: list[tuple[str, str]], demand: Demand, ticks: int) -> list[float]:
    """So many ticks are told, each as it ends; how long each took to tell, in seconds."""
    took: list[float] = []
    for _ in range(ticks):
        demand.stir(STIRRED)
        now = dt.datetime.now(dt.UTC)
        tick = tick_of(now)
        told: dict[str, list[PoolTold]] = {}
        for place, (org, name) in enumerate(names):
            told.setdefault(org, []).append(
                PoolTold(name, demand.at(place, tick), 3, (tick + 1) * 15_000 - 1)
            )
        await asyncio.sleep(
            max(0.0, (end_of(tick) - dt.datetime.now(dt.UTC)).total_seconds() + BEHIND_SECONDS)
        )
        began = time.monotonic()
        await asyncio.gather(*(telemetry.tell(org, Told(tick, tuple(pools))) for org, pools in told.items()))
        took.append(time.monotonic() - began)
    return took


def status(pid: int) -> dict[str, float]:
    """MiB of memory: now, and the most there ever was."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines if line.startswith(("VmRSS", "VmHWM")))
    return {name: int(value.split()[0]) / 1024 for name, value in found.items()}


async def worked(port: int, patience_seconds: float = 1.0) -> dict[str, float]:
    """How many ticks the forecaster has done, and the seconds from their ends until then in all, by its own metrics."""
    name = "virtscale_forecast_tick_seconds_"
    async with httpx.AsyncClient() as client:
        deadline = time.monotonic() + patience_seconds
        while True:
            try:
                text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
                break
            except httpx.TransportError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)
    lines = (line.removeprefix(name).split() for line in text.splitlines() if line.startswith(name))
    return {words[0]: float(words[1]) for words in lines if words[0] in {"sum", "count"}}


async def lags(bus: NatsBus, after: int) -> tuple[dict[dt.datetime, list[float]], list[int], Counter[str]]:
    """Of each tick: how long after its end each of its forecasts was stored; their bytes, and their reasons."""
    found: dict[dt.datetime, list[float]] = {}
    sizes: list[int] = []
    reasons: Counter[str] = Counter()
    last, line = await bus.last(), msgspec.json.Decoder(dict[str, Any])
    while after < last:
        for stored in await bus.read_ahead(after + 1, last):
            after = stored.seq
            if stored.subject.endswith(".forecast.made"):
                data = line.decode(stored.payload)["data"]
                made_at = dt.datetime.fromisoformat(data["made_at"])
                found.setdefault(made_at, []).append(stored.stored_ns / 1e9 - made_at.timestamp())
                sizes.append(len(stored.payload) + len(stored.subject) + 80)
                reasons[data["reason"]] += 1
    return found, sizes, reasons


def played(days: float) -> dict[str, float]:
    """How often a pool's forecast is told in a day, by the same model and rules, after `days` of learning."""
    names = [("acme", f"pool-{number}") for number in range(PLAYED_POOLS)]
    pools = {name: pool_of(*name) for name in names}
    demand, roster, told = Demand(PLAYED_POOLS), Roster(), dict[tuple[str, str], ForecastMade]()
    first, changes = 118_000_000, 0
    learnt = int(days * DAY / TICK_SECONDS)
    for tick in range(first, first + learnt + DAY // TICK_SECONDS):
        roster.seat(pools)
        seen = roster.see(
            roster.tick(tick, {name: demand.at(place, tick) for place, name in enumerate(names)})
        )
        at = end_of(tick)
        for place, name in enumerate(names):
            sight = Sight(seen.target[place], seen.outlook[place], at, False, True)
            standing = Standing(
                pool=pools[name],
                reserve=0,
                floor=0,
                staying=seen.target[place],
                serving=seen.target[place],
                most=10_000,
                frozen=False,
                lost=False,
                capped_at=None,
                refused=False,
                moved_at=None,
                raising=0,
                lowering=False,
                retry_at=None,
                lacking=0,
                lowered=0,
                paused=0,
                rested=0,
            )
            verdict = decide(sight, standing, told.get(name), at)
            if verdict.reason is not None:
                changes += tick >= first + learnt
                told[name] = _made(name, verdict.reason, seen.target[place], at)
    return {"made_per_pool_day": changes / PLAYED_POOLS}


def _made(name: tuple[str, str], reason: str, target: int, at: dt.datetime) -> ForecastMade:
    common: dict[str, Any] = dict.fromkeys(("target", "target_min", "target_max", "want", "staying"), target)
    return ForecastMade(
        org=name[0],
        pool=name[1],
        mode="only",
        reason=reason,
        since=at,
        made_at=at,
        ticks=1,
        reserve=0,
        capped=False,
        outlook=None,
        horizon_seconds=90,
        coverage_bp=9900,
        history_seconds=0,
        parameters="0" * 32,
        input="0" * 32,
        state_seq=0,
        **common,
    )


async def measure(arguments: argparse.Namespace, directory: Path) -> dict[str, Any]:
    names = [
        (f"org-{number % arguments.orgs}", f"pool-{number // arguments.orgs}")
        for number in range(arguments.pools)
    ]
    [port] = free_ports(1)
    async with a_stage(directory, []) as stage:
        began = time.monotonic()
        await found(stage, names)
        print(
            f"{len(names)} pools of {arguments.orgs} orgs defined in {time.monotonic() - began:.1f} s",
            flush=True,
        )
        signal, reader = await stage.connect("signal"), await stage.connect("reader")
        before = await reader.last()
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "services.forecaster", "--log", "info", "--house", str(directory)),
            *("--metrics-port", str(port)),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        demand = Demand(len(names))
        base = await worked(port, patience_seconds=20.0)
        try:
            telemetry = Telemetry(signal)
            await tell(
                telemetry, names, demand, 2
            )  # the first begins somewhere within; then all begin at once
            cpu = Cpu({"forecaster": [worker.pid], "bus": [stage.bus_pid]})
            took = await tell(telemetry, names, demand, arguments.ticks)
            await asyncio.sleep(7.0)
            ended = await worked(port)
            lap = cpu.lap(arguments.ticks)
            memory, bus_memory = status(worker.pid), status(stage.bus_pid)
            info = json.loads(await reader.ask(STREAM_INFO.format(TELEMETRY), b"", 5.0))["state"]
            made, sizes, reasons = await lags(reader, before)
        finally:
            worker.terminate()
            await worker.wait()
        kept = directory / FOLDER / FILE
        data = kept.read_bytes() if kept.exists() else b""
        began = time.process_time()
        if data:
            decode(data, msgspec.json.decode(data.partition(b"\n")[0], type=dict[str, Any])["made_by"])
        back = time.process_time() - began
        await signal.close()
        await reader.close()
    ticks = sorted(made)
    steady = [lag for tick in ticks[2:] for lag in made[tick]]
    latest = [max(made[tick]) for tick in ticks[2:]]
    return {
        "pools": len(names),
        "ticks": arguments.ticks,
        "first_tick_made": len(made[ticks[0]]) if ticks else 0,
        "first_tick_lag_s": max(made[ticks[0]]) if ticks else None,
        "made_per_tick": sum(len(made[tick]) for tick in ticks[2:]) / max(1, len(ticks) - 2),
        "lag_s_median": statistics.median(steady) if steady else None,
        "lag_s_latest": max(latest) if latest else None,
        "ticks_on_time": sum(one < TICK_SECONDS for one in latest) / max(1, len(latest)),
        "ticks_told": len(ticks),
        "ticks_taken_in": ended["count"] - base["count"],
        "tick_to_done_s_mean": (ended["sum"] - base["sum"]) / max(1.0, ended["count"] - base["count"]),
        "forecaster_cpu_s_per_tick": lap["forecaster"] / 1e6,
        "bus_cpu_s_per_tick": lap["bus"] / 1e6,
        "forecaster_mib": memory["VmRSS"],
        "forecaster_most_mib": memory["VmHWM"],
        "bus_mib": bus_memory["VmRSS"],
        "telemetry_bytes_per_pool_tick": info["bytes"] / (arguments.ticks + 2) / len(names),
        "tell_s": statistics.median(took),
        "forecast_bytes": statistics.mean(sizes) if sizes else 0,
        "kept_mib": len(data) / 2**20,
        "read_back_cpu_s": back,
        "reasons": dict(reasons),
    }


def model(found: dict[str, Any], nodes: int, pools: int) -> dict[str, float]:
    """What so many pools need, in proportion to what was measured: sums, and no measurement."""
    times = pools / found["pools"]
    ledger = found["made_per_pool_day"] * found["forecast_bytes"] * pools
    telemetry = found["telemetry_bytes_per_pool_tick"] * DAY / TICK_SECONDS * pools
    return {
        "pools": pools,
        "nodes": nodes,
        "forecaster_cpu_share": found["forecaster_cpu_s_per_tick"] * times / TICK_SECONDS,
        "forecaster_gib": found["forecaster_most_mib"] * times / 1024,
        "ledger_gib_per_day_and_node": ledger / 2**30,
        "ledger_events_per_s": found["made_per_pool_day"] * pools / DAY,
        "telemetry_gib_per_day_and_node": telemetry / 2**30,
        "telemetry_gib_eight_days": 8 * telemetry / 2**30,
        "bus_cpu_share_per_node": found["bus_cpu_s_per_tick"] * times / TICK_SECONDS,
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--pools", type=int, default=10_000)
    parser.add_argument("--orgs", type=int, default=100)
    parser.add_argument(
        "--ticks", type=int, default=24, help="so many ticks of 15 s; at least 20 see a state kept"
    )
    parser.add_argument(
        "--days", type=float, default=2.0, help="days of learning before a day's changes are counted"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="virtscale-scale-") as directory:
        found = asyncio.run(measure(arguments, Path(directory)))
    found |= played(arguments.days)
    found["ledger_mib_per_day"] = (
        found["made_per_pool_day"] * found["forecast_bytes"] * found["pools"] / 2**20
    )
    found["model"] = model(found, 3, 100_000)
    for name, value in found.items():
        print(f"{name:32} {value:.3f}" if isinstance(value, float) else f"{name:32} {value}")
    print(
        json.dumps(
            {name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
