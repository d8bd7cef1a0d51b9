"""When work on a VM is done, and together with what: one entry per VM and window, and contacts are never surprised.

Pure: entries go in and come out, and whoever calls makes events of what changed. New work joins what is planned for the VM in the
same window. Where contacts know of that already, small work is told to them; what they would feel more restores the full notice,
and takes the announced reboot along to the later night, so that there is one and not two.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec.structs import replace

from schemas.activity import MOST_ACTIVITIES, Activity, Maintenance, Result
from schemas.maintenance import AtOnce, Policy, Slot, Window
from schemas.names import Name
from schemas.objection import Objection
from schemas.pool import PoolName
from schemas.struct import Value
from services.steward.calendar import Interval, next_window
from services.steward.crowd import closed_to, is_notice
from services.steward.stages import OPEN, WAITING, after
from services.steward.work import Work, combine, needed_seconds, restores_notice

Outcome = Literal["new", "joined", "changed", "unchanged", "withdrawn"]
"""A new entry, to be announced; told to contacts and nothing more; to be announced anew; nothing to tell; nothing left to do."""


class Terms(Value, frozen=True):
    """What a project's maintenance is planned by."""

    policy: Policy
    window: Window
    at_once: AtOnce = AtOnce()


class Target(Value, frozen=True):
    """The VM that is worked on, and the pool whose load its siblings carry meanwhile."""

    org: Name
    vm: Name
    pool: PoolName | None = None


class Placed(Value, frozen=True):
    """The entry in which the work now is, and what that means for contacts."""

    outcome: Outcome
    maintenance: Maintenance


def place(
    now: dt.datetime,
    activity: Activity,
    target: Target,
    known: Sequence[Maintenance],
    terms: Terms,
    *,
    key: str,
) -> Placed | Objection:
    """The work has its place in the calendar; `known` are the org's entries, `key` is the id of a new one.

    A change to what is to be changed already goes where that is: the last word counts, and one that undoes the first leaves
    nothing to do. Other work joins the window in which it could be done by itself, or an earlier one of whose work contacts need
    not hear anew. A request that is known by its id is answered as it was.
    """
    assert activity.kind != "deletion-notice", "a deletion has its own day: notice_of_deletion"
    mine = [entry for entry in known if (entry.org, entry.vm) == (target.org, target.vm)]
    for entry in mine:
        if any(asked.id == activity.id for asked in entry.asked):
            return Placed("unchanged", entry)
    entries = sorted(
        (entry for entry in mine if entry.stage in OPEN and not is_notice(entry)),
        key=lambda entry: (entry.slot.start, entry.id),
    )
    for entry in entries:
        if _changes_the_same(entry, activity):
            if len(entry.asked) >= MOST_ACTIVITIES:
                return Objection(
                    "MaintenanceFull",
                    f"Maintenance {entry.id} of VM {entry.org}/{entry.vm} holds {MOST_ACTIVITIES} requests, which is the most: "
                    "cancel it and ask for what is wanted now, or wait until it is over.",
                )
            placed = _into(now, entry, activity, known, terms, insist=True)
            assert placed is not None, "what insists is placed or objected to"
            return placed
    work = combine([activity])
    if not work.steps:
        return Objection(
            "AlreadyDone",
            f"VM {target.org}/{target.vm} is already as it is asked to be: nothing was planned.",
        )
    alone = _slot(now, work, target, [entry for entry in known if entry not in entries], terms)
    if isinstance(alone, Objection):
        return alone
    for entry in entries:
        if entry.slot.opens <= alone.opens and len(entry.asked) < MOST_ACTIVITIES:
            placed = _into(now, entry, activity, known, terms, insist=False)
            if isinstance(placed, Placed):
                return placed
    slot = _slot(now, work, target, known, terms)
    if isinstance(slot, Objection):
        return slot
    return Placed("new", _entry(key, target, activity, slot, terms))


def notice_of_deletion(
    activity: Activity, target: Target, at: dt.datetime, terms: Terms, *, key: str
) -> Maintenance:
    """An entry that tells contacts of the instant from which the VM is gone; no window is asked, since the day is fixed."""
    assert activity.kind == "deletion-notice", activity.kind
    until = at + dt.timedelta(seconds=activity.estimate_seconds)
    return _entry(key, target, activity, Slot(at, until, at, until), terms)


def announce(
    now: dt.datetime, entry: Maintenance, known: Sequence[Maintenance], terms: Terms
) -> Maintenance | Objection:
    """Contacts are told, and from now on the notice runs: whoever could not tell them in time chooses a later slot first."""
    stage = after(entry.stage, "announce")
    slot, late = entry.slot, entry.slot.start - now < dt.timedelta(seconds=terms.policy.notice_seconds)
    if late and not is_notice(entry):
        found = _again(now, entry, combine(entry.asked), known, terms, not_before=None)
        if isinstance(found, Objection):
            return found
        slot = found
    return replace(
        entry,
        stage=stage,
        slot=slot,
        announced_at=now,
        announced=len(entry.asked),
        told=True,
        revision=entry.revision + (slot != entry.slot),
    )


def postpone(
    now: dt.datetime,
    entry: Maintenance,
    known: Sequence[Maintenance],
    terms: Terms,
    *,
    not_before: dt.datetime | None = None,
    reason: str = "",
) -> Maintenance | Objection:
    """Somebody wants it later: planned again for a window from `not_before` on, else for the next one, with the full notice.

    Nothing has changed where there is an objection: work that runs, that is over, or a date that cannot be.
    """
    objection = _bound(entry)
    if objection is not None:
        return objection
    waiting = entry if entry.stage == "postponed" else postponed(entry, reason)
    return replan(now, waiting, known, terms, not_before=not_before)


def postponed(entry: Maintenance, reason: str) -> Maintenance:
    """It does not begin in its slot, and has no other yet."""
    return replace(entry, stage=after(entry.stage, "postpone"), reason=reason)


def replan(
    now: dt.datetime,
    entry: Maintenance,
    known: Sequence[Maintenance],
    terms: Terms,
    *,
    not_before: dt.datetime | None = None,
) -> Maintenance | Objection:
    """What was postponed is planned for a later window, which is announced like any other."""
    stage = after(entry.stage, "replan")
    if not_before is None:
        not_before = max(now, entry.slot.closes)
    slot = _again(now, entry, combine(entry.asked), known, terms, not_before=not_before)
    if isinstance(slot, Objection):
        return slot
    return _moved(replace(entry, stage=stage), slot, terms)


def cancel(entry: Maintenance, reason: str) -> Maintenance | Objection:
    """Nothing of it will be done; an objection when it runs or is over."""
    if entry.stage not in WAITING:
        return _bound(entry) or _over(entry)
    return replace(entry, stage=after(entry.stage, "cancel"), revision=entry.revision + 1, reason=reason)


def fallen_due(entry: Maintenance) -> Maintenance:
    """Its start has come."""
    return replace(entry, stage=after(entry.stage, "fall-due"))


def begun(now: dt.datetime, entry: Maintenance) -> Maintenance:
    """It runs. Nothing begins before its start, nor what cannot end in its window."""
    assert entry.slot.start <= now, (entry.slot, now)
    assert now + (entry.slot.end - entry.slot.start) <= entry.slot.closes, (entry.slot, now)
    return replace(entry, stage=after(entry.stage, "begin"), begun_at=now)


def ended(now: dt.datetime, entry: Maintenance, result: Result, reason: str = "") -> Maintenance:
    """It is over, however it went; a notice whose day has come ends as done."""
    step = "lapse" if entry.stage == "announced" and is_notice(entry) else "end"
    return replace(entry, stage=after(entry.stage, step), ended_at=now, result=result, reason=reason)


def _into(
    now: dt.datetime,
    entry: Maintenance,
    activity: Activity,
    known: Sequence[Maintenance],
    terms: Terms,
    *,
    insist: bool,
) -> Placed | Objection | None:
    """The entry with this work too; None where the work had better have an entry of its own."""
    before, asked = combine(entry.asked), (*entry.asked, activity)
    wanted = combine(asked)
    if not wanted.steps:
        gone = replace(entry, stage=after(entry.stage, "cancel"), asked=asked, revision=entry.revision + 1)
        return Placed("withdrawn", replace(gone, reason="What was asked for was taken back."))
    if wanted == before:
        return Placed("unchanged", replace(entry, asked=asked))
    # Beside what was announced too: many small additions, each of which is nothing, may be much.
    announced = combine(entry.asked[: entry.announced])
    anew = any(restores_notice(known_of, wanted, terms.policy) for known_of in (before, announced))
    if entry.stage == "announced" and not anew:
        longer = _longer(now, entry, wanted, known, terms)
        if longer is not None:
            stage = after(entry.stage, "join")
            told = replace(entry, stage=stage, asked=asked, slot=longer, revision=entry.revision + 1)
            return Placed("joined", told)
    slot = _again(now, entry, wanted, known, terms, not_before=max(now, entry.slot.start))
    if isinstance(slot, Objection):
        return slot if insist else None
    elsewhere = slot.opens != entry.slot.opens
    along = before.impact != "none" and activity.reboots and entry.moves < terms.policy.most_moves
    if elsewhere and not insist and not along:
        return None
    changed = _moved(replace(entry, stage=after(entry.stage, "change"), asked=asked), slot, terms)
    if entry.stage == "announced":
        changed = replace(changed, reason="More is to be done than was announced.")
    return Placed("changed", changed)


def _moved(entry: Maintenance, slot: Slot, terms: Terms) -> Maintenance:
    """The entry in a slot that contacts are still to hear of."""
    told_of_another = entry.announced_at is not None and slot.start != entry.slot.start
    return replace(
        entry,
        slot=slot,
        window=terms.window,
        policy=terms.policy.version,
        revision=entry.revision + 1,
        moves=entry.moves + told_of_another,
        announced_at=None,
    )


def _again(
    now: dt.datetime,
    entry: Maintenance,
    work: Work,
    known: Iterable[Maintenance],
    terms: Terms,
    *,
    not_before: dt.datetime | None,
) -> Slot | Objection:
    """Another slot for what has one: its own is not in its way."""
    others = [other for other in known if other.id != entry.id]
    target = Target(entry.org, entry.vm, entry.pool)
    return _slot(now, work, target, others, terms, not_before=not_before)


def _slot(
    now: dt.datetime,
    work: Work,
    target: Target,
    others: Iterable[Maintenance],
    terms: Terms,
    *,
    not_before: dt.datetime | None = None,
) -> Slot | Objection:
    return next_window(
        now,
        terms.window,
        terms.policy.notice_seconds,
        needed_seconds(work, terms.policy),
        not_before=not_before,
        closed=closed_to(target.org, target.vm, target.pool, others, terms.at_once),
    )


def _longer(
    now: dt.datetime, entry: Maintenance, work: Work, known: Iterable[Maintenance], terms: Terms
) -> Slot | None:
    """The slot from the same start on, as long as the work now needs; None where it is no longer free, or has begun."""
    end = entry.slot.start + dt.timedelta(seconds=needed_seconds(work, terms.policy))
    if now >= entry.slot.start or end > entry.slot.closes:
        return None
    others = (other for other in known if other.id != entry.id)
    closed: Sequence[Interval] = closed_to(entry.org, entry.vm, entry.pool, others, terms.at_once)
    if any(begin < end and entry.slot.start < until for begin, until in closed):
        return None
    return replace(entry.slot, end=end)


def _entry(key: str, target: Target, activity: Activity, slot: Slot, terms: Terms) -> Maintenance:
    return Maintenance(
        id=key,
        org=target.org,
        vm=target.vm,
        pool=target.pool,
        stage="planned",
        asked=(activity,),
        slot=slot,
        window=terms.window,
        policy=terms.policy.version,
    )


def _changes_the_same(entry: Maintenance, activity: Activity) -> bool:
    return bool(activity.changes) and any(
        asked.kind == activity.kind and asked.changes for asked in entry.asked
    )


def _bound(entry: Maintenance) -> Objection | None:
    """Why the entry stays where it is."""
    name = f"Maintenance {entry.id} of VM {entry.org}/{entry.vm}"
    if is_notice(entry):
        return Objection(
            "NoticeOfDeletion", f"{name} tells of the VM's deletion: move or cancel the deletion itself."
        )
    if entry.stage == "running":
        return Objection("MaintenanceBegun", f"{name} has begun: it is left to end.")
    return None if entry.stage in WAITING else _over(entry)


def _over(entry: Maintenance) -> Objection:
    return Objection(
        "MaintenanceOver",
        f"Maintenance {entry.id} of VM {entry.org}/{entry.vm} is {entry.stage}: ask for new work instead.",
    )
