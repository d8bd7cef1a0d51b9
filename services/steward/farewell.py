"""A VM that is to be deleted, or is gone: the calendar tells of the day, and no work is done on the VM from then on.

The notice is made once its preparation has begun, lapses when the day comes, and goes with a deletion that is cancelled. One that is
moved is another deletion, with a notice of its own.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Final

from events.maintenance import notice_of
from projections.deletions.fold import Deletion
from projections.directory.fold import Kept
from schemas.activity import Maintenance, activity
from schemas.objection import Objection
from services.steward.crowd import is_notice
from services.steward.plan import Target, cancel, ended, notice_of_deletion
from services.steward.round import Round
from services.steward.stages import WAITING

DELETED: Final = "DeletionStands"
"""The code of work that is not done because its VM is deleted before."""

GONE: Final = "VmUnknown"
"""The code of work that was not taken back in time, as by a steward that was off meanwhile, and whose VM is gone."""


def tell(this: Round, vms: Sequence[Kept]) -> None:
    """The notices of the org are as its deletions are, and nothing waits to be done to a VM that is gone.

    `vms` are those of its VMs that are to be looked at. Whatever waits for one whose disk is gone would be postponed for ever, and
    come upon another VM of that name.
    """
    for kept in vms:
        deletion = this.state.deletions.of(this.org, kept.name)
        if deletion is not None:
            _announce(this, deletion)
            _clear(this, deletion)
    there = this.state.directory.vms
    for entry in this.entries:
        if this.is_touched(entry):
            continue
        if is_notice(entry):
            _lapse(this, entry)
        elif (this.org, entry.vm) not in there and entry.stage in WAITING:
            gone = cancel(entry, "The VM is gone.")
            assert isinstance(gone, Maintenance), gone
            this.cancel(gone, GONE)
    for vm, wanted in this.wanted.items():
        for wish in wanted if (this.org, vm) not in there else ():
            if all(planned.over for planned in this.state.calendar.holding(wish.id)):
                this.decline(
                    vm, wish.id, Objection(GONE, f"VM {this.org}/{vm} is gone: nothing is done to it.")
                )


def last_day(this: Round, vm: str) -> dt.datetime | None:
    """The instant from which no work on the VM is planned; None where it is not to be deleted."""
    deletion = this.state.deletions.of(this.org, vm)
    return None if deletion is None else deletion.schedule.soft


def too_late(this: Round, vm: str, end: dt.datetime) -> Objection | None:
    """Why work that ends then is not planned for the VM; None where nothing is in the way."""
    until = last_day(this, vm)
    if until is None or end <= until:
        return None
    return Objection(
        DELETED,
        f"VM {this.org}/{vm} is shut down at {until:%Y-%m-%d %H:%M} UTC to be deleted, and the work would end at "
        f"{end:%Y-%m-%d %H:%M} UTC: take the deletion back first (`virtscale vm undelete {this.org}/{vm}`).",
    )


def _announce(this: Round, deletion: Deletion) -> None:
    id_ = notice_of(deletion.id)
    if "prepare" not in deletion.begun or this.now >= deletion.schedule.soft:
        return
    if this.state.calendar.get(id_) is not None:
        return
    asked = activity(
        deletion.id,
        "deletion-notice",
        summary=f"The VM is shut down at this time, to be deleted. It can be taken back until "
        f"{deletion.schedule.hard:%Y-%m-%d %H:%M} UTC, when its disk goes.",
    )
    target = Target(deletion.org, deletion.vm, deletion.pool)
    notice = notice_of_deletion(asked, target, deletion.schedule.soft, this.terms(deletion.pool), key=id_)
    refused = this.schedule(notice, this.state.desk.farewells.get(deletion.id))
    assert refused is None, "a notice has its own day"


def _clear(this: Round, deletion: Deletion) -> None:
    """Work that was planned for a time at which the VM is deleted is not done."""
    for entry in this.of(deletion.vm):
        if is_notice(entry) or this.is_touched(entry) or entry.stage not in WAITING:
            continue
        if entry.slot.end > deletion.schedule.soft or entry.stage == "postponed":
            gone = cancel(entry, f"The VM is deleted on {deletion.schedule.day}.")
            assert isinstance(gone, Maintenance), gone
            this.cancel(gone, DELETED, cause=this.state.desk.farewells.get(deletion.id))


def _lapse(this: Round, entry: Maintenance) -> None:
    """A notice goes with its deletion, and is over when its day has come."""
    of = entry.asked[0].id
    deletion = this.state.deletions.get(of)
    if deletion is None or deletion.over == "cancelled":
        gone = cancel(entry, "The deletion was cancelled.")
        assert isinstance(gone, Maintenance), gone
        this.cancel(gone, "DeletionCancelled", cause=this.state.desk.farewells.get(of))
    elif this.now >= entry.slot.start:
        this.end(ended(this.now, entry, "done"), "Done")
