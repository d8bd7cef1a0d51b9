"""What `virtscale vm show` and `vm drift` say of VMs that are otherwise than the ledger has them, and of guests out of memory."""

from pathlib import Path
from typing import Final

from virtscale import views
from virtscale.exits import EXIT_DONE
from virtscale.show import Format, show

_DRIFT: Final = "SELECT org, vm, host, part, what, expected, found, repair, since, observed_at FROM drift"
ALL: Final = f"{_DRIFT} ORDER BY org, vm, host, part, what"
OF: Final = f"{_DRIFT} WHERE org = ? AND vm = ? ORDER BY host, part, what"
OOM: Final = "SELECT kills, memory_mib, advice, observed_at FROM oom WHERE org = ? AND vm = ?"

_REPAIRS: Final = {
    "at-next-boot": "its next boot puts that right",
    "reboot": "a reboot is planned for it",
    "stop": "it is stopped there",
    "none": "nobody but you can say which is right",
}


def show_drift(directory: Path, form: Format) -> int:
    """Everything that is otherwise than the ledger has it, of all VMs; the exit code."""
    with views.opened(directory) as base:
        rows = base.rows(ALL)
    show(rows, form, columns=["org", "vm", "host", "part", "what", "expected", "found", "repair", "since"])
    return EXIT_DONE


def found(directory: Path, org: str, vm: str) -> tuple[list[views.Row], views.Row | None]:
    """What of one VM is otherwise than the ledger has it, and what its guest's kernel killed; mostly nothing."""
    with views.opened(directory) as base:
        drifts, kills = base.rows(OF, (org, vm)), base.rows(OOM, (org, vm))
    return drifts, kills[0] if kills else None


def lines(drifts: list[views.Row], kills: views.Row | None) -> dict[str, str]:
    """The same for a person, each under a name of its own."""
    told = {f"drift: {row['what']}": _otherwise(row) for row in drifts}
    if kills is not None:
        processes = "1 process was" if kills["kills"] == 1 else f"{kills['kills']} processes were"
        told["memory"] = (
            f"{processes} killed for want of memory in {kills['memory_mib']} MiB, last seen {kills['observed_at']}. {kills['advice']}"
        )
    return told


def _otherwise(row: views.Row) -> str:
    repair = _REPAIRS.get(str(row["repair"]), str(row["repair"]))
    return f"found {row['found']}, and the ledger has {row['expected']}, on {row['host']} since {row['since']}; {repair}"
