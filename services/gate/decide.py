"""The rules of the gate: what is admitted, what is refused, and what is ordered.

Pure: the same folds, requests and time give the same decision, which is what makes a replay an answer.
The order of the rules is the order of the page: a request meets the contract first, then the pool, then the
envelope, then the hosts. All or nothing, unless the request says `up_to`.
"""

import datetime as dt
from collections.abc import Iterator
from itertools import islice
from typing import Final

from events.contract import ContractTookEffect
from events.fact import Fact
from events.gate import (
    Answer,
    BootOrdered,
    DrainCancelled,
    DrainOrdered,
    Evidence,
    GateDecided,
    Order,
    Purpose,
    StopOrdered,
    SuspendOrdered,
    WakeOrdered,
)
from events.ids import derive
from events.pool import PoolDefined
from events.quiesce import QuiesceRequested
from events.scale import ScaleRequested
from events.stock import StockRequested
from projections.fleet.fold import Fleet, Vm
from projections.usage.fold import Usage
from schemas.capacity import NOTHING
from schemas.codes import Code, Outcome
from schemas.contract import Contract, fingerprint
from schemas.pool import Pool
from services.gate.draft import Draft, fits, room_for
from services.gate.state import Docket, Pending

RULES: Final = "2026-11-22"
"""The version of these rules; every decision carries it."""

MOST_MOVES: Final = 64
"""VMs that one request may move: half a decision of 48 KB, at some 330 bytes for each order."""


def decide(
    org: str, docket: Docket, usage: Usage, fleet: Fleet, *, now: dt.datetime, gate: str, state_seq: int
) -> GateDecided | None:
    """One round for one org: each waiting request answered in ledger order, and each VM's next step ordered.

    None when there is nothing to say. `through` covers exactly the requests that were answered.
    """
    draft = Draft(org, usage, fleet, now)
    through = docket.through(org)
    for pending in docket.pending(org):
        if draft.full():
            break
        _answer(draft, docket, pending)
        through = pending.seq
    _order_next_steps(draft)
    if not draft.answers and not draft.orders:
        return None
    return draft.decided(
        gate=gate, through=through, follows=docket.fence_seq(org), state_seq=state_seq, rules=RULES
    )


def take_effect(
    contract: Contract, pools: list[Pool], usage: Usage, fleet: Fleet, now: dt.datetime
) -> list[Fact]:
    """What must be appended, under the fence, so that this contract and these pools are the ones in force."""
    facts: list[Fact] = []
    present = usage.contracts.get(contract.org)
    if present is None or contract.version > present.version:
        facts.append(
            ContractTookEffect(
                org=contract.org, contract=contract, fingerprint=fingerprint(contract), took_effect_at=now
            )
        )
    facts.extend(
        PoolDefined(org=pool.org, pool=pool.name, definition=pool)
        for pool in pools
        if fleet.pools.get((pool.org, pool.name)) != pool
    )
    return facts


def _answer(draft: Draft, docket: Docket, pending: Pending) -> None:
    pool = draft.fleet.pools.get((draft.org, pending.wish.pool))
    if pool is None:
        draft.answer(_no(pending, "PoolUnknown", asked=1))
        return
    match pending.wish:
        case ScaleRequested() as wish:
            _grow(draft, docket, pending, pool, wish)
        case QuiesceRequested() as wish:
            _shrink(draft, pending, pool, wish)
        case StockRequested() as wish:
            _stock(draft, pending, pool, wish)


def _grow(draft: Draft, docket: Docket, pending: Pending, pool: Pool, wish: ScaleRequested) -> None:
    """VMs that are on their way out come back first, since they still count; then sleepers, then new ones."""
    asked = wish.add if wish.add is not None else max(0, (wish.want or 0) - draft.staying(pool.name))
    if asked == 0:
        draft.answer(_no(pending, "AlreadyAtDesired", asked=0, outcome="unchanged"))
        return
    contract = draft.contract
    obstacle = _contract_obstacle(contract, draft.now) or _org_obstacle(draft)
    if contract is None or obstacle is not None:
        draft.answer(_no(pending, obstacle or "ContractMissing", asked=asked))
        return
    cooled_at = _cooled_at(draft, docket, pool) if wish.origin == "trigger" else None
    if cooled_at is not None:
        draft.answer(_no(pending, "Cooldown", asked=asked, retry_at=cooled_at))
        return
    leaving = list(islice(draft.vms(pool.name, "drained", "draining"), min(asked, MOST_MOVES)))
    starts = asked - len(leaving)
    code, most, evidence = _bound(draft, contract, pool, starts)
    if code == "Granted" and asked > MOST_MOVES:
        code, most = "BatchTooLarge", MOST_MOVES - len(leaving)
    if code != "Granted" and not wish.up_to:
        draft.answer(_no(pending, code, asked=asked, evidence=evidence))
        return
    starts = min(starts, most, MOST_MOVES - len(leaving))
    orders = list(_starts(draft, pool, pending, starts, "serve"))
    if code == "Granted" and len(orders) < starts:
        code = "HostsFull"
        evidence = (*evidence, draft.host_evidence(pool.size.memory_mib * (starts - len(orders))))
        if not wish.up_to:
            _unlend(draft, orders, pool)
            draft.answer(_no(pending, code, asked=asked, evidence=evidence))
            return
    orders.extend(_back(vm, pending) for vm in leaving)
    outcome: Outcome = "admitted" if code == "Granted" else "partial" if orders else "refused"
    draft.answer(
        _yes(pending, code, outcome=outcome, asked=asked, granted=len(orders), evidence=evidence), orders
    )
    if wish.origin == "trigger" and orders:
        draft.note_scaled(pool.name)


def _bound(
    draft: Draft, contract: Contract, pool: Pool, starts: int
) -> tuple[Code, int, tuple[Evidence, ...]]:
    """What forbids so many starts, how many it would let through, and the numbers.

    The cap speaks before the pool's own maximum: who is past both is told of the contract.
    """
    evidence = draft.evidence(contract, pool.size.compute * starts)
    if not fits(evidence):
        return "CapExceeded", max(0, room_for(draft.evidence(contract, NOTHING), pool.size)), evidence
    line = draft.pool_evidence(pool, starts)
    if line.projected > line.limit:
        return "PoolFull", max(0, line.limit - line.used), (*evidence, line)
    return "Granted", starts, evidence


def _contract_obstacle(contract: Contract | None, now: dt.datetime) -> Code | None:
    if contract is None:
        return "ContractMissing"
    return None if contract.valid_from <= now < contract.valid_until else "ContractExpired"


def _org_obstacle(draft: Draft) -> Code | None:
    return "StrayAwake" if draft.usage.strays(draft.org) else None


def _cooled_at(draft: Draft, docket: Docket, pool: Pool) -> dt.datetime | None:
    """When the pool's cooldown is over, if it is not. Only triggers ask: never a person, a program or a forecast."""
    cooldown = dt.timedelta(seconds=pool.cooldown_seconds)
    if draft.scaled(pool.name):
        return draft.now + cooldown
    scaled_at = docket.scaled_at(draft.org, pool.name)
    return scaled_at + cooldown if scaled_at is not None and draft.now < scaled_at + cooldown else None


def _starts(draft: Draft, pool: Pool, pending: Pending, count: int, purpose: Purpose) -> Iterator[Order]:
    """Up to `count` orders that get a VM awake; fewer when the hosts have no room for more.

    Each is of the pool's size, which is what the envelope was asked about: a VM that was made before the pool was
    redefined with another one is passed over.
    """
    sleepers = _of_size(draft.vms(pool.name, "quiesced"), pool) if purpose == "serve" else iter(())
    for vm in islice(sleepers, count):
        count -= 1
        yield _wake(draft, pool, vm, pending, purpose)
    stopped = _of_size(draft.vms(pool.name, "stopped"), pool)
    ready = (vm for vm in stopped if draft.has_room(vm.host, pool.size.memory_mib))
    for vm in islice(ready, count):
        count -= 1
        yield _boot(draft, pool, vm.name, vm.host, pending, purpose)
    for _ in range(count):
        host = draft.host_for(pool.size.memory_mib)
        if host is None:
            return
        yield _boot(draft, pool, draft.next_name(pool.name), host, pending, purpose)


def _of_size(vms: Iterator[Vm], pool: Pool) -> Iterator[Vm]:
    return (vm for vm in vms if vm.size == pool.size)


def _wake(draft: Draft, pool: Pool, vm: Vm, pending: Pending, purpose: Purpose) -> WakeOrdered:
    return WakeOrdered(
        id=derive(pending.id, pending.seq, "wake.ordered", vm.name),
        vm=vm.name,
        pool=pool.name,
        host=vm.host,
        size=vm.size,
        request=pending.id,
        purpose=purpose,
        begin_by=draft.now + dt.timedelta(seconds=pool.order_seconds),
        ready_seconds=pool.readiness_seconds,
    )


def _boot(draft: Draft, pool: Pool, vm: str, host: str, pending: Pending, purpose: Purpose) -> BootOrdered:  # noqa: PLR0917
    draft.lend(host, pool.size.memory_mib)
    return BootOrdered(
        id=derive(pending.id, pending.seq, "boot.ordered", vm),
        vm=vm,
        pool=pool.name,
        host=host,
        size=pool.size,
        template=pool.template,
        request=pending.id,
        purpose=purpose,
        begin_by=draft.now + dt.timedelta(seconds=pool.boot_seconds),
        ready_seconds=pool.boot_seconds,
    )


def _unlend(draft: Draft, orders: list[Order], pool: Pool) -> None:
    """Orders that are not given after all leave their memory to the next request of the round."""
    for order in orders:
        if isinstance(order, BootOrdered):
            draft.lend(order.host, -pool.size.memory_mib)


def _back(vm: Vm, pending: Pending) -> DrainCancelled:
    assert vm.reservation is not None, vm
    assert vm.order is not None, vm
    return DrainCancelled(
        id=derive(pending.id, pending.seq, "drain.cancelled", vm.name),
        vm=vm.name,
        pool=vm.pool,
        reservation=vm.reservation,
        drain=vm.order,
        request=pending.id,
    )


def _shrink(draft: Draft, pending: Pending, pool: Pool, wish: QuiesceRequested) -> None:
    """The last to have come goes first; never below the pool's minimum."""
    spare = max(0, draft.staying(pool.name) - pool.min_vms)
    leaving = list(islice(draft.newest(pool.name, "serving"), min(wish.count, spare, MOST_MOVES)))
    code: Code = "Granted"
    if len(leaving) < wish.count:
        nobody_left = next(islice(draft.newest(pool.name, "serving"), len(leaving), None), None) is None
        code = (
            "NothingServing" if nobody_left else "AlreadyAtMin" if len(leaving) == spare else "BatchTooLarge"
        )
    if not leaving:
        draft.answer(_no(pending, code, asked=wish.count, outcome="unchanged"))
        return
    outcome: Outcome = "admitted" if code == "Granted" else "partial"
    orders = [_drain(vm, pool, pending) for vm in leaving]
    draft.answer(_yes(pending, code, outcome=outcome, asked=wish.count, granted=len(orders)), orders)


def _drain(vm: Vm, pool: Pool, pending: Pending) -> DrainOrdered:
    assert vm.reservation is not None, vm
    return DrainOrdered(
        id=derive(pending.id, pending.seq, "drain.ordered", vm.name),
        vm=vm.name,
        pool=pool.name,
        reservation=vm.reservation,
        request=pending.id,
        drain_seconds=pool.drain_seconds,
    )


def _stock(draft: Draft, pending: Pending, pool: Pool, wish: StockRequested) -> None:
    """Missing VMs are booted, count while they are awake, and sleep as soon as they have answered once."""
    kept = draft.fleet.total(draft.org, pool.name) - len(draft.fleet.members(draft.org, pool.name, "stopped"))
    missing = wish.vms - kept
    if missing <= 0:
        draft.answer(_no(pending, "AlreadyAtDesired", asked=0, outcome="unchanged"))
        return
    contract = draft.contract
    obstacle = _contract_obstacle(contract, draft.now) or _org_obstacle(draft)
    if contract is None or obstacle is not None:
        draft.answer(_no(pending, obstacle or "ContractMissing", asked=missing))
        return
    evidence = draft.evidence(contract, pool.size.compute * missing)
    if not fits(evidence) or missing > MOST_MOVES:
        code: Code = "BatchTooLarge" if fits(evidence) else "CapExceeded"
        draft.answer(_no(pending, code, asked=missing, evidence=evidence))
        return
    orders = list(_starts(draft, pool, pending, missing, "stock"))
    if len(orders) < missing:
        _unlend(draft, orders, pool)
        lacking = draft.host_evidence(pool.size.memory_mib * (missing - len(orders)))
        draft.answer(_no(pending, "HostsFull", asked=missing, evidence=(*evidence, lacking)))
        return
    draft.answer(
        _yes(pending, "Granted", outcome="admitted", asked=missing, granted=len(orders), evidence=evidence),
        orders,
    )


def _order_next_steps(draft: Draft) -> None:
    """A drained VM sleeps, so does prepared stock and what nobody ordered awake; one that never answered stops."""
    for vm in draft.fleet.attention(draft.org):
        if draft.full():
            return
        if draft.has_ordered(vm.name):
            continue
        assert vm.reservation is not None, vm
        kind = StopOrdered if vm.state == "unready" else SuspendOrdered
        draft.order(
            kind(
                id=derive(vm.reservation, "stop" if vm.state == "unready" else "suspend", vm.name),
                vm=vm.name,
                pool=vm.pool,
                host=vm.host,
                reservation=vm.reservation,
                request=vm.request,
            )
        )


def _yes(
    pending: Pending,
    code: Code,
    *,
    outcome: Outcome,
    asked: int,
    granted: int,
    evidence: tuple[Evidence, ...] = (),
    retry_at: dt.datetime | None = None,
) -> Answer:
    return Answer(
        request=pending.id,
        request_seq=pending.seq,
        pool=pending.wish.pool,
        outcome=outcome,
        code=code,
        asked=asked,
        granted=granted,
        evidence=evidence,
        retry_at=retry_at,
    )


def _no(
    pending: Pending,
    code: Code,
    *,
    asked: int,
    outcome: Outcome = "refused",
    evidence: tuple[Evidence, ...] = (),
    retry_at: dt.datetime | None = None,
) -> Answer:
    return _yes(pending, code, outcome=outcome, asked=asked, granted=0, evidence=evidence, retry_at=retry_at)
