"""The command `virtscale replay trace`."""

import sys
from typing import Annotated, Literal

from cyclopts import App, Parameter

from virtscale.exits import EXIT_DONE, EXIT_NOT_FOUND, EXIT_USAGE
from virtscale.history import From, opened_source
from virtscale.progress import Progress
from virtscale.replaying.loop import run
from virtscale.show import say

TraceFormat = Literal["otlp", "chrome"]


def register(app: App) -> None:
    """The command is part of the group."""
    app.command(trace)


def trace(
    id: Annotated[
        str, Parameter(name="ID", help="a request, an order, or any event of theirs; first digits do")
    ],
    /,
    *,
    source: From = None,
    output: Annotated[
        TraceFormat,
        Parameter(
            name=["-o", "--output"], help="otlp for OpenTelemetry, chrome for chrome://tracing or Perfetto"
        ),
    ] = "otlp",
) -> int:
    """An activation as a trace, with the same ids each time: `virtscale replay trace 4f2a91 -o chrome > trace.json`."""
    return run(lambda: _trace(id, source, output))


async def _trace(text: str, source: From, form: TraceFormat) -> int:
    from replay.trace.forms import chrome, otlp
    from replay.trace.reading import trace as traced
    from replay.why.named import IdError

    async with opened_source(source) as ledger:
        with Progress("trace") as progress:
            try:
                found = await traced(ledger, text, progress)
            except IdError as error:
                say(f"virtscale: {error} [{error.code}]")
                return EXIT_NOT_FOUND if type(error) is IdError else EXIT_USAGE
    sys.stdout.write((otlp(found) if form == "otlp" else chrome(found)).decode())
    return EXIT_DONE
