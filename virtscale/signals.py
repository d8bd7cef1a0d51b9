"""`virtscale signals`: the pools of which a query is lost, and since when."""

from pathlib import Path
from typing import Final

from virtscale import views
from virtscale.exits import EXIT_DONE
from virtscale.show import Format, printable, say, show

_LOST: Final = """
SELECT org, pool, lost, sources, code, lost_at, last_sample_at, text FROM signals ORDER BY org, pool
"""


def show_signals(directory: Path, form: Format) -> int:
    """The losses that hold now; none is said in words, on standard error."""
    with views.opened(directory) as base:
        rows = base.rows(_LOST)
    if form == "table" and not rows:
        say("Every query of every pool is heard.")
        return EXIT_DONE
    if form == "table":
        rows = [{**row, "text": printable(str(row["text"]))} for row in rows]
    show(rows, form, columns=["org", "pool", "lost", "code", "lost_at", "last_sample_at", "text"])
    return EXIT_DONE
