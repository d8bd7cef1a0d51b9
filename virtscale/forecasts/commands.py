"""The commands `virtscale forecast …`."""

from typing import Annotated

from cyclopts import App, Parameter

from virtscale.invocation import Output, here

app = App(name="forecast", help="What pools will need, as the forecaster sees it.")


@app.command(name="show")
def show_forecasts(
    target: Annotated[
        str | None, Parameter(help="a pool as ORG/POOL; every pool if absent", name="POOL")
    ] = None,
    /,
    *,
    output: Output = "table",
) -> int:
    """The newest forecast of each pool that the ledger tells: VMs needed by the horizon, and what the number is made of.

    A forecast that changes nothing is told once an hour. `virtscale replay why ORG/POOL@TIME` has the one of any instant.
    """
    from virtscale.forecasts.showing import shown

    return shown(here(), target, output)
