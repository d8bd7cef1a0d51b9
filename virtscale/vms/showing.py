"""`virtscale vm list` and `show`: VMs that are kept for their own sake, as they are and as they shall be."""

from pathlib import Path
from typing import Final

from schemas.limits import amount
from virtscale import views
from virtscale.exits import EXIT_DONE, EXIT_NOT_FOUND
from virtscale.invocation import here
from virtscale.show import Format, show
from virtscale.vms.named import row_of
from virtscale.vms.shown import found, lines

_COLUMNS: Final = """
SELECT directory.org, directory.vm, directory.pool, coalesce(vms.state, 'created') AS state, vms.host, vms.address,
       directory.image, directory.vcpu, directory.memory_mib, vms.vcpu AS vcpu_now, vms.memory_mib AS memory_mib_now,
       directory.disk_bytes, directory.protected, directory.actor, directory.created_at, vms.overdue
FROM directory LEFT JOIN vms ON vms.org = directory.org AND vms.vm = directory.vm
"""
LIST: Final = f"{_COLUMNS} ORDER BY directory.org, directory.pool, directory.vm"
ONE: Final = f"{_COLUMNS} WHERE directory.vm = ? AND (? = '' OR directory.org = ?) ORDER BY directory.org"

_AWAKE: Final = frozenset({"booting", "waking", "running", "unready", "stopping"})


def show_list(directory: Path, org: str | None, pool: str | None, form: Format) -> int:
    """Every kept VM, of one pool or of all; the exit code."""
    with views.opened(directory) as base:
        rows = base.rows(LIST)
    shown = [row for row in rows if org is None or (row["org"], row["pool"]) == (org, pool)]
    show(
        [_told(row) for row in shown] if form == "table" else shown,
        form,
        columns=["org", "vm", "pool", "state", "host", "address", "size", "disk", "protected"],
    )
    return EXIT_DONE


def show_one(target: str, form: Format) -> int:
    """One VM, a line for each thing that is known of it; the exit code."""
    row = row_of(target, ONE, kept=True)
    if row is None:
        return EXIT_NOT_FOUND
    drifts, kills = found(here(), str(row["org"]), str(row["vm"]))
    if form == "json":
        show([{**row, "drift": drifts, "memory": kills}], form)
    else:
        told = {**_told(row), "image": row["image"], "made by": row["actor"], "made at": row["created_at"]}
        told |= lines(drifts, kills)
        show([{"what": name, "is": value} for name, value in told.items()], form)
    return EXIT_DONE


def _told(row: views.Row) -> views.Row:
    """The row for a person; a VM that runs with another size than it shall have says both."""
    size = f"{row['vcpu']} vCPU, {row['memory_mib']} MiB"
    now = f"{row['vcpu_now']} vCPU, {row['memory_mib_now']} MiB"
    if row["state"] in _AWAKE and now != size:
        size = f"{now}; at the next boot {size}"
    disk = int(row["disk_bytes"] or 0)
    return {
        "org": row["org"],
        "vm": row["vm"],
        "pool": row["pool"],
        "state": f"{row['state']}, overdue" if row["overdue"] else row["state"],
        "host": row["host"],
        "address": row["address"],
        "size": size,
        "disk": amount(disk) if disk else "as its image's",
        "protected": "yes" if row["protected"] else "no",
    }
