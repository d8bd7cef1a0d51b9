"""The rules of the deleter: which stage is due, when one is complete, and from when to when alerts are silenced.

Pure and level-triggered: it looks at one deletion, at what is left of its VM, and at the time, so that whoever starts anew, or comes
40 days late, goes on where the ledger stands, in order. A stage is due when its instant has come and the one before it is complete;
the gate says whether it begins. What a stage does is done by others: the deleter only sees that it is done.
"""

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from events.deletion import DeletionCompleted, DeletionDue
from events.fact import Fact
from events.ids import derive
from events.maintenance import notice_of
from projections.deletions.fold import Deletion
from projections.fleet.life import ASLEEP
from schemas.deletion import Stage
from schemas.request import SeedRef
from services.deleter.port import Silence
from services.deleter.state import State

AGAIN: Final = dt.timedelta(minutes=1)
"""A stage that did not begin is due again after so long: a VM on its way up or down is there by then."""

SELDOM: Final = dt.timedelta(minutes=10)
"""Later tries lie so far apart: whatever is in the way then stays for longer."""

MOST_QUICK: Final = 10
"""So many tries are a minute apart."""

PATIENCE: Final = dt.timedelta(minutes=10)
"""The preparation waits no longer for alerts to be silenced; that is tried further while the deletion goes on."""

REFUSED: Final = "SilenceRefused"
"""The code of `silence.failed` where trying again cannot help."""


@dataclass(frozen=True, slots=True)
class Said:
    """An event that is to be recorded, under an id that is the same for whoever decides the same."""

    fact: Fact
    id: str
    cause: str | None
    correlation: str


@dataclass(frozen=True, slots=True)
class Forget:
    """What the VM was told at its first boot is to go from the vault before its stage is complete."""

    deletion: str
    seed: SeedRef


def decide(
    deletion: Deletion,
    state: State,
    now: dt.datetime,
    *,
    silencing: bool = False,
    forgotten: Collection[str] = (),
) -> Said | Forget | None:
    """The next step of a deletion; None while there is none to take.

    `silencing` says whether there is anybody to silence alerts, `forgotten` names deletions whose seed is gone.
    """
    running = deletion.running
    if running is not None:
        if not _is_done(deletion, running, state, now, silencing=silencing):
            return None
        seed = state.desk.own_seed(deletion.org, deletion.vm) if running == "hard" else None
        if seed is not None and deletion.id not in forgotten:
            return Forget(deletion.id, seed)
        return _completed(deletion, running, state, now)
    stage = deletion.next
    if stage is None or now < deletion.instant(stage):
        return None
    attempt = deletion.attempts(stage) + 1
    asked = state.desk.asked.get((deletion.id, stage))
    if asked is not None:
        pause = AGAIN if asked.attempt <= MOST_QUICK else SELDOM
        if not asked.answered or now < asked.said_at + pause:
            return None
    return _due(deletion, stage, attempt, state)


def silence_of(deletion: Deletion, now: dt.datetime) -> Silence | None:
    """How the VM's alerts are to be silenced: from the day on which it is stopped to the day on which its name is free.

    None before the preparation, and when the deletion, or that time, is over.
    """
    ends_at = deletion.schedule.recycle
    if not deletion.begun or deletion.over or now >= ends_at:
        return None
    return Silence(
        org=deletion.org,
        vm=deletion.vm,
        deletion=deletion.id,
        starts_at=deletion.schedule.soft,
        ends_at=ends_at,
        created_by="virtscale",
        comment=f"VM {deletion.org}/{deletion.vm} is deleted on {deletion.schedule.day}.",
    )


def _is_done(deletion: Deletion, stage: Stage, state: State, now: dt.datetime, *, silencing: bool) -> bool:
    """Whether all that belongs to the stage, which has begun, is done."""
    match stage:
        case "prepare":
            # A notice of what was to begin yesterday helps nobody.
            told = state.calendar.get(notice_of(deletion.id)) is not None or now >= deletion.schedule.soft
            return told and (not silencing or _is_hushed(deletion, state, now))
        case "soft":
            vm = state.fleet.vms.get((deletion.org, deletion.vm))
            return vm is None or vm.state in ASLEEP
        case "hard":
            return deletion.disk is not None and deletion.undefined and deletion.erased
        case "purge":
            return deletion.backups is not None and deletion.backups_erased
        case "recycle":
            return True


def _is_hushed(deletion: Deletion, state: State, now: dt.datetime) -> bool:
    """Whether alerts are silenced, or nobody waits for that any more."""
    if deletion.silence is not None or silence_of(deletion, now) is None:
        return True
    since = state.desk.prepared_at.get(deletion.id, now)
    return REFUSED in state.desk.told.get(deletion.id, ()) or now >= since + PATIENCE


def _due(deletion: Deletion, stage: Stage, attempt: int, state: State) -> Said:
    fact = DeletionDue(
        org=deletion.org,
        vm=deletion.vm,
        pool=deletion.pool,
        deletion=deletion.id,
        stage=stage,
        attempt=attempt,
        due_at=deletion.instant(stage),
    )
    return _said(fact, derive("deletion.due", deletion.id, stage, attempt), deletion, state)


def _completed(deletion: Deletion, stage: Stage, state: State, now: dt.datetime) -> Said:
    fact = DeletionCompleted(
        org=deletion.org,
        vm=deletion.vm,
        pool=deletion.pool,
        deletion=deletion.id,
        stage=stage,
        completed_at=now,
    )
    return _said(fact, derive("deletion.completed", deletion.id, stage), deletion, state)


def _said(fact: Fact, id: str, deletion: Deletion, state: State) -> Said:
    return Said(fact, id, state.desk.last.get(deletion.id), deletion.id)
