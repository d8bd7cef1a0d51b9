"""Maintenance of VMs that are kept for their own sake: what is announced, moved, taken back, begun and over.

Each event of the steward carries the entry as it is from there on, and its `number` among the events about that entry: the first is
1, and each counts only where the one before it was the last. So a copy that comes late, or what a second steward decided at the same
time, folds to nothing. Instants are UTC; the window's zone and the version of the policy, by which they were chosen, are in the entry.
"""

from typing import Annotated

import msgspec

from events.fact import Fact, Moment
from events.ids import derive
from schemas.activity import MOST_ACTIVITIES, Activity, Estimate, Maintenance
from schemas.names import Count, Id, Name, Text, Word
from schemas.request import Key, Reason
from schemas.vm_intake import MaintenanceChange, MaintenanceWork

Steps = Annotated[tuple[Activity, ...], msgspec.Meta(max_length=MOST_ACTIVITIES)]
"""What is really done of all that was asked, in its order; a reboot comes once, at the end."""

Number = Annotated[int, msgspec.Meta(ge=1, le=2**53)]


def notice_of(deletion: str) -> str:
    """The id of the entry that tells of a deletion, from the deletion's."""
    return derive("maintenance", "deletion", deletion)


class MaintenanceChangeRequested(Fact, frozen=True):
    """The maintenance shall be later, or nothing of it be done."""

    vm: Name
    pool: Name
    publisher: Name
    key: Key
    actor: Name
    maintenance: Id
    change: MaintenanceChange
    until: Moment | None
    """Not before this instant; None for the next window."""
    reason: Reason
    received_at: Moment


class MaintenanceRequested(Fact, frozen=True):
    """Somebody's own work on the VM shall have a place in its calendar; where the work interrupts the guest, the gate reboots it then."""

    vm: Name
    pool: Name
    publisher: Name
    key: Key
    actor: Name
    work: MaintenanceWork
    estimate_seconds: Estimate | None
    """None for what such work usually takes."""
    reason: Reason
    received_at: Moment


class MaintenanceScheduled(Fact, frozen=True):
    """The VM is worked on in this slot, and its technical contacts are told."""

    vm: Name
    number: Number
    entry: Maintenance
    steps: Steps
    notice_seconds: Count
    """What the policy gives contacts between this and the start, in elapsed time."""
    scheduled_at: Moment


class MaintenanceRescheduled(Fact, frozen=True):
    """The entry is another than was announced: its slot, or what is done in it. Contacts are told where its revision was raised."""

    vm: Name
    number: Number
    entry: Maintenance
    steps: Steps
    notice_seconds: Count
    code: Word
    """Why: `Asked` by a person, `MoreWork`, `Noted` where contacts need not hear of it, `Missed`, or what was in the way."""
    actor: Name | None
    """Who asked for it; None where the work or the time did."""
    request: Id | None
    rescheduled_at: Moment


class MaintenanceCancelled(Fact, frozen=True):
    """Nothing of the entry will be done."""

    vm: Name
    number: Number
    entry: Maintenance
    code: Word
    actor: Name | None
    """Who asked for it; None where nothing was left to do."""
    request: Id | None
    cancelled_at: Moment


class MaintenanceBegun(Fact, frozen=True):
    """Its time has come: the gate reads the envelope once more and orders the reboot, or says why not."""

    vm: Name
    pool: Name
    number: Number
    entry: Maintenance
    begin_by: Moment
    """Later it would not end in its window, or is no longer expected: nothing is ordered then."""
    begun_at: Moment


class MaintenanceEnded(Fact, frozen=True):
    """It is over, with the result that the entry says."""

    vm: Name
    number: Number
    entry: Maintenance
    code: Word
    """`Done`, or why not: the gate's code, or the one of the outcome."""
    ended_at: Moment


class MaintenanceDeclined(Fact, frozen=True):
    """Nothing follows from the request, for this reason; what was planned stays as it is."""

    vm: Name
    request: Id
    maintenance: Id | None
    code: Word
    text: Text
    declined_at: Moment
