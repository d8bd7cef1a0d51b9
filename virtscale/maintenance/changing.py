"""Asking the steward to do it later, or not at all, and waiting for what it says."""

import asyncio
import datetime as dt
from contextlib import aclosing
from typing import Final

from events.fact import Fact
from events.maintenance import (
    MaintenanceCancelled,
    MaintenanceDeclined,
    MaintenanceRescheduled,
    MaintenanceScheduled,
)
from schemas.house import House
from schemas.names import is_name
from schemas.vm_intake import AskMaintenance, ChangeMaintenance, MaintenanceChange, MaintenanceWork
from schemas.zones import both, day_begins, zone
from virtscale.ask import events_after, new_key, operator, publish
from virtscale.exits import EXIT_DONE, EXIT_NOT_FOUND, EXIT_REFUSED
from virtscale.freezes.standing import actor_of, checked
from virtscale.invocation import UsageError, here
from virtscale.maintenance.showing import entry_of
from virtscale.ruled import UndecidedError
from virtscale.show import say

DEADLINE_SECONDS: Final = 30.0
MOST_MINUTES: Final = 24 * 60


def change(  # noqa: PLR0917 - what a change consists of
    house: House, which: str, how: MaintenanceChange, reason: str, actor: str | None, until: str
) -> int:
    """The entry is where it may be from now on, or it is said why not; the exit code."""
    reason, who = checked(reason), actor_of(actor)
    row = entry_of(here(), which)
    if row is None:
        return EXIT_NOT_FOUND
    place = str(row["zone"])
    request = ChangeMaintenance(
        vm=str(row["vm"]),
        maintenance=str(row["id"]),
        key=new_key(),
        actor=who,
        change=how,
        reason=reason,
        until=instant(until, place) if until else None,
    )
    said = asyncio.run(answered(house, str(row["org"]), request))
    match said:
        case MaintenanceRescheduled(entry=entry):
            start, end = both(entry.slot.start, place), both(entry.slot.end, place)
            say(f"Maintenance of {entry.org}/{entry.vm} is from {start} to {end} now; its contacts are told.")
            return EXIT_DONE
        case MaintenanceCancelled(entry=entry):
            say(f"Maintenance of {entry.org}/{entry.vm} is cancelled; its contacts are told.")
            return EXIT_DONE
        case _:
            assert isinstance(said, MaintenanceDeclined), said
            say(said.text)
            return EXIT_NOT_FOUND if said.code == "MaintenanceUnknown" else EXIT_REFUSED


def ask_for(  # noqa: PLR0917 - what work consists of
    house: House, vm: str, work: MaintenanceWork, minutes: int | None, reason: str, actor: str | None
) -> int:
    """The work is planned, or it is said why not; the exit code."""
    org, slash, name = vm.partition("/")
    if not slash or not is_name(org) or not is_name(name):
        raise UsageError(f"{vm!a:.90} names no VM: write ORG/VM, for example acme/db.")
    if minutes is not None and not 1 <= minutes <= MOST_MINUTES:
        raise UsageError(f"Work cannot take {minutes} minutes: write 1 to {MOST_MINUTES}.")
    request = AskMaintenance(
        vm=name,
        key=new_key(),
        actor=actor_of(actor),
        work=work,
        reason=checked(reason),
        estimate_seconds=None if minutes is None else minutes * 60,
    )
    said = asyncio.run(answered(house, org, request))
    if isinstance(said, MaintenanceDeclined):
        say(said.text)
        return EXIT_REFUSED
    assert isinstance(said, MaintenanceScheduled | MaintenanceRescheduled), said
    entry, place = said.entry, said.entry.window.zone
    start, end = both(entry.slot.start, place), both(entry.slot.end, place)
    say(f"{org}/{name} is worked on from {start} to {end}, entry {entry.id[:12]}; its contacts are told.")
    return EXIT_DONE


async def answered(house: House, org: str, request: ChangeMaintenance | AskMaintenance) -> Fact:
    """What the steward said to it, whichever steward and however often it died before; `UndecidedError` where none did in time."""
    async with operator(house) as bus:
        receipt = await publish(bus, org, request)
        try:
            async with (
                asyncio.timeout(DEADLINE_SECONDS),
                aclosing(events_after(bus, receipt.seq)) as events,
            ):
                async for recorded in events:
                    match recorded.fact:
                        case (MaintenanceScheduled() | MaintenanceRescheduled()) as fact if (
                            recorded.cause == receipt.id
                        ):
                            return fact
                        case (
                            MaintenanceRescheduled(request=receipt.id)
                            | MaintenanceCancelled(request=receipt.id)
                            | MaintenanceDeclined(request=receipt.id)
                        ) as fact:
                            return fact
                        case _:
                            pass
        except TimeoutError:
            pass
    raise UndecidedError(
        f"No steward answered within {DEADLINE_SECONDS:g} s; the request stands at ledger sequence {receipt.seq} and will be "
        "answered when one works."
    )


def instant(text: str, place: str) -> dt.datetime:
    """`2026-12-01`, which begins at midnight there, `2026-12-01T22:00` on the clocks there, or either with `Z` for UTC."""
    try:
        found = dt.datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.microsecond or found.utcoffset() not in {None, dt.timedelta()}:
        raise UsageError(
            f"{text!a:.40} is no date: write 2026-12-01, or 2026-12-01T22:00, for the clocks of {place}, or 2026-12-01T21:00Z."
        )
    if found.utcoffset() is not None:
        return found.astimezone(dt.UTC)
    if len(text) == len("2026-12-01"):
        return day_begins(found.date(), zone(place))
    return found.replace(tzinfo=zone(place)).astimezone(dt.UTC)
