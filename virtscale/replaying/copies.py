"""The command `virtscale replay copies`."""

from typing import TYPE_CHECKING

from cyclopts import App

from virtscale.exits import EXIT_DONE, EXIT_NOT_FOUND
from virtscale.history import From, opened_source
from virtscale.invocation import Output
from virtscale.progress import Progress
from virtscale.replaying.loop import run
from virtscale.show import say, show, write_json
from virtscale.vms.named import vm_of

if TYPE_CHECKING:  # a command imports what it needs, so that --help stays quick
    from replay.copies import Copied


def register(app: App) -> None:
    """The command is part of the group."""
    app.command(copies)


def copies(vm: str, /, *, source: From = None, output: Output = "table") -> int:
    """Show every copy that a VM ever had, who had it made, why it went, and when the last one vanished: `replay copies acme/db`."""
    from replay.copies import Past, sentence
    from replay.history import fold

    org, name = vm_of(vm)
    past = Past(org, name)

    async def work() -> int:
        async with opened_source(source) as ledger:
            with Progress("copies") as progress:
                await fold(ledger, [past], None, progress)
        said = sentence(past, org, name)
        if output == "json":
            write_json(
                {
                    "vm": vm,
                    "copies": past.copies,
                    "emptied": past.emptied,
                    "vanished": past.vanished,
                    "text": said,
                }
            )
        else:
            say(said)
            if past.copies:
                show([_row(one) for one in past.copies], output)
        return EXIT_DONE if past.copies else EXIT_NOT_FOUND

    return run(work)


def _row(one: "Copied") -> dict[str, object]:
    from replay.copies import because

    gone = "-"
    if one.failed is not None:
        gone = f"never made: {one.failed}"
    elif one.gone_at is not None and one.cause is not None:
        gone = f"{one.gone_at:%Y-%m-%d %H:%M:%S}, {because(one.cause, one.gone_asked)}"
    elif one.made_at is None:
        gone = "under way"
    return {
        "copy": one.copy,
        "kind": one.kind,
        "asked by": f"{one.asked.actor} ({one.asked.reason})" if one.asked is not None else None,
        "made": f"{one.made_at:%Y-%m-%d %H:%M:%S}" if one.made_at is not None else None,
        "bytes": one.size_bytes,
        "gone": gone,
    }
