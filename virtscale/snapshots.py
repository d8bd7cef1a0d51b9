"""`virtscale snapshots`: what is pinned of the disks of VMs, and since when."""

from pathlib import Path

from virtscale import views
from virtscale.exits import EXIT_DONE, EXIT_NOT_FOUND
from virtscale.show import Format, say, show

_COLUMNS = ("org", "pool", "vm", "state", "host", "taken_at", "layers", "snapshot", "trouble")


def show_snapshots(directory: Path, org: str | None, pool: str | None, form: Format) -> int:
    """Every disk with its pin, of one pool or of all; the exit code."""
    with views.opened(directory) as base:
        rows = base.rows(views.SNAPSHOTS)
        known = {(row["org"], row["pool"]) for row in base.rows(views.POOLS)}
    if org is not None and (org, pool) not in known:
        say(f"There is no pool {org}/{pool}: `virtscale pools` lists those there are.")
        return EXIT_NOT_FOUND
    shown = [row for row in rows if org is None or (row["org"], row["pool"]) == (org, pool)]
    show(shown, form, columns=_COLUMNS)
    return EXIT_DONE
