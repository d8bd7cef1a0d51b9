"""`virtscale forecast show`: what each pool is thought to need, what that is made of, and what follows from it."""

import datetime as dt
from pathlib import Path
from typing import Final

from schemas.names import is_name
from virtscale import views
from virtscale.exits import EXIT_DONE, EXIT_NOT_FOUND
from virtscale.invocation import UsageError
from virtscale.show import Format, say, show

_ALL: Final = "SELECT * FROM forecasts ORDER BY org, pool"
_ONE: Final = "SELECT * FROM forecasts WHERE org = ? AND pool = ?"
_COLUMNS: Final = [
    "org",
    "pool",
    "mode",
    "target",
    "reserve",
    "want",
    "staying",
    "demand",
    "slope",
    "margin",
    "reason",
    "made_at",
    "history",
]
_DAY: Final = 86_400


def shown(directory: Path, target: str | None, form: Format) -> int:
    """The rows, or what is said where there are none."""
    with views.opened(directory) as base:
        rows = base.rows(_ALL) if target is None else base.rows(_ONE, _named(target))
    if not rows:
        if target is None:
            say(
                'No pool is foreseen yet: one with `forecast = "only"` or "on" and a demand or trigger that is measured is.'
            )
            return EXIT_DONE
        say(
            f"There is no forecast of {target} yet: `virtscale pools` lists the pools, `virtscale signals` what is not heard."
        )
        return EXIT_NOT_FOUND
    if form == "table":
        rows = [_plain(row) for row in rows]
    show(rows, form, columns=_COLUMNS)
    return EXIT_DONE


def _named(target: str) -> tuple[str, str]:
    org, slash, pool = target.partition("/")
    if not (slash and is_name(org) and is_name(pool)):
        raise UsageError(f"{target!r} is no pool: name it as ORG/POOL, as in acme/web.")
    return org, pool


def _plain(row: views.Row) -> views.Row:
    """VMs with two decimals for people; a program gets the thousandths that the ledger has."""
    return row | {
        "demand": _vms(row["level_milli_vms"]),
        "slope": _vms(row["slope_milli_vms"], signed=True),
        "margin": _vms(row["margin_milli_vms"]),
        "history": f"{float(row['history_seconds'] or 0) / _DAY:.1f} of 7 days",
        "made_at": f"{dt.datetime.fromisoformat(str(row['made_at'])):%H:%M:%S}",
        "want": f"{row['want']} (the cap)" if row["capped"] else row["want"],
    }


def _vms(milli: str | float | None, *, signed: bool = False) -> str:
    if milli is None:
        return ""
    return f"{float(milli) / 1000:{'+' if signed else ''}.2f}"
