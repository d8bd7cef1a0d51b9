"""How fast the gate decides, on a real bus that syncs always, and beside it a bare durable publish of the same bytes.

Everything is measured twice in one run. Requests come from publishers with keys of their own, each on a connection of
its own, in a process of its own; every second one is admitted, the others are past the cap. "Decided" is when another
connection than the gate's has read the decision. Prints a table and, as its last line, one JSON object.
"""

import argparse
import asyncio
import json
import logging
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import uvloop

from bench import growth, orgs, start
from bench.caller import call_as
from bench.floor import Floor, lay
from bench.processes import Clock
from bench.stage import REQUESTERS, Cast, Stage, a_stage
from bench.watch import Watch
from bench.wishes import Requester, Times, closed, merged, one_by_one, over, scheduled
from events.bus.nats import NatsBus
from schemas.names import OPERATOR

ORGS: Final = 1000
RATE: Final = 1000
WARM: Final = 200
READY_SECONDS: Final = 20.0
PARTS: Final = 8
"""The single requester and the floor take turns so often, because a disk that others use changes from second to second."""

ALONE: Final = "one requester"
ALONE_APART: Final = "one requester, each time another org"
OPEN: Final = f"open loop, {RATE}/s over {ORGS} orgs"
OPEN_ONE: Final = f"open loop, {RATE}/s over 1 org"
MANY: Final = f"{REQUESTERS} requesters over 1 org"
MANY_APART: Final = f"{REQUESTERS} requesters over {ORGS} orgs"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    singles: int
    seconds: float
    turns: int
    casts: tuple[Cast, ...]
    samples: int
    events: int


@dataclass(slots=True)
class Figures:
    """What was measured with one cast, a list entry for each turn."""

    times: dict[str, list[Times]] = field(default_factory=dict[str, list[Times]])
    floor_ms: list[list[float]] = field(default_factory=list[list[float]])
    floor_per_second: list[float] = field(default_factory=list[float])

    def all_of(self, what: str) -> Times:
        """Both turns as one."""
        return merged(self.times[what])


@dataclass(slots=True)
class Scene:
    """The workers are at work, and everybody who asks and looks is connected."""

    watch: Watch
    floor: Floor
    clock: Clock
    alone: Requester
    operators: list[Requester]
    publishers: list[Requester]


async def set_up(stack: AsyncExitStack, stage: Stage, cast_: Cast, run: str) -> Scene:
    """Everything is connected and warm."""
    pids = await stack.enter_async_context(stage.workers(cast_))

    async def connected(name: str) -> NatsBus:
        bus = await stage.connect(name)
        stack.push_async_callback(bus.close)
        return bus

    eye = await connected("watch")
    watch = Watch(eye)
    following = asyncio.create_task(watch.follow(await eye.last()))
    stack.callback(following.cancel)

    async def requester(user: str, name: str, orgs_count: int, first: int) -> Requester:
        caller = await call_as(stage.house, user)
        stack.callback(caller.close)
        return Requester(caller, name, over(orgs_count, first), watch, f"{run}-{user}-{orgs_count}-{first}")

    scene = Scene(
        watch,
        Floor(await connected("admin"), run),
        Clock({"intake and gate": pids, "bus": [stage.bus_pid]}),
        await requester(OPERATOR, OPERATOR, 1, 0),
        [await requester(OPERATOR, OPERATOR, ORGS, number) for number in range(REQUESTERS)],
        [await requester(f"org-0_p{number}", f"p{number}", 1, number) for number in range(REQUESTERS)],
    )
    async with asyncio.timeout(READY_SECONDS):
        while not await scene.alone.try_ask():  # noqa: ASYNC110 - another process answers it, or not yet
            await asyncio.sleep(0.05)
    await one_by_one(scene.alone, WARM)
    return scene


async def play(scene: Scene, figures: Figures, plan: Plan) -> None:
    """One turn of everything."""
    alone: list[Times] = []
    floor: list[float] = []
    scene.clock.restart()
    for _ in range(PARTS):
        alone.append(await one_by_one(scene.alone, plan.singles // PARTS))
        floor += await scene.floor.one_by_one(scene.watch.decision, plan.singles // PARTS)
    figures.floor_ms.append(floor)
    _note(scene, figures, ALONE, merged(alone))
    _note(scene, figures, ALONE_APART, await one_by_one(scene.operators[0], plan.singles // 2))
    _note(scene, figures, OPEN, await scheduled(scene.operators, RATE, plan.seconds))
    _note(scene, figures, OPEN_ONE, await scheduled(scene.publishers, RATE, plan.seconds))
    _note(scene, figures, MANY, await closed(scene.publishers, plan.seconds))
    _note(scene, figures, MANY_APART, await closed(scene.operators, plan.seconds))
    figures.floor_per_second.append(
        await scene.floor.at_once(scene.watch.decision, REQUESTERS, plan.seconds / 2)
    )


def _note(scene: Scene, figures: Figures, what: str, times: Times) -> None:
    lap = scene.clock.lap(len(times.decided))
    if what != ALONE:  # whose turns alternate with the floor's
        times.cpu_us = lap
    figures.times.setdefault(what, []).append(times)
    print(_row(what, times), flush=True)


async def measure(plan: Plan) -> dict[Cast, Figures]:
    """The figures of each cast."""
    figures: dict[Cast, Figures] = {cast_: Figures() for cast_ in plan.casts}
    with tempfile.TemporaryDirectory(prefix="vs-bench-") as directory:
        publishers = [f"p{number}" for number in range(REQUESTERS)]
        async with a_stage(Path(directory) / "house", publishers) as stage:
            await stage.lend()
            await stage.found(orgs.names(ORGS))
            admin = await stage.connect("admin")
            await lay(admin)
            await admin.close()
            for turn in range(plan.turns):
                for cast_ in plan.casts:
                    print(f"\n{_TITLE[cast_]}, turn {turn + 1} of {plan.turns}\n{_HEAD}", flush=True)
                    async with AsyncExitStack() as stack:
                        scene = await set_up(stack, stage, cast_, f"{cast_}-{turn}")
                        await play(scene, figures[cast_], plan)
                    floor, rate = figures[cast_].floor_ms[-1], figures[cast_].floor_per_second[-1]
                    print(
                        f"{'floor: bare durable publish':<40}{len(floor):>7}{'':>9}"
                        f"{quantile(floor, 0.5):>9.2f}{quantile(floor, 0.99):>8.2f}\n"
                        f"{f'floor: the same, {REQUESTERS} at once':<40}{'':>7}{rate:>9.0f}",
                        flush=True,
                    )
    return figures


_TITLE: Final[dict[Cast, str]] = {
    "together": "Intake and gate in one process",
    "apart": "Intake and gate in two processes",
}
_HEAD: Final = (
    f"{'':<40}{'':>7}{'':>9}{'stored -> decided':>17}{'asked -> decided':>17}{'CPU us per decision':>28}\n"
    f"{'milliseconds':<40}{'n':>7}{'per s':>9}{'p50':>9}{'p99':>8}{'p50':>9}{'p99':>8}"
    f"{'intake+gate':>15}{'bus':>6}{'here':>7}"
)


def _row(what: str, times: Times) -> str:
    cells = [quantile(times.decided, 0.5), quantile(times.decided, 0.99)]
    whole = [quantile(times.whole, 0.5), quantile(times.whole, 0.99)]
    crowded = {code: count for code, count in times.outcomes.items() if code not in {"admitted", "refused"}}
    return (
        f"{what:<40}{len(times.decided):>7}{times.per_second:>9.0f}{cells[0]:>9.2f}{cells[1]:>8.2f}"
        f"{whole[0]:>9.2f}{whole[1]:>8.2f}"
        + (
            f"{cpu['intake and gate']:>15.0f}{cpu['bus']:>6.0f}{cpu['here']:>7.0f}"
            if (cpu := times.cpu_us)
            else ""
        )
        + (f"  {crowded}" if crowded else "")
    )


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie; of the values themselves, none invented between."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def report_growth(samples: int) -> dict[str, float]:
    """The CPU of a decision by the size of the house, as a table; the greatest growth of each kind."""
    by_orgs, by_vms = growth.measure(samples)
    print(f"\n{'CPU us of a decision (with its folding)':<40}" + "".join(f"{n:>16}" for n in growth.SCALES))
    found: dict[str, float] = {}
    for name, costs in (("orgs", by_orgs), ("VMs in an org", by_vms)):
        cells = "".join(f"{f'{one.decide_us:.1f} ({one.step_us:.1f})':>16}" for one in costs.values())
        print(f"{f'by {name}':<40}{cells}")
        least, most = costs[growth.SCALES[0]], costs[growth.SCALES[-1]]
        found[f"cpu_growth_{name.split()[0].lower()}"] = round(most.step_us / least.step_us, 3)
    return found


def summary(figures: Figures) -> dict[str, float]:
    """The headline: both turns together; what is called `_1000_orgs` is spread over so many."""
    alone, open_loop = figures.all_of(ALONE), figures.all_of(OPEN)
    one, apart = figures.all_of(MANY), figures.all_of(MANY_APART)
    floor = [took for turn in figures.floor_ms for took in turn]
    numbers = {
        "decision_p50_ms": quantile(alone.decided, 0.5),
        "decision_p99_ms": quantile(alone.decided, 0.99),
        "asked_to_decided_p50_ms": quantile(alone.whole, 0.5),
        "floor_p50_ms": quantile(floor, 0.5),
        "floor_p99_ms": quantile(floor, 0.99),
        "floor_per_s_64": statistics.median(figures.floor_per_second),
        "open_1000_p50_ms": quantile(open_loop.decided, 0.5),
        "open_1000_p99_ms": quantile(open_loop.decided, 0.99),
        "open_1000_whole_p50_ms": quantile(open_loop.whole, 0.5),
        "decisions_per_s_64": one.per_second,
        "decisions_64_p50_ms": quantile(one.whole, 0.5),
        "decisions_per_s_64_1000_orgs": apart.per_second,
        "decisions_64_1000_orgs_p50_ms": quantile(apart.whole, 0.5),
    }
    return {name: round(number, 3) for name, number in numbers.items()}


def main() -> None:
    """Measures, prints the tables, and the JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--singles", type=int, default=2000, help="requests of the single requester, each turn"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="of each loop, each turn")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--cast", nargs="*", default=["together", "apart"], choices=["together", "apart"])
    parser.add_argument("--samples", type=int, default=9, help="of the CPU by size; 0 leaves it out")
    parser.add_argument("--events", type=int, default=start.EVENTS, help="to start over; 0 leaves it out")
    given = parser.parse_args()
    casts = cast("tuple[Cast, ...]", tuple(given.cast))
    plan = Plan(given.singles, given.seconds, given.turns, casts, given.samples, given.events)
    logging.basicConfig(level=logging.WARNING)
    result: dict[str, float] = {}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(measure(plan))
        for place, cast_ in enumerate(plan.casts):  # the first one is the headline
            mark = f"_{cast_}" if place else ""
            result |= {f"{name}{mark}": number for name, number in summary(figures[cast_]).items()}
    if plan.samples:
        result |= report_growth(plan.samples)
    if plan.events:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            started = runner.run(start.measure(plan.events, _say))
        result["start_1m_s"] = started.summary()["start_1m_s"]
    print(json.dumps(result))


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
