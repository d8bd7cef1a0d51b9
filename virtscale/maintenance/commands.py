"""The commands `virtscale maintenance …`."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from schemas.vm_intake import MaintenanceWork
from virtscale.invocation import Output, here, present_house

app = App(name="maintenance", help="When VMs that are kept for their own sake are worked on.")

Which = Annotated[
    str, Parameter(help="the beginning of its id, or ORG/VM where that has one entry", name="ENTRY")
]
Reason = Annotated[
    str, Parameter(help="why, in a few words that name nobody: they stay in the ledger for ever")
]
Actor = Annotated[str | None, Parameter(name="--as", help="who says so; your user name if absent")]


@app.command(name="list")
def list_entries(
    target: Annotated[
        str, Parameter(help="an org, or a VM as ORG/VM; everything if absent", name="TARGET")
    ] = "",
    /,
    *,
    every: Annotated[bool, Parameter(name="--all", help="also what is over", negative="")] = False,
    output: Output = "table",
) -> int:
    """What is planned, with its time in the window's zone and in UTC."""
    from virtscale.maintenance.showing import show_list

    return show_list(here(), target, output, every=every)


@app.command
def show(entry: Which, /, *, output: Output = "table") -> int:
    """One entry: what is done, when, by which policy, and how it came to be so."""
    from virtscale.maintenance.showing import show_entry

    return show_entry(here(), entry, output)


@app.command
def request(
    vm: Annotated[str, Parameter(help="a VM that is kept, as ORG/VM", name="VM")],
    work: Annotated[
        MaintenanceWork,
        Parameter(
            help="reboot or cold-reboot, which the gate orders; other for work that you do while it runs"
        ),
    ],
    /,
    *,
    minutes: Annotated[
        int | None, Parameter(help="how long it takes; what such work usually takes if absent")
    ] = None,
    reason: Reason,
    actor: Actor = None,
) -> int:
    """Plan work on a VM: it has a place in the calendar, and the contacts are told."""
    from virtscale.maintenance.changing import ask_for

    return ask_for(present_house(), vm, work, minutes, reason, actor)


@app.command
def postpone(
    entry: Which,
    /,
    *,
    until: Annotated[
        str,
        Parameter(
            help="not before 2026-12-01, or 2026-12-01T22:00, on the clocks of the window's zone, or 2026-12-01T21:00Z; "
            "the next window if absent"
        ),
    ] = "",
    reason: Reason,
    actor: Actor = None,
) -> int:
    """Have it done later: in the first window from then on that keeps the notice. The contacts are told."""
    from virtscale.maintenance.changing import change

    return change(present_house(), entry, "postpone", reason, actor, until)


@app.command
def cancel(entry: Which, /, *, reason: Reason, actor: Actor = None) -> int:
    """Have nothing of it done. A size that was to come holds from the VM's next boot on."""
    from virtscale.maintenance.changing import change

    return change(present_house(), entry, "cancel", reason, actor, "")


@app.command
def calendar(
    org: Annotated[str, Parameter(help="of this org alone", name="ORG")] = "",
    /,
    *,
    ics: Annotated[
        Path | None, Parameter(help="write it as an iCalendar file, to subscribe to or to import")
    ] = None,
) -> int:
    """What is planned, day by day in each window's own zone."""
    from virtscale.maintenance.showing import show_calendar, write_calendar

    return show_calendar(here(), org) if ics is None else write_calendar(here(), org, ics)
