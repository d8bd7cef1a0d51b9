"""What a forecast is worth: VMs that were awake when they were needed, against VMs awake for nothing, on traces of others.

Every trace under `--traces DIR` is run through by the forecaster that runs live, with one set of parameters for all, and by
the rules that other autoscalers document. Prints a table per trace, draws a plot, measures the CPU time of a refresh, and
prints as its last line one JSON object: per trace its hit (percent), regret (points) and short (percent of the time), and
`cpu_s_10000_pools`. docs/prediction.md says what the words mean.
"""

import argparse
import importlib.util
import itertools
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from bench import forecast_mstl, forecast_plot
from bench.forecast_traces import Found, found
from replay.backtest.policies import POLICIES
from replay.backtest.rows import TraceError
from replay.backtest.run import NAME, forecast
from replay.backtest.score import Score, ScoreError, Targets, Terms, course, halves, scored
from replay.backtest.trace import Trace
from services.forecaster.model import Model
from services.forecaster.parameters import DEFAULT
from virtscale.progress import Progress

COVERAGE_BP: Final = 9900
COVERAGES_BP: Final = (9000, 9500, 9800, COVERAGE_BP, 9950, 9990)
POOLS: Final = (1, 100, 10_000)
_TICKS: Final = {1: 2400, 100: 960, 10_000: 240}
"""Whole hours of 15 s, since something is chosen anew each hour."""
_MORNING_TICKS: Final = 60
_MSTL_HEADROOMS: Final = (0.0, 0.1, 0.2, 0.3, 0.5)
_LEAST_DAYS: Final = 8


@dataclass(slots=True)
class Run:
    """One trace with every rule's scores: whole, first half, second half, at each of the rule's settings."""

    name: str
    trace: Trace
    terms: Terms
    speed: float = 0.0
    usual: dict[str, list[Score]] = field(default_factory=dict[str, list[Score]])
    curves: dict[str, list[Score]] = field(default_factory=dict[str, list[Score]])


def main() -> None:
    """The bench ran; the last line on standard output is its JSON object."""
    asked = _asked()
    print(f"parameters {DEFAULT.name()}, coverage {COVERAGE_BP / 100:g} %, for every trace")
    runs: list[Run] = []
    missing = [part for part in ("statsforecast", "matplotlib") if importlib.util.find_spec(part) is None]
    for one in found(asked.traces):
        if one.name not in asked.only if asked.only else one.is_again and not asked.all:
            continue
        run = _run(one, with_mstl="statsforecast" not in missing and not asked.quick)
        if run is not None:
            runs.append(run)
            print("\n".join(table(run)), flush=True)
    if not runs:
        sys.exit(
            f"bench: there is no trace under {asked.traces}: folders with *.csv, .gz or .tbz2 files are looked for."
        )
    if "matplotlib" in missing:
        say(
            "matplotlib is not installed, so nothing is drawn: make bench-forecast installs requirements-peers.lock"
        )
    else:
        mains = {one.name for one in found(asked.traces) if one.is_main}
        drawn = [run for run in runs if run.name in mains] or runs
        forecast_plot.draw({run.name: dict(_curves(run)) for run in drawn}, asked.plot)
        say(f"drawn: {asked.plot}")
    spent = {pools: cpu(pools) for pools in POOLS}
    print("\n".join(cpu_table(spent)))
    last: dict[str, object] = {run.name: _figures(run.usual[NAME][0]) for run in runs}
    last["cpu_s_10000_pools"] = round(spent[10_000].mean, 4)
    print(json.dumps(last))


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=Path, required=True, metavar="DIR", help="a folder per trace")
    parser.add_argument("--plot", type=Path, default=Path(".cache/prediction.png"), metavar="PNG")
    parser.add_argument("--only", action="append", metavar="NAME", help="this trace alone; may be said again")
    parser.add_argument(
        "--all", action="store_true", help="second readings too: every second of 1995, and all of 1998"
    )
    parser.add_argument("--quick", action="store_true", help="without MSTL, which takes minutes")
    asked = parser.parse_args()
    if not asked.traces.is_dir():
        sys.exit(f"bench: {asked.traces} is no directory of traces: make bench-forecast TRACES=DIR")
    return asked


def say(text: str) -> None:
    """A line for whoever waits."""
    sys.stderr.write(f"bench: {text}\n")


def _run(one: Found, *, with_mstl: bool) -> Run | None:
    try:
        trace = one.read(one.path)
        teach = Terms(trace.step_seconds).teach_days if trace.days >= _LEAST_DAYS else 0
        terms = Terms(trace.step_seconds, teach_days=teach)
        given = course(trace.demand, terms)
    except (TraceError, ScoreError) as error:
        say(f"{one.name} is left out. {error}")
        return None
    run = Run(one.name, trace, terms)
    began = time.perf_counter()
    with Progress(one.name, "ticks") as told:
        rows = forecast(given, COVERAGES_BP, start_seconds=trace.start_seconds, told=told)
    run.speed = trace.days * 86_400 / (time.perf_counter() - began)
    run.usual[NAME] = scored(given, rows[COVERAGES_BP.index(COVERAGE_BP)], *halves(given))
    run.curves[NAME] = [scored(given, row)[0] for row in rows]
    say(f"{one.name}: {len(given.at):,} ticks, {run.speed:,.0f} x real time for {len(COVERAGES_BP)} pools")
    for policy in POLICIES.values():
        run.usual[policy.name] = scored(given, policy.targets(given, policy.usual), *halves(given))
        run.curves[policy.name] = [scored(given, policy.targets(given, knob))[0] for knob in policy.tried]
    if with_mstl and one.is_main and trace.days >= 2 * _LEAST_DAYS:
        with Progress(f"{one.name}, MSTL", "hours") as told:
            ahead = forecast_mstl.forecasts(given, told)
        curve: list[Targets] = [forecast_mstl.targets(given, ahead, headroom) for headroom in _MSTL_HEADROOMS]
        run.usual["mstl"] = scored(given, curve[0], *halves(given))
        run.curves["mstl"] = [scored(given, targets)[0] for targets in curve]
    return run


def table(run: Run) -> Iterator[str]:
    """Hit, regret and short of every rule, and what the rule would regret if its knob were turned to hit as often as ours."""
    ours = run.usual[NAME][0]
    found = run.trace.found
    gaps = f", {found.gap_samples:,} samples of gaps filled" if found.gaps else ""
    yield ""
    yield (
        f"{run.name}: {run.trace.days:.1f} days of {run.trace.step_seconds} s, the first {run.terms.teach_days} teach{gaps}; "
        f"{ours.units:,} units, oracle idle {100 * ours.oracle_idle:.1f} %"
    )
    yield f"  {'rule':<28}{'hit %':>8}{'regret':>9}{'short %':>9}   {'regret at our hit':>18}"
    for name, part in zip((NAME, "  first half", "  second half"), run.usual[NAME], strict=True):
        yield _row(name, part, "")
    for name, scores in run.usual.items():
        if name != NAME:
            policy = POLICIES.get(name)
            label = f"{name} {policy.usual:g}" if policy is not None and policy.tried else name
            yield _row(label, scores[0], _turned(run.curves.get(name, []), ours))


def _row(name: str, score: Score, last: str) -> str:
    return f"  {name:<28}{100 * score.hit:8.2f}{100 * score.regret:9.2f}{100 * score.short:9.3f}   {last:>18}".rstrip()


def _turned(curve: list[Score], ours: Score) -> str:
    """The regret where the rule's curve passes our hit, on a straight line between two settings."""
    points = sorted((score.hit, score.regret) for score in curve)
    if not points:
        return ""
    for (low, cheap), (high, dear) in itertools.pairwise(points):
        if low <= ours.hit <= high:
            share = (ours.hit - low) / (high - low) if high > low else 0.0
            return f"{100 * (cheap + share * (dear - cheap)):.2f}"
    return f"> {100 * points[-1][1]:.2f}" if ours.hit > points[-1][0] else f"< {100 * points[0][1]:.2f}"


def _curves(run: Run) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    for name, scores in run.curves.items():
        if scores:
            yield name, [(100 * score.regret, 100 * (1 - score.hit)) for score in scores]


def _figures(score: Score) -> dict[str, float]:
    return {
        "hit": round(100 * score.hit, 3),
        "regret": round(100 * score.regret, 3),
        "short": round(100 * score.short, 5),
    }


@dataclass(frozen=True)
class Spent:
    """CPU seconds of one tick of all pools, after a warm-up as long again."""

    mean: float
    longest: float
    rising: float
    """The longest while every pool grows threefold in 15 minutes: then the multiples of all are chosen anew in each tick."""


def cpu(pools: int) -> Spent:
    """What a tick of so many pools costs, on a day's wave with noise, and in a morning."""
    chance = np.random.default_rng(pools)
    model = Model(pools, tick_seconds=15)
    level = chance.uniform(1, 40, pools)
    spent: list[float] = []
    ticks = _TICKS[pools]
    with Progress(f"{pools:,} pools", "ticks") as told:
        for number in range(2 * ticks + _MORNING_TICKS):
            morning = max(0, number - 2 * ticks) / _MORNING_TICKS
            demand = level * (1 + 0.3 * np.sin(number / 40) + 2 * morning) + chance.normal(0, 0.5, pools)
            began = time.process_time()
            model.tick(7_978_000 + number, np.maximum(0.0, demand))
            spent.append(time.process_time() - began)
            told(number, 2 * ticks + _MORNING_TICKS)
    usual = spent[ticks : 2 * ticks]
    return Spent(float(np.mean(usual)), max(usual), max(spent[2 * ticks :]))


def cpu_table(spent: dict[int, Spent]) -> Iterator[str]:
    """CPU per tick and per pool."""
    yield ""
    yield f"  {'pools':>8}{'CPU ms per tick':>18}{'longest':>10}{'all rise':>10}{'CPU us per pool':>18}"
    for pools, one in spent.items():
        times = f"{1000 * one.mean:>18.2f}{1000 * one.longest:>10.2f}{1000 * one.rising:>10.2f}"
        yield f"  {pools:>8,}{times}{1e6 * one.mean / pools:>18.1f}"


if __name__ == "__main__":
    main()
