"""The rules of the forecaster: what a pool shall have awake, what is asked for, and when it is worth a line in the ledger.

Pure: the same prediction, standing and past give the same verdict. A pool shall have what its forecast needs, and its warm
reserve on top; never less than its floor, never more than its own maximum or than the contract leaves. Where the
measurements are lost, what is awake stays. It is raised at once, and lowered slowly: after its cooldown, as fast as demand falls,
within the pool's own limit, and never while demand rises.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Final

from events.forecast import ForecastMade, Outlook
from schemas.intake import MOST_VMS, Quiesce, Save, Scale
from schemas.pool import Pool
from services.forecaster.parameters import DEFAULT

MOST_MOVES: Final = 64
"""VMs that one request may move: the gate grants no more in one answer."""

HELD: Final = dt.timedelta(hours=1)
"""After so long without a change, a pool's ticks are told all the same."""

LOWERED: Final = dt.timedelta(minutes=10)
"""A lower target by which nothing is moved is told so long after the last one: a target that goes up and down between two numbers
would fill the ledger, and what it was meanwhile is in the next one's span."""

MINUTE: Final = dt.timedelta(seconds=60)
"""The window of a pool's limit of VMs put to sleep."""

UNMEASURED: Final = dt.timedelta(minutes=10)
"""A pool without a sample for so long has lost its signal, whatever signal says: twice as long as signal waits for any series."""

_MILLI: Final = 1000
_SHARE: Final = 10
"""At least a tenth of what is too much goes at a time, so that a plateau is reached while the slope is flat."""

Request = Scale | Quiesce | Save


@dataclass(frozen=True, slots=True)
class Sight:
    """What the model says of one pool at the end of a tick, in whole numbers: VMs, or thousandths of a VM."""

    target: int
    """The most that any tick of the last cooldown needed by its horizon: what served is held so long."""
    outlook: Outlook | None
    """None where nothing was ever measured."""
    measured_at: dt.datetime | None
    """The end of the last tick with a sample."""
    away: bool
    """Nothing is told of any pool of its org, for longer than it ever takes: then nobody is left to say that a query is lost."""
    learnt: bool
    """Its past was looked for, and what was found is in the forecast."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one pool stands, as the ledger says it."""

    pool: Pool
    """With the numbers that the contract sets for it."""
    reserve: int
    floor: int
    """Below this nobody may bring it."""
    staying: int
    serving: int
    """Of them, those that serve by now."""
    most: int
    """What it could have by the contract and by what others hold of it now; never less than what stays already."""
    frozen: bool
    lost: bool
    """A query of it is lost, as signal says."""
    capped_at: dt.datetime | None
    """When the first forecast was made of those that are past the cap without an end; None while it is within."""
    refused: bool
    """What is past the cap was asked for since, as the ledger shows."""
    moved_at: dt.datetime | None
    """When it last grew or shrank, whoever asked."""
    raising: int
    """The highest number of VMs that was asked for and is not answered yet; 0 for none."""
    lowering: bool
    """VMs were to be put to sleep, and that is not answered yet."""
    retry_at: dt.datetime | None
    """Until then nothing more is asked for, because the last time not all was granted: each refusal is a mail."""
    lacking: int
    """So many VMs in all were asked for and hosts had no room for them, which is no mail; 0 where that was not the reason."""
    lowered: int
    """VMs that forecasts put to sleep in the last minute."""
    paused: int
    """VMs that sleep in RAM."""
    rested: int
    """Of them, those that have slept for ten minutes; 0 while they shall not be asked to be saved."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What shall be, what is asked for, and why it is told; `reason` is None where nothing changes."""

    reason: str | None
    want: int
    capped: bool
    asks: tuple[Request, ...]


def decide(sight: Sight, standing: Standing, told: ForecastMade | None, made_at: dt.datetime) -> Verdict:
    """The verdict on one pool for the tick that ended at `made_at`; `told` is what its last line in the ledger said."""
    unmeasured = sight.measured_at is None or made_at - sight.measured_at >= UNMEASURED
    lost = standing.lost or sight.away or unmeasured
    want, capped = _wanted(sight, standing, lost=lost)
    asks: tuple[Request, ...] = ()
    if standing.pool.forecast == "on" and not standing.frozen:
        owed = capped and (standing.capped_at is None or not standing.refused)
        asks = _asks(sight, standing, want, made_at, lost=lost, owed=owed)
    return Verdict(
        _reason(sight, standing, told, made_at, asks, lost=lost, capped=capped), want, capped, asks
    )


def _wanted(sight: Sight, standing: Standing, *, lost: bool) -> tuple[int, bool]:
    """How many VMs shall stay, and whether the contract leaves fewer than the forecast needs.

    A reserve that does not fit is clipped, and no more is said of it.
    """
    need = standing.staying if lost else sight.target + standing.reserve
    wish = min(max(need, standing.floor), standing.pool.max_vms)
    capped = not lost and min(sight.target, standing.pool.max_vms) > standing.most
    return min(wish, standing.most), capped


def _asks(
    sight: Sight, standing: Standing, want: int, made_at: dt.datetime, *, lost: bool, owed: bool
) -> tuple[Request, ...]:
    """What is asked for at this tick; while it is `owed`, up to the target, of which the contract leaves less.

    That is asked for in steps like everything. The one that goes past the cap is known by its key, whenever and by whomever it is
    sent: there is one in an episode, and one mail that says what was refused.
    """
    name, key = standing.pool.name, f"{standing.pool.name}@{instant(made_at)}"
    up = min(sight.target, standing.pool.max_vms) if owed else want
    up = min(up, standing.staying + MOST_MOVES, MOST_VMS)
    if up > max(standing.staying, standing.raising):
        news = 0 < standing.lacking < up  # more than hosts had no room for: there may be other hosts since
        if standing.retry_at is not None and made_at < standing.retry_at and not news:
            return ()
        past = owed and up > standing.most
        ask = past_cap(name, standing.capped_at or made_at) if past else f"{key}/scale"
        return (Scale(pool=name, key=ask, want=up, up_to=True),)
    if lost or standing.raising or not sight.learnt:
        return ()
    count = _leaving(sight, standing, want, made_at)
    if count:
        return (Quiesce(pool=name, key=f"{key}/quiesce", count=count),)
    paused = _resting(sight, standing)
    return () if paused is None else (Save(pool=name, key=f"{key}/save", paused=paused),)


def past_cap(pool: str, capped_at: dt.datetime) -> str:
    """The key of the one request past the cap in the episode that began then."""
    return f"{pool}@{instant(capped_at)}/scale-past-cap"


def instant(made_at: dt.datetime) -> str:
    """A tick's end as keys name it."""
    return f"{made_at:%Y-%m-%dT%H:%M:%SZ}"


def _leaving(sight: Sight, standing: Standing, want: int, made_at: dt.datetime) -> int:
    """How many VMs may go now: as many as demand falls by until the pool may be lowered again, a tenth of what is too much
    at least, and no more than its limit leaves of this minute. None before its cooldown is over, nor while demand rises.

    Those that serve go only where as many serve as are wanted: who boots or wakes takes over nothing yet.
    """
    pool, excess = standing.pool, standing.serving - want
    if excess <= 0 or standing.lowering or sight.outlook is None:
        return 0
    if standing.moved_at is not None and made_at - standing.moved_at < dt.timedelta(
        seconds=pool.cooldown_seconds
    ):
        return 0
    change = sight.outlook.slope * pool.cooldown_seconds  # in thousandths of a VM x the horizon's seconds
    one = _MILLI * foreseen_seconds(pool)
    if change >= one:
        return 0
    pace = max(-change // one, -(-excess // _SHARE))
    left = max(0, pool.quiesce_per_minute - standing.lowered)
    return min(pace, excess, left, MOST_MOVES)


def _resting(sight: Sight, standing: Standing) -> int | None:
    """How many sleepers shall stay in RAM, where fewer do than now: those that the week's pattern may need soon.

    Only what has slept for ten minutes is put to disk: a short sleep is not worth the writing. None where nothing shall change,
    and where the week's pattern is not known.
    """
    peak = None if sight.outlook is None else sight.outlook.peak
    if standing.pool.sleep != "auto" or peak is None or not standing.rested:
        return None
    soon = max(0, -(-peak // _MILLI) + standing.reserve - standing.staying)
    stay = max(soon, standing.paused - standing.rested)
    return stay if stay < standing.paused else None


def _reason(
    sight: Sight,
    standing: Standing,
    told: ForecastMade | None,
    made_at: dt.datetime,
    asks: tuple[Request, ...],
    *,
    lost: bool,
    capped: bool,
) -> str | None:
    """Why the tick is told; None for one that changes nothing."""
    if told is None:
        return "began"
    if _redefined(standing, told):
        return "redefined"
    if lost != (told.reason == LOST):
        return LOST if lost else "signal-found"
    if capped != told.capped and not lost:
        return "capped" if capped else "uncapped"
    if not lost and sight.target > told.target:
        return "raised"
    if sight.target < told.target and (asks or made_at - told.made_at >= LOWERED) and not lost:
        return "lowered"
    for ask in asks:
        match ask:
            case Scale():
                return LOST if lost else "refilled"
            case Quiesce():
                return "thinned"
            case Save():
                return "rested"
    if made_at - told.made_at >= HELD:
        return LOST if lost else "held"
    return None


LOST: Final = "signal-lost"
"""The reason of every tick that is told while the signal is lost."""


def foreseen_seconds(pool: Pool) -> int:
    """How far ahead the pool is foreseen: its horizon, and ten minutes where that is longer.

    What five minutes of a slope say of an hour is nothing. A pool may have a longer horizon all the same, since its triggers and the
    gate go by it too; what is told names the one that was used.
    """
    return min(pool.horizon_seconds, DEFAULT.longest_horizon_seconds)


def _redefined(standing: Standing, told: ForecastMade) -> bool:
    """Whether the forecast is made by other numbers than when it was last told."""
    pool = standing.pool
    return (told.mode, told.reserve, told.horizon_seconds, told.coverage_bp) != (
        pool.forecast,
        standing.reserve,
        foreseen_seconds(pool),
        pool.coverage_bp,
    )
