"""`virtscale vm copies`: a VM's snapshots and backups, and of each VM how old the latest backup is."""

import datetime as dt
from pathlib import Path
from typing import Final

from events.clock import clock_of
from schemas.house import load
from virtscale import views
from virtscale.exits import EXIT_DONE, EXIT_NOT_FOUND
from virtscale.show import Format, say, show

OF_VM: Final = """
SELECT copy, kind, state, taken_at, disk_bytes, size_bytes, sha256, host, place, cause FROM copies
WHERE org = ? AND vm = ? ORDER BY seq, copy
"""
KNOWN: Final = "SELECT vm FROM directory WHERE org = ? AND vm = ?"

AGES: Final = """
SELECT named.org, named.vm,
       sum(copies.kind = 'snapshot' AND copies.state = 'made') AS snapshots,
       sum(copies.kind = 'backup' AND copies.state = 'made') AS backups,
       max(CASE WHEN copies.kind = 'backup' AND copies.state = 'made' THEN copies.taken_at END) AS last_backup,
       coalesce(sum(copies.size_bytes), 0) AS size_bytes
FROM (SELECT org, vm FROM directory UNION SELECT org, vm FROM copies) AS named
LEFT JOIN copies ON copies.org = named.org AND copies.vm = named.vm
WHERE ? = '' OR named.org = ?
GROUP BY named.org, named.vm ORDER BY named.org, named.vm
"""
"""VMs that are deleted have backups for a while, and stand here as long."""

_MIB: Final = 2**20
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def show_of_vm(directory: Path, org: str, vm: str, form: Format) -> int:
    """Every copy of the VM, the oldest first; the exit code."""
    with views.opened(directory) as base:
        rows, known = base.rows(OF_VM, (org, vm)), base.rows(KNOWN, (org, vm))
    if not rows and not known:
        say(
            f"There is no VM {org}/{vm} that is kept, and no copy of one: `virtscale vm list` lists those there are."
        )
        return EXIT_NOT_FOUND
    now = _now(directory)
    aged = [{**row, "age_seconds": _age(row["taken_at"], now)} for row in rows]
    if form == "table":
        aged = [
            {
                **row,
                "state": _state(row),
                "age": said(row["age_seconds"]),
                "counts": _size(row["size_bytes"]),
                "disk": _size(row["disk_bytes"]),
            }
            for row in aged
        ]
    show(aged, form, columns=["copy", "kind", "state", "age", "taken_at", "counts", "disk", "place"])
    if form == "table":
        for row in rows:
            if row["state"] == "ordered":
                say(_under_way(org, vm, row))
    return EXIT_DONE


def show_ages(directory: Path, org: str, form: Format) -> int:
    """A row for each VM, of one org or of all; the exit code."""
    with views.opened(directory) as base:
        rows = base.rows(AGES, (org, org))
    now = _now(directory)
    aged = [{**row, "age_seconds": _age(row["last_backup"], now)} for row in rows]
    if form == "table":
        aged = [
            {
                **row,
                "snapshots": row["snapshots"] or 0,
                "backups": row["backups"] or 0,
                "age": said(row["age_seconds"]) or "no backup",
                "counts": _size(row["size_bytes"]),
            }
            for row in aged
        ]
    show(aged, form, columns=["org", "vm", "snapshots", "backups", "age", "last_backup", "counts"])
    return EXIT_DONE


def said(seconds: str | float | None) -> str | None:
    """An age in its two largest units; None for none."""
    if seconds is None:
        return None
    left, parts = max(0, int(seconds)), list[str]()
    for scale, unit in _UNITS:
        count, left = divmod(left, scale)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
        elif parts:
            break
        if len(parts) == 2:  # noqa: PLR2004 - the two largest
            break
    return " ".join(parts)


def _now(directory: Path) -> dt.datetime:
    """What time it is for the house, by whose clock copies are dated."""
    return clock_of(load(directory).clock).now()


def _age(taken_at: str | float | None, now: dt.datetime) -> int | None:
    return None if taken_at is None else int((now - dt.datetime.fromisoformat(str(taken_at))).total_seconds())


def _state(row: views.Row) -> str:
    return f"{row['state']} ({row['cause']})" if row["cause"] else str(row["state"])


def _under_way(org: str, vm: str, row: views.Row) -> str:
    """What is so as long as the copy is neither there nor given up, and what ends it where it does not end by itself."""
    what, host = f"{row['kind']} {row['copy']}", row["host"]
    return (
        f"The {what} is being made, or what a failed try left of it is still to be removed. Until it has ended, no other copy is made and the "
        f"disk is not erased. It is tried again every few minutes at the latest; what is in the way is in storage's log, as `host {host}: make {what} "
        f"of {org}/{vm}` or `what is left of` that. See to the host and the disk that it names; a host that is lost for good is given up with "
        f"`virtscale host remove {host}`."
    )


def _size(count: str | float | None) -> str:
    return f"{float(count or 0) / _MIB:.1f} MiB"
