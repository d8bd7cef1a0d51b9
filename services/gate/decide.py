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
from schemas.codes import Code, Outcome
from schemas.contract import Contract, fingerprint
from schemas.pool import Pool
from services.gate.draft import Draft, fits, room_for
from services.gate.state import Docket, Pending

RULES: Final = "2026-11-22"
"""The version of these rules; every decision carries it."""

MOST_STARTS: Final = 64
"""VMs that one request may start: half a decision of 48 KB, at some 330 bytes for each order."""


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
    return draft.decided(gate=gate, through=through, state_seq=state_seq, rules=RULES)


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
    obstacle = _contract_obstacle(contract, draft.now) or _pool_obstacle(draft, docket, pool, wish, asked)
    if contract is None or obstacle is not None:
        draft.answer(_no(pending, obstacle or "ContractMissing", asked=asked))
        return
    leaving = list(islice(draft.vms(pool.name, "drained", "draining"), asked))
    starts = asked - len(leaving)
    evidence = draft.evidence(contract, pool.size.compute * starts)
    code: Code = "Granted"
    if not fits(evidence):
        code, starts = (
            "CapExceeded",
            max(0, room_for(draft.evidence(contract, pool.size.compute * 0), pool.size)),
        )
    elif starts > MOST_STARTS:
        code, starts = "BatchTooLarge", MOST_STARTS
    if code != "Granted" and not wish.up_to:
        draft.answer(_no(pending, code, asked=asked, evidence=evidence))
        return
    orders = list(_starts(draft, pool, pending, min(starts, MOST_STARTS), "serve"))
    if len(orders) < starts and code == "Granted":
        code = "HostsFull"
    if code == "HostsFull" and not wish.up_to:
        _unlend(draft, orders, pool)
        draft.answer(_no(pending, code, asked=asked, evidence=evidence))
        return
    orders.extend(_back(vm, pending) for vm in leaving)
    outcome: Outcome = "admitted" if code == "Granted" else "partial" if orders else "refused"
    draft.answer(_yes(pending, outcome, code, asked, len(orders), evidence), orders)
    if wish.sample is not None and orders:
        draft.note_scaled(pool.name)


def _contract_obstacle(contract: Contract | None, now: dt.datetime) -> Code | None:
    if contract is None:
        return "ContractMissing"
    return None if contract.valid_from <= now < contract.valid_until else "ContractExpired"


def _pool_obstacle(draft: Draft, docket: Docket, pool: Pool, wish: ScaleRequested, asked: int) -> Code | None:
    if wish.sample is not None and _cooling(draft, docket, pool):
        return "Cooldown"
    if draft.usage.strays(draft.org):
        return "StrayAwake"
    if draft.staying(pool.name) + asked > pool.max_vms and _contract_fits(draft, pool, asked):
        return "PoolFull"
    return None


def _contract_fits(draft: Draft, pool: Pool, asked: int) -> bool:
    """The cap speaks before the pool's own maximum: who is past both is told of the contract."""
    contract = draft.contract
    return contract is not None and fits(draft.evidence(contract, pool.size.compute * asked))


def _cooling(draft: Draft, docket: Docket, pool: Pool) -> bool:
    """Only a trigger cools down: never a person, a program, or a forecast's raise."""
    if draft.scaled(pool.name):
        return True
    scaled_at = docket.scaled_at(draft.org, pool.name)
    return scaled_at is not None and draft.now < scaled_at + dt.timedelta(seconds=pool.cooldown_seconds)


def _starts(draft: Draft, pool: Pool, pending: Pending, count: int, purpose: Purpose) -> Iterator[Order]:
    """Up to `count` orders that get a VM awake; fewer when the hosts have no room for more.

    Each is of the pool's size, which is what the envelope was asked about: a VM that was made before the pool was
    redefined with another one is passed over.
    """
    sleepers = _of_size(draft.vms(pool.name, "quiesced"), pool) if purpose == "serve" else iter(())
    for vm in islice(sleepers, count):
        count -= 1
        yield _wake(draft, pool, vm, pending, purpose)
    for vm in islice(_of_size(draft.vms(pool.name, "stopped"), pool), count):
        host = vm.host if draft.has_room(vm.host, pool.size.memory_mib) else None
        if host is not None:
            count -= 1
            yield _boot(draft, pool, vm.name, host, pending, purpose)
    for _ in range(count):
        host = draft.host_for(pool.size.memory_mib)
        if host is None:
            return
        yield _boot(draft, pool, draft.next_name(pool.name), host, pending, purpose)


def _of_size(vms: Iterator[Vm], pool: Pool) -> Iterator[Vm]:
    return (vm for vm in vms if vm.size == pool.size)


def _wake(draft: Draft, pool: Pool, vm: Vm, pending: Pending, purpose: Purpose) -> WakeOrdered:
    return WakeOrdered(
        id=derive(pending.id, "wake.ordered", vm.name),
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
        id=derive(pending.id, "boot.ordered", vm),
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
        id=derive(pending.id, "drain.cancelled", vm.name),
        vm=vm.name,
        pool=vm.pool,
        reservation=vm.reservation,
        drain=vm.order,
        request=pending.id,
    )


def _shrink(draft: Draft, pending: Pending, pool: Pool, wish: QuiesceRequested) -> None:
    """The last to have come goes first; never below the pool's minimum."""
    serving = list(draft.vms(pool.name, "serving"))
    spare = max(0, draft.staying(pool.name) - pool.min_vms)
    granted = min(wish.count, len(serving), spare)
    if granted == 0:
        code: Code = "AlreadyAtMin" if serving else "NothingServing"
        draft.answer(_no(pending, code, asked=wish.count, outcome="unchanged"))
        return
    leaving = serving[-granted:]
    code = "Granted" if granted == wish.count else "AlreadyAtMin" if granted == spare else "NothingServing"
    outcome: Outcome = "admitted" if granted == wish.count else "partial"
    orders = [_drain(vm, pool, pending) for vm in leaving]
    draft.answer(_yes(pending, outcome, code, wish.count, granted, ()), orders)


def _drain(vm: Vm, pool: Pool, pending: Pending) -> DrainOrdered:
    assert vm.reservation is not None, vm
    return DrainOrdered(
        id=derive(pending.id, "drain.ordered", vm.name),
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
    obstacle = _contract_obstacle(contract, draft.now)
    if contract is None or obstacle is not None:
        draft.answer(_no(pending, obstacle or "ContractMissing", asked=missing))
        return
    evidence = draft.evidence(contract, pool.size.compute * missing)
    if not fits(evidence) or missing > MOST_STARTS:
        code: Code = "BatchTooLarge" if fits(evidence) else "CapExceeded"
        draft.answer(_no(pending, code, asked=missing, evidence=evidence))
        return
    orders = list(_starts(draft, pool, pending, missing, "stock"))
    if len(orders) < missing:
        _unlend(draft, orders, pool)
        draft.answer(_no(pending, "HostsFull", asked=missing, evidence=evidence))
        return
    draft.answer(_yes(pending, "admitted", "Granted", missing, len(orders), evidence), orders)


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
                request=vm.request or vm.reservation,
            )
        )


def _yes(  # noqa: PLR0917 - the parts of an answer
    pending: Pending, outcome: Outcome, code: Code, asked: int, granted: int, evidence: tuple[Evidence, ...]
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
    )


def _no(
    pending: Pending,
    code: Code,
    *,
    asked: int,
    outcome: Outcome = "refused",
    evidence: tuple[Evidence, ...] = (),
) -> Answer:
    return _yes(pending, outcome, code, asked, 0, evidence)
