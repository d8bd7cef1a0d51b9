"""The rules of the steward: what is planned, moved, taken back, begun and over, for one org.

Pure and level-triggered: it looks at the VMs, the calendar and the time, so that whoever starts anew, or comes a day late, goes on
where the ledger stands. A VM that runs with another size than it shall have is rebooted in a window, as one is whose reboot was
asked for; when nothing of that is wanted any more, the entry goes.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from events.ids import derive
from projections.directory.fold import Kept
from projections.fleet.fold import Vm
from projections.fleet.life import SLEEPING, UP
from schemas.activity import Activity, Change, Maintenance, Result, activity
from schemas.capacity import Size
from schemas.codes import MEANING
from schemas.maintenance import AtOnce
from schemas.objection import Objection
from services.steward.crowd import is_notice
from services.steward.farewell import tell, too_late
from services.steward.plan import (
    Placed,
    Target,
    begun,
    cancel,
    ended,
    fallen_due,
    place,
    postpone,
    postponed,
    replan,
)
from services.steward.round import Round, Said, policy_of
from services.steward.state import State, Wanted
from services.steward.turns import Turn, turns

MOST_TRIES: Final = 3
"""Work that was refused or failed so often is given up: whoever wants it looks into why, and asks again."""

AT_ONCE: Final = AtOnce()


def decide(org: str, vms: Sequence[Kept], state: State, now: dt.datetime) -> list[Said]:
    """What is to be recorded now, in this order; empty when there is nothing to say.

    `vms` are the org's; those may be left out that need no look (`State.kept`).
    """
    this = Round(org, state, now)
    _end(this)
    tell(this, vms)
    _heed(this)
    for kept in vms:
        _keep_up(this, kept)
    _turn(this)
    return this.said


def _end(this: Round) -> None:
    """What has begun is over when its outcome is known, or when it can no longer come in time."""
    for planned in list(this.state.calendar.open(this.org)):
        entry = planned.entry
        if entry.stage != "running":
            continue
        answered = this.state.desk.answers.get(planned.event)
        overdue = dt.timedelta(seconds=policy_of(entry.policy, this.now).overdue_seconds)
        late = this.now > entry.slot.closes + overdue
        found: tuple[Result, str] | None = None
        if (
            answered is not None and answered.code == "Done"
        ):  # people's own work, for which nothing was ordered
            found = ("done", "Done") if this.now >= entry.slot.end else None
        elif answered is not None and answered.order is None:
            found = "refused", answered.code
        elif answered is not None and answered.outcome is not None:
            found = answered.outcome, answered.said
        elif late:
            found = "failed", "NoOutcome" if answered is not None else "Unanswered"
        if found is not None:
            result, code = found
            reason = "" if result == "done" else MEANING.get(code, f"It ended with {code}.")
            this.end(ended(this.now, entry, result, reason), code)


def _heed(this: Round) -> None:
    """What people asked about entries is done, or they hear why not."""
    for request, wish in list(this.state.desk.changes.items()):
        if wish.org != this.org:
            continue
        entry = this.known.get(wish.maintenance)
        if entry is None:
            planned = this.state.calendar.get(wish.maintenance)
            entry = None if planned is None or planned.entry.org != this.org else planned.entry
        if entry is None or entry.vm != wish.vm:
            objection = Objection(
                "MaintenanceUnknown",
                f"VM {this.org}/{wish.vm} has no maintenance {wish.maintenance}: `virtscale maintenance list` names those there are.",
            )
            this.decline(wish.vm, request, objection, wish.maintenance)
            continue
        if this.is_touched(entry):
            continue  # the next round knows what became of it
        if wish.change == "cancel" and not is_notice(entry):
            gone = cancel(entry, wish.reason)
            if isinstance(gone, Maintenance):
                this.cancel(gone, "Asked", actor=wish.actor, request=request)
                continue
            objection = gone
        else:
            moved = postpone(
                this.now,
                entry,
                this.entries,
                this.terms(entry.pool),
                not_before=wish.until,
                reason=wish.reason,
            )
            found = moved if isinstance(moved, Objection) else too_late(this, entry.vm, moved.slot.end)
            if isinstance(moved, Maintenance) and found is None:
                found = this.reschedule(moved, "Asked", actor=wish.actor, request=request)
            if found is None:
                continue
            objection = found
        this.decline(wish.vm, request, objection, entry.id)


def _keep_up(this: Round, kept: Kept) -> None:
    """The VM's entries hold what is wanted of it now, and nothing else."""
    vm = this.state.fleet.vms.get((this.org, kept.name))
    wanted = this.wanted.get(kept.name, ())
    if vm is None or vm.state in SLEEPING or vm.state == "stopped":
        for entry in this.of(kept.name):
            if entry.stage != "running" and not is_notice(entry) and not this.is_touched(entry):
                gone = cancel(entry, "The VM does not run: what it shall be holds from its next boot on.")
                assert isinstance(gone, Maintenance), gone
                this.cancel(gone, "VmOff")
        for wish in wanted:
            if not this.state.calendar.holding(wish.id):
                this.decline(kept.name, wish.id, Objection("VmOff", MEANING["VmOff"]))
        return
    if vm.state not in UP:
        return
    for wish in wanted:
        if _is_open(this, kept, wish.id):
            _place(this, kept, _asked(wish), wish.id)
    _fit(this, kept, vm)


def _fit(this: Round, kept: Kept, vm: Vm) -> None:
    """A VM that runs with another size than it shall have is to be started anew with that; one that does not, is not."""
    mine = [entry for entry in this.of(kept.name) if not is_notice(entry)]
    fits = (vm.size.vcpu, vm.size.memory_mib) == (kept.size.vcpu, kept.size.memory_mib)
    desk = this.state.desk
    if kept.name in desk.deciding.get(this.org, ()) or (this.org, kept.name) in desk.plugs:
        return  # nobody knows yet whether it takes a reboot
    if fits and not mine:
        return
    has, shall = said_size(vm.size), said_size(kept.size)
    resized = this.state.desk.resized.get((this.org, kept.name), "")
    for entry in mine:
        change = _resizes(this, entry)
        if entry.stage == "running" or change is None:
            continue
        if fits:
            back = derive("resize", "back", entry.id, entry.revision)
            _place(this, kept, _resize(back, change.after, change.before), resized or None)
        elif change.after != shall:
            _place(this, kept, _resize(derive("resize", resized, has), has, shall), resized or None)
        return
    if not fits and resized:
        asked = _resize(derive("resize", resized, has), has, shall)
        if _is_open(this, kept, asked.id):
            _place(this, kept, asked, resized)


def _asked(wish: Wanted) -> Activity:
    """The work as it stands in the calendar: what the gate orders is a cold reboot, whoever asks."""
    return activity(
        wish.id,
        wish.work,
        estimate_seconds=wish.estimate_seconds,
        impact=None if wish.work == "other" else "cold-reboot",
        summary=wish.summary,
    )


def _is_open(this: Round, kept: Kept, id: str) -> bool:
    """Whether the work is to be planned: it is not, it was not taken back by a person, and it was not tried in vain too often."""
    if id in this.state.desk.declined:
        return False
    tries = 0
    for planned in this.state.calendar.holding(id):
        if not planned.over or planned.entry.result == "done" or planned.actor is not None:
            return False
        tries += planned.entry.result in {"refused", "failed"}
        if tries >= MOST_TRIES:
            text = f"It was tried {tries} times, the last time with {planned.code}: look into why, and ask again."
            this.decline(
                kept.name, id, Objection("MaintenanceOver", text), planned.entry.id, cause=planned.event
            )
            return False
    return True


def _place(this: Round, kept: Kept, asked: Activity, cause: str | None) -> None:
    """The work, which follows from the event `cause`, has its place in the calendar, or is declined, which is said once."""
    if asked.id in this.state.desk.declined or any(this.is_touched(entry) for entry in this.of(kept.name)):
        return  # the next round knows what became of it
    key = derive("maintenance", asked.id, len(this.state.calendar.holding(asked.id)))
    target = Target(this.org, kept.name, kept.pool)
    placed = place(this.now, asked, target, this.entries, this.terms(kept.pool), key=key)
    if not isinstance(placed, Objection) and placed.outcome != "withdrawn":
        deleted = too_late(this, kept.name, placed.maintenance.slot.end)
        if deleted is not None and asked.kind == "resize":
            return  # it is wanted for as long as it is not so: when the deletion is cancelled, it is planned
        placed = deleted or placed
    found = placed if isinstance(placed, Objection) else _say(this, placed, cause)
    if found is not None:
        this.decline(kept.name, asked.id, found, cause=cause)


def _say(this: Round, placed: Placed, cause: str | None) -> Objection | None:
    match placed.outcome:
        case "new":
            return this.schedule(placed.maintenance, cause)
        case "joined" | "changed":
            return this.reschedule(placed.maintenance, "MoreWork", cause=cause)
        case "unchanged":
            return this.reschedule(placed.maintenance, "Noted", cause=cause)
        case "withdrawn":
            this.cancel(placed.maintenance, "NotNeeded", cause=cause)
            return None


def _turn(this: Round) -> None:
    """What the time has come for: entries begin, or are postponed because they cannot any more."""
    for entry in this.entries:
        if is_notice(entry):
            continue  # it lapses, and nothing is run for it
        if entry.stage == "announced" and this.now >= entry.slot.start and not this.is_touched(entry):
            this.known[entry.id] = fallen_due(entry)
    for version in dict.fromkeys(entry.policy for entry in this.entries):
        for turn in turns(this.now, this.entries, policy_of(version, this.now), AT_ONCE):
            entry = this.known[turn.id]
            if entry.policy == version and not this.is_touched(entry):
                _step(this, entry, turn)


def _step(this: Round, entry: Maintenance, turn: Turn) -> None:
    match turn.step:
        case "begin":
            vm = this.state.fleet.vms.get((this.org, entry.vm))
            if vm is not None and vm.state in UP:
                this.begin(begun(this.now, entry), _begin_by(entry, this.now))
        case "postpone":
            waiting = postponed(entry, turn.reason)
            moved = replan(this.now, waiting, this.entries, this.terms(entry.pool))
            if isinstance(moved, Objection) or this.reschedule(moved, "Missed") is not None:
                this.reschedule(replace(waiting, revision=waiting.revision + 1), "Missed")
        case "replan":
            moved = replan(this.now, entry, this.entries, this.terms(entry.pool))
            if isinstance(moved, Maintenance):
                this.reschedule(moved, "Missed")
        case "announce" | "fall-due" | "lapse":
            pass  # announced when it is planned, and due as soon as it is looked at


def _begin_by(entry: Maintenance, now: dt.datetime) -> dt.datetime:
    """Until when the gate may order it: it is expected, and ends in its window."""
    overdue = entry.slot.start + dt.timedelta(seconds=policy_of(entry.policy, now).overdue_seconds)
    return min(overdue, entry.slot.closes - (entry.slot.end - entry.slot.start))


def _resizes(this: Round, entry: Maintenance) -> Change | None:
    """How the entry changes the VM's size, all in all, as the ledger knows it."""
    planned = this.state.calendar.get(entry.id)
    for step in planned.steps if planned is not None else ():
        for change in step.changes if step.kind == "resize" else ():
            if change.what == "size":
                return change
    return None


def _resize(id: str, before: str, after: str) -> Activity:
    return activity(id, "resize", changes=[Change("size", before, after)])


def said_size(size: Size) -> str:
    """What a VM has, as contacts read it."""
    return f"{size.vcpu} vCPU, {size.memory_mib} MiB"
