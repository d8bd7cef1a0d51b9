"""The command `virtscale demo day`."""

import asyncio
from pathlib import Path
from typing import Annotated

import uvloop
from cyclopts import App, Parameter

from virtscale.invocation import UsageError

app = App(name="demo", help="See it work: a day of demand, on real guests or simulated.")

_LEAST_VMS = 2
_MOST_VMS = 64
_MOST_SIMULATED = 1000


@app.command
def day(
    *,
    begin: Annotated[str, Parameter(name="--from", help="where in the day to begin, such as 07:00")] = "",
    end: Annotated[str, Parameter(name="--to", help="where to end, up to 24:00")] = "",
    speed: Annotated[
        float | None, Parameter(help="seconds of the curve in each real second; clocks stay real")
    ] = None,
    curve: Annotated[
        Path | None,
        Parameter(help="a CSV of demand, of which the last 24 hours are played; else a built-in day"),
    ] = None,
    vms: Annotated[int, Parameter(help="guests to begin with asleep; the curve is scaled to them")] = 8,
    twin: Annotated[
        bool,
        Parameter(help="the whole day in memory, with simulated guests and time that jumps", negative=""),
    ] = False,
    into: Annotated[
        Path | None, Parameter(help="the directory to write into; else a new one here, named after the time")
    ] = None,
) -> int:
    """Play a day of demand: real requests to real guests, which the forecaster wakes ahead of them.

    In a house of its own, which is gone at the end, as it is after Ctrl-C; the report and the ledger stay.
    """
    from virtscale.demo import day as days
    from virtscale.demo.run import directory_of
    from virtscale.demo.screen import Screen

    most = _MOST_SIMULATED if twin else _MOST_VMS
    if not _LEAST_VMS <= vms <= most:
        raise UsageError(f"A day cannot be played with {vms} VMs: choose {_LEAST_VMS} to {most}.")
    hours = ("00:00", "24:00", 1.0) if twin else ("07:00", "09:00", 12.0)
    begin, end, speed = begin or hours[0], end or hours[1], hours[2] if speed is None else speed
    chosen = days.usual() if curve is None else days.of_file(curve)
    piece = days.piece_of(chosen, days.second_of(begin), days.second_of(end), speed, vms)
    directory = (directory_of(Path.cwd()) if into is None else into).resolve()
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} is there already and not empty: name a new directory with --into.")
    source = f"virtscale demo day --from {begin} --to {end} --speed {speed:g} --vms {vms}"
    screen = Screen(vms, hourly=twin)
    if twin:
        from virtscale.demo.twin import play

        return play(piece, directory, screen)
    from virtscale.demo.live import Plan
    from virtscale.demo.run import run

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(Plan(piece, directory, source), screen))
