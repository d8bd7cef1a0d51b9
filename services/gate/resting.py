"""What the gate answers to those who want fewer VMs awake, or less of what sleeps to be in RAM."""

from dataclasses import dataclass
from itertools import islice
from typing import Final

from events.gate import Evidence
from events.quiesce import QuiesceRequested
from events.save import SaveRequested
from events.scale import Origin
from schemas.codes import Code
from schemas.pool import Pool
from services.gate import orders as order
from services.gate.draft import MOST_MOVES, Draft
from services.gate.pace import rate_evidence, rated_at, sated_at, settled_at, stale
from services.gate.state import Pending

AUTOMATIC: Final[frozenset[Origin]] = frozenset({"trigger", "forecast"})
"""Who may only shrink a pool whose load they know and that has stood still: no person, and no program that knows why."""


def shrink(draft: Draft, pending: Pending, pool: Pool, wish: QuiesceRequested) -> None:
    """The last to have come goes first, from the host that is to be emptied; never below the pool's floor.

    The floor holds for everybody: a pool whose forecast is `on` keeps its warm reserve awake, or the next miss has nowhere to
    land.
    """
    if wish.origin != "person" and draft.docket.growing(draft.org, pool.name):
        draft.decline(pending, "AnticipatedFlapping", wish.count)
        return
    if stale(draft, pool, wish.sample) or (wish.origin in AUTOMATIC and draft.is_lost(pool.name)):
        draft.decline(pending, "SignalStale", wish.count)
        return
    still_until = None
    if wish.origin in AUTOMATIC:
        still_until = sated_at(draft, pool) if wish.origin == "forecast" else settled_at(draft, pool)
    if still_until is not None:
        draft.decline(pending, "Cooldown", wish.count, retry_at=still_until)
        return
    serving = list(islice(draft.places.leavers(pool), MOST_MOVES + 1))
    floor = _floor(draft, pool, wish.count)
    limits = [floor, _Limit("NothingServing", len(serving)), _Limit("BatchTooLarge", MOST_MOVES)]
    if wish.origin == "forecast":
        rate = rate_evidence(draft, pool, wish.count)
        limits.insert(1, _Limit("QuiesceRate", max(0, rate.limit - rate.used), (rate,)))
    # Of two that bind alike the first is told; that nobody else serves comes before all.
    tightest = min(limits, key=lambda limit: limit.vms)
    if tightest.code != "NothingServing" and len(serving) == tightest.vms:
        tightest = _Limit("NothingServing", len(serving))
    leaving = serving[: min(wish.count, tightest.vms)]
    if len(leaving) == wish.count:
        draft.grant(pending, "Granted", wish.count, [order.drain(vm, pool, pending) for vm in leaving])
    elif leaving:
        orders = [order.drain(vm, pool, pending) for vm in leaving]
        draft.grant(pending, tightest.code, wish.count, orders, evidence=tightest.evidence)
    elif tightest.code == "QuiesceRate":
        retry_at = rated_at(draft, pool)
        draft.decline(pending, tightest.code, wish.count, evidence=tightest.evidence, retry_at=retry_at)
    else:
        draft.leave(pending, tightest.code, wish.count, evidence=tightest.evidence)


@dataclass(frozen=True, slots=True)
class _Limit:
    """How many VMs may go at most, and what says so."""

    code: Code
    vms: int
    evidence: tuple[Evidence, ...] = ()


def _floor(draft: Draft, pool: Pool, count: int) -> _Limit:
    """The pool's minimum, or its warm reserve with the numbers: those kept and those to go, of those there are."""
    floor, staying = draft.floor(pool), draft.staying(pool.name)
    spare = max(0, staying - floor)
    if floor == pool.min_vms:
        return _Limit("AlreadyAtMin", spare)
    line = Evidence(
        dimension="pool_floor_vms",
        used=floor,
        reserved=0,
        requested=count,
        projected=floor + count,
        quota=None,
        limit=staying,
    )
    return _Limit("WarmReserve", spare, (line,))


def save(draft: Draft, pending: Pending, pool: Pool, wish: SaveRequested) -> None:
    """Sleepers beyond those that shall stay in RAM are saved to disk; a VM that wakes in this round is none of them."""
    if wish.origin in AUTOMATIC and draft.is_lost(pool.name):
        draft.decline(pending, "SignalStale", max(0, excess_of(draft, wish)))
        return
    sleeping = list(draft.places.deepening(pool))
    excess = excess_of(draft, wish)
    if excess <= 0:
        draft.leave(pending, "AlreadyAtDesired", 0)
        return
    if pool.sleep == "paused":
        draft.leave(pending, "SleepsInMemory", excess)
        return
    deeper = sleeping[: min(excess, MOST_MOVES)]
    code: Code = "Granted" if len(deeper) == excess else "BatchTooLarge"
    draft.grant(pending, code, excess, [order.save(vm, pending) for vm in deeper])


def excess_of(draft: Draft, wish: SaveRequested) -> int:
    """How many more VMs of the pool sleep in RAM than shall stay there; those on their way to disk are not counted."""
    return sum(1 for _ in draft.places.vms(wish.pool, "quiesced")) - wish.paused
