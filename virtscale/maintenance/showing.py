"""Entries of the calendar as people read them: with the clocks of the window's zone, and with UTC."""

import datetime as dt
from itertools import groupby
from pathlib import Path
from typing import Final

from schemas.ics import Appointment, calendar, uid_of
from schemas.names import is_name
from schemas.zones import ZoneError, both, zone
from virtscale import views
from virtscale.exits import EXIT_DONE, EXIT_NOT_FOUND
from virtscale.invocation import UsageError, require_org
from virtscale.replaying.outputs import drafted
from virtscale.show import Format, say, show

ORGANIZER: Final = "virtscale@localhost"
SHORT: Final = 12
"""So much of an id is shown, and enough to name an entry."""

LISTED: Final = """
SELECT * FROM maintenance
WHERE (? = '' OR org = ?) AND (? = '' OR vm = ?) AND (? = 'all' OR stage NOT IN ('ended', 'cancelled'))
ORDER BY start, org, vm
"""

NAMED: Final = "SELECT * FROM maintenance WHERE id LIKE ? || '%' ORDER BY id LIMIT 2"


def show_list(directory: Path, target: str, form: Format, *, every: bool) -> int:
    """The entries, in the order of their starts."""
    rows = _listed(directory, target, every=every)
    if form == "json":
        show(rows, form)
        return EXIT_DONE
    lines = [
        {
            "entry": str(row["id"])[:SHORT],
            "vm": f"{row['org']}/{row['vm']}",
            "stage": row["stage"] if row["result"] in {None, "done"} else row["result"],
            "start": both(_moment(row["start"]), str(row["zone"])),
            "minutes": _minutes(row),
            "what": row["steps"] or "-",
        }
        for row in rows
    ]
    show(lines, form, columns=["entry", "vm", "stage", "start", "minutes", "what"])
    return EXIT_DONE


def show_entry(directory: Path, which: str, form: Format) -> int:
    """Everything about one entry."""
    row = entry_of(directory, which)
    if row is None:
        return EXIT_NOT_FOUND
    if form == "json":
        show([row], form)
        return EXIT_DONE
    place = str(row["zone"])
    told = [
        ("entry", row["id"]),
        ("vm", f"{row['org']}/{row['vm']} of pool {row['pool']}"),
        ("stage", f"{row['stage']}" + (f", {row['result']}" if row["result"] else "")),
        ("start", both(_moment(row["start"]), place)),
        ("end", both(_moment(row["end"]), place)),
        ("window", f"{both(_moment(row['opens']), place)} to {both(_moment(row['closes']), place)}"),
        ("what", row["steps"] or "nothing"),
        ("policy", row["policy"]),
        ("announced", both(_moment(row["announced_at"]), place) if row["announced_at"] else "not now"),
        ("moved", f"{row['moves']} times"),
        ("last change", f"{row['code']} at {both(_moment(row['changed_at']), place)}"),
        *([("by", row["actor"])] if row["actor"] else []),
        *([("reason", _printable(str(row["reason"])))] if row["reason"] else []),
    ]
    width = max(len(name) for name, _ in told)
    for name, value in told:
        print(f"{name.ljust(width)}  {value}")
    return EXIT_DONE


def show_calendar(directory: Path, org: str) -> int:
    """The days on which something is planned, and what."""
    rows = _listed(directory, require_org(org) if org else "", every=False)
    if not rows:
        say("Nothing is planned.")
    for day, those in groupby(rows, key=lambda row: f"{_local(row, 'start'):%a %Y-%m-%d}"):
        print(day)
        for row in those:
            start, end = _local(row, "start"), _local(row, "end")
            when = f"{start:%H:%M}-{end:%H:%M} {start:%Z}"
            what = row["kinds"] or "-"
            print(
                f"  {when:<16} {row['org']}/{row['vm']:<20} {what} ({row['stage']}, {str(row['id'])[:SHORT]})"
            )
    return EXIT_DONE


def write_calendar(directory: Path, org: str, path: Path) -> int:
    """The file has all entries that are planned or were cancelled, for calendars to enter and to remove."""
    rows = _listed(directory, require_org(org) if org else "", every=True)
    shown = [row for row in rows if row["stage"] in {"announced", "running", "cancelled"}]
    name = f"Maintenance of {org}" if org else "Maintenance"
    made = calendar([_appointment(row) for row in shown], ORGANIZER, name)
    with drafted(path) as draft:
        draft.write_bytes(made)
    say(f"{len(shown)} entries are in {path}.")
    return EXIT_DONE


def entry_of(directory: Path, which: str) -> views.Row | None:
    """The one entry that is meant; None where there is none, which has been said."""
    if "/" in which:
        rows = _listed(directory, which, every=False)
    else:
        if not which or set(which) - set("0123456789abcdef"):
            raise UsageError(
                f"{which!a:.60} names no maintenance: write the beginning of its id, or ORG/VM. "
                "`virtscale maintenance list` shows them."
            )
        with views.opened(directory) as base:
            rows = base.rows(NAMED, (which,))
    if not rows:
        say(f"There is no maintenance {which}: `virtscale maintenance list` shows what is planned.")
        return None
    if len(rows) > 1:
        what = (
            "has more than one entry: name one by its id"
            if "/" in which
            else "may mean more than one entry: write more of its id"
        )
        raise UsageError(f"{which} {what}. `virtscale maintenance list` shows them.")
    return rows[0]


def _listed(directory: Path, target: str, *, every: bool) -> list[views.Row]:
    org, slash, vm = target.partition("/")
    if target and (not is_name(org) or (slash and not is_name(vm))):
        raise UsageError(f"{target!a:.90} names neither an org nor a VM: write acme, or acme/db.")
    with views.opened(directory) as base:
        return base.rows(LISTED, (org, org, vm, vm, "all" if every else ""))


def _appointment(row: views.Row) -> Appointment:
    return Appointment(
        uid=uid_of(str(row["id"]), f"virtscale.{row['org']}"),
        revision=int(row["revision"] or 0),
        written=_moment(row["changed_at"]),
        start=_moment(row["start"]),
        end=_moment(row["end"]),
        summary=f"Maintenance of {row['org']}/{row['vm']}",
        description=str(row["steps"] or ""),
        cancelled=row["stage"] == "cancelled",
    )


def _moment(cell: str | float | None) -> dt.datetime:
    return dt.datetime.fromisoformat(str(cell))


def _local(row: views.Row, name: str) -> dt.datetime:
    try:
        return _moment(row[name]).astimezone(zone(str(row["zone"])))
    except ZoneError:  # the database of zones dropped it: UTC is as true
        return _moment(row[name]).astimezone(dt.UTC)


def _minutes(row: views.Row) -> int:
    return int((_moment(row["end"]) - _moment(row["start"])).total_seconds()) // 60


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
