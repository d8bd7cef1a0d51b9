"""What the gate answers to those who want fewer VMs awake, or less of what sleeps to be in RAM."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from events.gate import Evidence
from events.quiesce import QuiesceRequested
from events.save import SaveRequested
from events.scale import Origin
from projections.fleet.fold import Vm
from schemas.codes import Code
from schemas.pool import Pool
from services.gate import orders as order
from services.gate.draft import MOST_MOVES, Draft
from services.gate.pace import rate_evidence, rated_at, sated_at, settled_at, stale
from services.gate.saves import Standing
from services.gate.state import Pending

AUTOMATIC: Final[frozenset[Origin]] = frozenset({"trigger", "forecast"})
"""Who may only shrink a pool whose load they know and that has stood still: no person, and no program that knows why."""

MOST_SAVES: Final = 2
"""VMs that are saved at once on one host, of whatever org: as many as its waker writes. Who waits for more sleeps in RAM, from
where it can be woken."""


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
    """The pool's minimum, or its warm reserve with the numbers: those kept and those to go, of those that serve.

    Whoever is on the way may not come: only those that serve by now are what is kept.
    """
    floor, serving = draft.floor(pool), sum(1 for _ in draft.places.vms(pool.name, "serving"))
    spare = max(0, serving - floor)
    if floor == pool.min_vms:
        return _Limit("AlreadyAtMin", spare)
    line = Evidence(
        dimension="pool_floor_vms",
        used=floor,
        reserved=0,
        requested=count,
        projected=floor + count,
        quota=None,
        limit=serving,
    )
    return _Limit("WarmReserve", spare, (line,))


def save(draft: Draft, pending: Pending, pool: Pool, wish: SaveRequested) -> None:
    """Sleepers beyond those that shall stay in RAM are saved to disk; a VM that wakes in this round is none of them.

    As many are ordered as their hosts write at once; the others go on sleeping in RAM until it is their turn. A host where
    saving failed lately is left alone.
    """
    if wish.origin in AUTOMATIC and draft.is_lost(pool.name):
        draft.decline(pending, "SignalStale", max(0, _excess(draft, pool.name, wish.paused)))
        return
    excess = _excess(draft, pool.name, wish.paused)
    if excess <= 0:
        draft.leave(pending, "AlreadyAtDesired", 0)
        return
    if pool.sleep == "paused":
        draft.leave(pending, "SleepsInMemory", excess)
        return
    able, retry_at = _able(draft, pool.name)
    deeper = list(islice((vm for vm in draft.places.deepening(pool) if vm.host in able), excess))
    orders = [order.save(vm, pending.id, pending.seq) for vm in _in_turn(draft, deeper)]
    if len(deeper) == excess:
        draft.grant(pending, "Granted", excess, orders, granted=excess)
    else:
        draft.grant(pending, "SaveHeldBack", excess, orders, granted=len(deeper), retry_at=retry_at)


def save_further(draft: Draft) -> None:
    """Whose turn it is by now of those that were to be saved, is."""
    for standing, vms in further(draft):
        for vm in vms:
            if draft.full():
                return
            draft.order(order.save(vm, standing.request, standing.seq, vm.since_seq))


def further(draft: Draft) -> Iterator[tuple[Standing, list[Vm]]]:
    """The VMs to save now by each request that stands, apart from pools about which this round answered something newer."""
    for standing, pool, excess, able in _unheld(draft):
        if all(draft.places.saving(host) >= MOST_SAVES for host in able):
            continue
        deeper = (
            vm for vm in draft.places.deepening(pool) if vm.host in able and _slept_before(vm, standing)
        )
        turns = list(_in_turn(draft, islice(deeper, excess)))
        if turns:
            yield standing, turns


def waited_for(draft: Draft) -> set[str]:
    """Hosts that have no hand free for a VM of the org which is to be saved: with nothing else in its way."""
    return {
        host
        for standing, pool, _, able in _unheld(draft)
        for host in able
        if draft.places.saving(host) >= MOST_SAVES
        and any(
            _slept_before(draft.fleet.vms[draft.org, vm], standing)
            for vm in draft.fleet.by_host(draft.org, pool.name, "quiesced")[host]
        )
    }


def lasting(draft: Draft) -> bool:
    """Whether anybody is left who may be saved by a request that stands: somebody who slept when it was granted, and does still."""
    return any(
        _slept_before(vm, standing)
        for standing in draft.state.saves.standing(draft.org)
        for vm in draft.places.vms(standing.pool, "quiesced", "saving")
    )


def _unheld(draft: Draft) -> Iterator[tuple[Standing, Pool, int, set[str]]]:
    """The requests that stand and that nothing holds still; how many VMs more are to be saved by each, and on which hosts they may."""
    answered = {answer.pool for answer in draft.answers}
    for standing in draft.state.saves.standing(draft.org):
        pool = draft.pool(standing.pool)
        if pool is None or pool.name in answered or pool.sleep == "paused" or draft.frozen(pool.name):
            continue
        if standing.origin in AUTOMATIC and draft.is_lost(pool.name):
            continue
        excess = min(standing.left, _excess(draft, pool.name, standing.paused))
        if excess > 0:
            yield standing, pool, excess, _able(draft, pool.name)[0]


def _slept_before(vm: Vm, standing: Standing) -> bool:
    return vm.asleep_since is not None and vm.asleep_since < standing.before


def saves_in(draft: Draft, wish: SaveRequested) -> int:
    """How many orders may follow from the request in this round."""
    hosts = len(draft.fleet.by_host(draft.org, wish.pool, "quiesced"))
    return min(max(0, _excess(draft, wish.pool, wish.paused)), hosts * MOST_SAVES)


def _excess(draft: Draft, pool: str, paused: int) -> int:
    """How many more VMs of the pool sleep in RAM than shall stay there; those on their way to disk are not counted."""
    return sum(1 for _ in draft.places.vms(pool, "quiesced")) - paused


def _able(draft: Draft, pool: str) -> tuple[set[str], dt.datetime | None]:
    """Hosts on which the pool's sleepers may be saved; and when the first of the others may be tried again."""
    hosts = draft.fleet.by_host(draft.org, pool, "quiesced")
    held = {host: draft.state.saves.held_until(draft.org, pool, host, draft.now) for host in hosts}
    ends = [until for until in held.values() if until is not None]
    return {host for host, until in held.items() if until is None}, min(ends, default=None)


def _in_turn(draft: Draft, vms: Iterable[Vm]) -> Iterator[Vm]:
    """Of these, those that their hosts have a hand free for; no more than one decision holds."""
    begun: Counter[str] = Counter()
    for vm in vms:
        if draft.places.saving(vm.host) + begun[vm.host] < MOST_SAVES and begun.total() < MOST_MOVES:
            begun[vm.host] += 1
            yield vm
