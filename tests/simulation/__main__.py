"""Runs seeds: `python -m tests.simulation --seeds 1000 [--from 0]`, or one with `--seed 17 [-v]`.

A seed that breaks a law is printed with what was broken and the command that repeats it; `-v` adds the trace of
the world and its ledger, line by line. What Ctrl-C ends is told with the command that goes on from there. The exit
code is 1 when a law was broken, and 130 after Ctrl-C.
"""

import argparse
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, get_args

from tests.simulation.chance import Length
from tests.simulation.run import Run, run

AT_ONCE: Final = 16
"""Seeds that a process is given at a time: less than a second of work."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What one seed came to, small enough to be sent between processes."""

    seed: int
    faults: tuple[str, ...]
    events: int
    kills: int
    strikes: int
    virtual_seconds: float


def summary(seed: int, length: Length | None = None, *, keeps: bool = False) -> Summary:
    """The seed was run; with VMs that are kept, if so asked for."""
    done = run(seed, length, keeps=keeps)
    return Summary(seed, done.faults, done.events, done.kills, done.strikes, done.virtual_seconds)


def main() -> int:
    """The seeds of the command line were run; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many seeds")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="N", help="the first of them")
    parser.add_argument("--seed", type=int, help="this one only")
    parser.add_argument(
        "--length", choices=get_args(Length), help="all worlds so long, whatever their seed says"
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="with --seed: nobody rules, and hosts are as few as they once were",
    )
    parser.add_argument(
        "--kept", action="store_true", help="there are VMs that are kept for their own sake as well"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("-v", "--verbose", action="store_true", help="with --seed: the trace and the ledger")
    arguments = parser.parse_args()
    length: Length | None = arguments.length
    if arguments.seed is not None:
        done = run(arguments.seed, length, powers=not arguments.plain, keeps=arguments.kept)
        return one(done, verbose=arguments.verbose)
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    return many(seeds, arguments.processes, length, keeps=arguments.kept)


def one(done: Run, *, verbose: bool) -> int:
    """One seed's story is told."""
    if verbose:
        print("\n".join((*done.trace, "", *done.ledger)))
    print(
        f"seed {done.seed}: {done.events} events, {done.kills} kills, {done.strikes} strikes of faults, "
        f"{done.virtual_seconds:.0f} virtual seconds, trace {done.digest}"
    )
    for fault in done.faults:
        print(f"  {fault}")
    return 1 if done.faults else 0


def many(seeds: range, processes: int, length: Length | None = None, *, keeps: bool = False) -> int:
    """Many seeds, side by side; what is done when Ctrl-C comes is told all the same."""
    began, told = time.monotonic(), time.monotonic()
    done: list[Summary] = []
    interrupted = False
    # A fork starts with the workers imported, and with the hash seed of this process.
    with multiprocessing.get_context("fork").Pool(processes, _ignore_interrupt, maxtasksperchild=50) as pool:
        try:
            # In order, so that whatever is done is done without a hole and can be gone on from.
            for result in pool.imap(partial(summary, length=length, keeps=keeps), seeds, chunksize=AT_ONCE):
                done.append(result)
                if result.faults:
                    _tell(result, keeps=keeps)
                if time.monotonic() - told > (1 if sys.stderr.isatty() else 10):
                    told = time.monotonic()
                    _progress(done, len(seeds), told - began)
        except KeyboardInterrupt:
            interrupted = True
            _ignore_interrupt()  # once is enough
            pool.terminate()
    _end_progress()
    print(_sum(done, len(seeds), time.monotonic() - began))
    if interrupted:
        left = len(seeds) - len(done)
        print(
            f"To go on: make simulate SEEDS={left} ARGS='--from {seeds.start + len(done)}{f' --length {length}' if length else ''}{' --kept' if keeps else ''}'"
        )
        return 130
    return 1 if any(result.faults for result in done) else 0


def _sum(done: Sequence[Summary], of: int, seconds: float) -> str:
    broken = sum(bool(result.faults) for result in done)
    return (
        f"{len(done)} of {of} seeds, {sum(result.events for result in done)} events, "
        f"{sum(result.kills for result in done)} kills, {sum(result.strikes for result in done)} strikes of faults, "
        f"{sum(result.virtual_seconds for result in done) / 3600:.1f} virtual hours "
        f"in {seconds:.1f} s ({len(done) / seconds:.1f} seeds each second), commit {_commit()}: "
        + (f"laws were broken by {broken} seeds." if broken else "no law was broken.")
    )


def _commit() -> str:
    """What was simulated: the commit, with a `+` when the files are not quite those of the commit."""

    def ask(*words: str) -> str:
        here = Path(__file__).parent
        return subprocess.run(
            ["git", *words], cwd=here, check=True, capture_output=True, text=True, timeout=30
        ).stdout.strip()

    try:
        return ask("rev-parse", "--short", "HEAD") + ("+" if ask("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _tell(result: Summary, *, keeps: bool) -> None:
    _end_progress()
    print(f"seed {result.seed} breaks a law:")
    for fault in result.faults[:5]:
        print(f"  {fault}")
    arguments = "'--kept -v'" if keeps else "-v"
    print(f"  to repeat it: make simulate SEED={result.seed} ARGS={arguments}", flush=True)


def _progress(done: Sequence[Summary], of: int, seconds: float) -> None:
    left = seconds / len(done) * (of - len(done))
    broken = sum(bool(result.faults) for result in done)
    line = f"{len(done)} of {of} seeds, {len(done) / seconds:.1f} each second, {left:.0f} s left, {broken} broken"
    sys.stderr.write(f"\r{line:<78}" if sys.stderr.isatty() else f"{line}\n")
    sys.stderr.flush()


def _end_progress() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r" + " " * 78 + "\r")


def _ignore_interrupt() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of a set of names depends on it: with another one a seed would be another story.
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.simulation", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    sys.exit(main())
