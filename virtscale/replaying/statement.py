"""The command `virtscale replay statement`: an org's month, from the ledger alone."""

import datetime as dt
from typing import Annotated

from cyclopts import App, Parameter

from virtscale.exits import EXIT_DONE
from virtscale.history import From, opened_source
from virtscale.invocation import Output, require_org
from virtscale.progress import Progress
from virtscale.replaying.loop import run
from virtscale.show import say, show, write_json


def register(app: App) -> None:
    """The command is part of the group."""
    app.command(statement)


def statement(
    org: str,
    month: Annotated[str, Parameter(help="the calendar month, 2026-11")],
    /,
    *,
    timezone: Annotated[str, Parameter(help="whose midnights begin and end it")] = "UTC",
    source: From = None,
    output: Output = "table",
) -> int:
    """State what an org's month came to: committed, used, above quota, refused, available, and in EUR."""
    from replay.metering import moment_of, ns_of
    from replay.statement import month as months
    from replay.statement.accounts import Accounts
    from replay.statement.reading import read_month
    from replay.statement.wording import document, lines

    accounts = Accounts(require_org(org), months.month(month, timezone))

    async def work() -> int:
        async with opened_source(source) as ledger:
            now_ns = ns_of(dt.datetime.now(dt.UTC)) if source is None else None
            with Progress("statement") as progress:
                await read_month(ledger, accounts, now_ns, progress)
        if output == "json":
            write_json(document(accounts))
            return EXIT_DONE
        so_far = "" if accounts.complete else ", so far"
        say(
            f"{org}, {month} ({timezone}){so_far}: {moment_of(accounts.month.begin_ns):%Y-%m-%d %H:%M:%S} to "
            f"{moment_of(accounts.until_ns):%Y-%m-%d %H:%M:%S} UTC, from the ledger up to #{accounts.seq}"
        )
        show(
            [
                {"": line.part, "number": line.name, "value": line.value, "unit": line.unit, "is": line.means}
                for line in lines(accounts)
            ],
            output,
        )
        if accounts.refusals:
            say("\nrefusals")
            show(
                [
                    {
                        "at": f"{one.decided_at:%Y-%m-%d %H:%M:%S}",
                        "seq": one.seq,
                        "pool": one.pool,
                        "code": one.code,
                        "asked": one.asked,
                        "said": one.sentence,
                    }
                    for one in accounts.refusals
                ],
                output,
            )
        return EXIT_DONE

    return run(work)
