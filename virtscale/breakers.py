"""`virtscale breakers`: where VMs of a pool failed to start again and again, and until when none is tried there."""

import datetime as dt
from pathlib import Path
from typing import Final

from virtscale import views
from virtscale.exits import EXIT_DONE
from virtscale.invocation import now_in
from virtscale.show import Format, say, show

_OPENED: Final = """
SELECT org, pool, scope, name, failures, code, opened_at, until FROM breakers ORDER BY org, pool, scope, name
"""


def show_breakers(directory: Path, form: Format) -> int:
    """The breakers that were opened and not closed: `open`, or `on trial` once their time is over; the exit code."""
    now = now_in(directory)
    with views.opened(directory) as base:
        rows = base.rows(_OPENED)
    if form == "table" and not rows:
        say("No breaker is open.")
        return EXIT_DONE
    held = [
        {**row, "state": "open" if now < dt.datetime.fromisoformat(str(row["until"])) else "on trial"}
        for row in rows
    ]
    show(
        held,
        form,
        columns=["org", "pool", "scope", "name", "state", "failures", "code", "opened_at", "until"],
    )
    return EXIT_DONE
