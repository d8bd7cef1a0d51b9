"""`virtscale vm delete`, `undelete` and `deletions`: asked for, decided, and shown with the clocks of whoever looks."""

import asyncio
import datetime as dt
import os
from contextlib import aclosing
from pathlib import Path
from typing import Final

import msgspec

from events.deletion import DeletionCancelled, DeletionScheduled
from schemas.deletion import STAGES, Schedule, said
from schemas.house import House
from schemas.names import is_name
from schemas.vm_intake import DeleteVm, UndeleteVm
from schemas.zones import ZoneError, zone
from virtscale import views
from virtscale.ask import events_after, operator, publish
from virtscale.exits import EXIT_DONE, EXIT_INTERRUPTED
from virtscale.invocation import UsageError
from virtscale.show import Format, printable, say, show, write_json
from virtscale.vms.asking import Following, Told

LISTED: Final = """
SELECT deletions.*, (
    SELECT group_concat(kind || ' ' || copy, ', ') FROM copies
    WHERE copies.org = deletions.org AND copies.vm = deletions.vm AND copies.state = 'ordered'
) AS copying, (SELECT host FROM vms WHERE vms.org = deletions.org AND vms.vm = deletions.vm) AS host
FROM deletions WHERE (? = '' OR org = ?) AND (? = 'all' OR state = 'standing')
ORDER BY soft, org, vm
"""

_NEED_COPIES_ENDED: Final = ("hard", "purge")
"""Stages that erase what a copy is made from, or lies among."""


class Answered(msgspec.Struct, frozen=True):
    """What became of the request, and the instants that it has, where it was granted."""

    told: Told
    deletion: str | None
    schedule: Schedule | None


def ask(  # noqa: PLR0917 - what asking consists of
    house: House,
    org: str,
    request: DeleteVm | UndeleteVm,
    deadline_seconds: float,
    where: str,
    form: Format,
) -> int:
    """What was asked is decided; a deletion says its dates in this zone. The exit code."""
    try:
        answered, code = asyncio.run(_asked(house, org, request, deadline_seconds))
    except KeyboardInterrupt:
        say(
            f"Not followed any further: what was asked of {org}/{request.vm} stands, and `virtscale vm deletions` says what came of it."
        )
        return EXIT_INTERRUPTED
    if form == "json":
        write_json(answered)
    elif answered.schedule is not None:
        say(f"{org}/{request.vm} will be deleted: {said(answered.schedule, where or None)}")
        say(f"Until its disk is gone it can be had back: `virtscale vm undelete {org}/{request.vm}`.")
    return code


def show_deletions(directory: Path, org: str, where: str, form: Format, *, every: bool) -> int:
    """Every deletion that is not over, or every one there ever was, the next to stop its VM first; the exit code."""
    if org and not is_name(org):
        raise UsageError(f"{org!a:.60} names no org: write acme.")
    with views.opened(directory) as base:
        rows = base.rows(LISTED, (org, org, "all" if every else ""))
    if form == "json":
        show(rows, form)
        return EXIT_DONE
    show(
        [_told(row, where) for row in rows],
        form,
        columns=["vm", "state", *STAGES, "zone", "trouble"],
    )
    return EXIT_DONE


def own_zone(named: str) -> str:
    """The zone that dates are shown in: the one that was named, that of TZ, or none, for each deletion's own.

    `ZoneError` for a name that is no zone's; what TZ says in another way than by such a name is left alone.
    """
    if named:
        return zone(named).key
    from_environment = os.environ.get("TZ", "").removeprefix(":")
    try:
        return zone(from_environment).key if from_environment else ""
    except ZoneError:  # a rule such as CET-1CEST, or a file: each deletion then shows its own zone
        return ""


def day_of(text: str) -> dt.date | None:
    """The day of the deletion; None for the earliest. `UsageError` for what is no date."""
    if not text:
        return None
    try:
        return dt.datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=dt.UTC).date()
    except ValueError:
        raise UsageError(
            f"{text!a:.40} is no day: write it as 2026-12-01, a day in the zone of the VM's pool."
        ) from None


async def _asked(
    house: House, org: str, request: DeleteVm | UndeleteVm, deadline_seconds: float
) -> tuple[Answered, int]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    found: DeletionScheduled | DeletionCancelled | None = None
    async with operator(house) as bus:
        receipt = await publish(bus, org, request)
        following = Following(org, request.vm, receipt.id)
        try:
            async with asyncio.timeout(deadline_seconds), aclosing(events_after(bus, receipt.seq)) as events:
                async for recorded in events:
                    fact = recorded.fact
                    if isinstance(fact, DeletionScheduled | DeletionCancelled) and (
                        (fact.org, fact.vm) == (org, request.vm)
                    ):
                        found = fact
                    if following.hears(recorded):
                        break
        except TimeoutError:
            following.gives_up(deadline_seconds, receipt.seq)
    told = following.told(loop.time() - began)
    if found is None or told.outcome != "admitted":  # it was another's request that was granted
        return Answered(told, None, None), following.code
    schedule = found.schedule if isinstance(found, DeletionScheduled) else None
    return Answered(told, found.deletion, schedule), following.code


def _told(row: views.Row, where: str) -> views.Row:
    """The row for a person: what is done, what is under way, and when the rest comes."""
    name = where or str(row["zone"])
    completed = str(row["completed"] or "").split(", ")
    shown: views.Row = {
        "vm": f"{row['org']}/{row['vm']}",
        "state": row["state"],
        "zone": name,
        "trouble": printable(str(row["trouble"] or _waiting(row) or row["silence_trouble"] or "-")),
    }
    for stage in STAGES:
        if stage in completed:
            shown[stage] = "done"
        elif row["running"] == stage:
            shown[stage] = "under way"
        elif row["state"] == "cancelled":
            shown[stage] = "-"
        else:
            shown[stage] = (
                f"{dt.datetime.fromisoformat(str(row[stage])).astimezone(zone(name)):%Y-%m-%d %H:%M}"
            )
    return shown


def _waiting(row: views.Row) -> str | None:
    """What the stage that is under way waits for, or does not begin before; None where it waits for its instant alone."""
    if row["running"] == "hard" and row["host"]:
        return f"waits for host {row['host']} to undefine the domain, and for the disk to go from there: its waker's and storage's logs say why not"
    if not row["copying"] or row["next"] not in _NEED_COPIES_ENDED:
        return None
    return f"{row['next']} begins when the {row['copying']} has ended: see `virtscale vm copies {row['org']}/{row['vm']}`"
