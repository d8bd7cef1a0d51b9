"""The commands `virtscale clock`, `clock ahead` and `clock to`."""

from typing import Annotated

from cyclopts import App, Parameter

from schemas.zones import BERLIN
from virtscale.invocation import Output, here

app = App(
    name="clock",
    help="What time it is for the house; one that is for trying things out can have it moved ahead.",
)

Zone = Annotated[str, Parameter(help="whose clocks are meant and shown")]


@app.default
def show_clock(*, zone: Zone = BERLIN, output: Output = "table") -> int:
    """What time it is for the house, and how far that is ahead of the machine's clock."""
    from virtscale.clocks.moving import show_time

    return show_time(here(), zone, output)


@app.command
def ahead(duration: str, /, *, zone: Zone = BERLIN, output: Output = "table") -> int:
    """Move the clock ahead: `virtscale clock ahead 5d`, or 90s, 15m, 2h. In a house started with `up --movable-clock` alone."""
    from virtscale.clocks.moving import ahead as run

    return run(here(), duration, zone, output)


@app.command
def to(moment: str, /, *, zone: Zone = BERLIN, output: Output = "table") -> int:
    """Move the clock ahead to a moment: `virtscale clock to 22:00`, the next one there is, or 2026-12-01, or 2026-12-01T22:00."""
    from virtscale.clocks.moving import to as run

    return run(here(), moment, zone, output)
