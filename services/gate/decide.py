"""The rules of the gate: what is admitted, what is refused, and what is ordered.

Pure: the same folds, requests and time give the same decision, which is what makes a replay an answer.
A request to grow meets, in this order: a freeze, the contract, hosts that the recovered ledger does not know yet, strays of
the org, the age of its signal, the pool's cooldown, the envelope, the pool's own maximum, the size of a decision, and the
memory of the hosts. All or nothing, unless it says `up_to`. Requests that change what is decided by (documents, keys,
freezes, hosts) are answered in `rulings.py`.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from events.gate import BootOrdered, Evidence, Order, Purpose, WakeOrdered
from events.pool import PoolDefined
from events.quiesce import QuiesceRequested
from events.scale import Origin, Sample, ScaleRequested
from events.stock import StockRequested
from schemas.capacity import NOTHING
from schemas.codes import Code
from schemas.contract.terms import Contract
from schemas.pool import Pool
from services.gate import orders as order
from services.gate.draft import Decision, Draft, fits, room_for
from services.gate.rulings import ripen, rule
from services.gate.state import Pending, Scaling, State

RULES: Final = "2026-11-22.4"
"""The version of these rules; every decision carries it."""

AUTOMATIC: Final[frozenset[Origin]] = frozenset({"trigger", "forecast"})
"""Who may only shrink a pool that has stood still for its cooldown: no person, and no program that knows why."""

MOST_MOVES: Final = 64
"""VMs that one request may move: half a decision of 48 KB, at some 330 bytes for each order."""


def decide(org: str, state: State, *, now: dt.datetime, gate: str, state_seq: int) -> Decision | None:
    """One round for one org: each waiting request answered in ledger order, and each VM's next step ordered.

    None when there is nothing to say. `through` covers exactly the requests that were answered. An addendum whose day
    has come takes effect in a round of its own, before anything else is decided.
    """
    draft = Draft(org, state, now)
    through = draft.docket.through(org)
    ripen(draft)
    for pending in draft.docket.pending(org):
        if draft.full() or _better_later(draft, pending):
            break
        _answer(draft, pending)
        through = pending.seq
    if not draft.facts:
        _order_next_steps(draft)
    if not (draft.facts or draft.answers or draft.orders):
        return None
    return draft.decided(gate=gate, through=through, state_seq=state_seq, rules=RULES)


def define(  # noqa: PLR0917 - what a decision is made from
    org: str, pools: Iterable[Pool], state: State, now: dt.datetime, gate: str, state_seq: int
) -> Decision | None:
    """A round that defines the org's pools as they are given here; None when they are.

    Of two definitions of one pool the first holds: each in turn would be a fact without end.
    """
    draft = Draft(org, state, now)
    wanted: dict[str, Pool] = {}
    for pool in pools:
        wanted.setdefault(pool.name, pool)
    draft.facts.extend(
        PoolDefined(org=org, pool=pool.name, definition=pool)
        for pool in wanted.values()
        if state.fleet.pools.get((org, pool.name)) != pool
    )
    if not draft.facts:
        return None
    return draft.decided(gate=gate, through=state.docket.through(org), state_seq=state_seq, rules=RULES)


def _better_later(draft: Draft, pending: Pending) -> bool:
    """Whether the request belongs into the next round.

    What changes the rules has a round of its own, or an answer by the old ones would count under the new. VMs that this
    round sends away can come back in the next one. And a decision stays within its bound.
    """
    wish = pending.wish
    if not isinstance(wish, Scaling):
        return bool(draft.answers)
    if isinstance(wish, ScaleRequested) and draft.is_draining(wish.pool):
        return True
    moves = _grown(draft, wish) if isinstance(wish, ScaleRequested) else _asked(wish)
    return bool(draft.answers) and not draft.has_place(min(moves, MOST_MOVES))


def _answer(draft: Draft, pending: Pending) -> None:
    wish = pending.wish
    if not isinstance(wish, Scaling):
        rule(draft, pending, wish)
        return
    pool = draft.pool(wish.pool)
    if pool is None:
        draft.decline(pending, "PoolUnknown", _asked(wish))
        return
    freeze = draft.frozen(pool.name)
    if freeze is not None:
        draft.decline(pending, "Frozen", _asked(wish), retry_at=freeze.until)
        return
    match wish:
        case ScaleRequested():
            _grow(draft, pending, pool, wish)
        case QuiesceRequested():
            _shrink(draft, pending, pool, wish)
        case StockRequested():
            _stock(draft, pending, pool, wish)


def _asked(wish: Scaling) -> int:
    match wish:
        case ScaleRequested(add=add, want=want):
            return add if add is not None else want or 0
        case QuiesceRequested(count=vms) | StockRequested(vms=vms):
            return vms


def _grown(draft: Draft, wish: ScaleRequested) -> int:
    """How many more VMs the request wants to stay, as the round sees the pool by now."""
    return wish.add if wish.add is not None else max(0, (wish.want or 0) - draft.staying(wish.pool))


def _grow(draft: Draft, pending: Pending, pool: Pool, wish: ScaleRequested) -> None:
    """VMs that are on their way out come back first, since they still count; then sleepers, then new ones."""
    asked = _grown(draft, wish)
    if asked == 0:
        draft.leave(pending, "AlreadyAtDesired", asked)
        return
    contract = _authority(draft)
    if not isinstance(contract, Contract):
        draft.decline(pending, contract, asked)
        return
    if _stale(draft, pool, wish.sample):
        draft.decline(pending, "SignalStale", asked)
        return
    cooled_at = _cooled_at(draft, pool) if wish.origin == "trigger" else None
    if cooled_at is not None:
        draft.decline(pending, "Cooldown", asked, retry_at=cooled_at)
        return
    leaving = list(islice(draft.vms(pool.name, "drained", "draining"), asked))
    bound = _bound(draft, contract, pool, asked, back=len(leaving))
    if bound.code == "AlreadyAtMax":
        draft.leave(pending, bound.code, asked, evidence=bound.evidence)
        return
    if bound.code != "Granted" and not wish.up_to:
        draft.decline(pending, bound.code, asked, evidence=bound.evidence)
        return
    orders: list[Order] = [order.come_back(vm, pending) for vm in leaving[: bound.most]]
    orders += _starts(draft, pool, pending, bound.most - len(orders), "serve")
    bound = _met_by(bound, orders, draft, pool)
    if bound.code == "HostsFull" and not wish.up_to:
        draft.decline(pending, bound.code, asked, evidence=bound.evidence)
        return
    draft.grant(pending, bound.code, asked, orders, evidence=bound.evidence)
    if wish.origin == "trigger" and orders:
        draft.note_scaled(pool.name)


def _shrink(draft: Draft, pending: Pending, pool: Pool, wish: QuiesceRequested) -> None:
    """The last to have come goes first, from the host that is to be emptied; never below the pool's minimum."""
    if wish.origin != "person" and draft.docket.growing(draft.org, pool.name):
        draft.decline(pending, "AnticipatedFlapping", wish.count)
        return
    if _stale(draft, pool, wish.sample):
        draft.decline(pending, "SignalStale", wish.count)
        return
    settled_at = _settled_at(draft, pool) if wish.origin in AUTOMATIC else None
    if settled_at is not None:
        draft.decline(pending, "Cooldown", wish.count, retry_at=settled_at)
        return
    spare = max(0, draft.staying(pool.name) - pool.min_vms)
    serving = list(islice(draft.leavers(pool), MOST_MOVES + 1))
    leaving = serving[: min(wish.count, spare, MOST_MOVES)]
    code = _why_fewer(wish.count, len(leaving), len(serving), spare)
    if not leaving:
        draft.leave(pending, code, wish.count)
        return
    draft.grant(pending, code, wish.count, [order.drain(vm, pool, pending) for vm in leaving])


def _why_fewer(asked: int, leaving: int, serving: int, spare: int) -> Code:
    if leaving == asked:
        return "Granted"
    if leaving == serving:
        return "NothingServing"
    return "AlreadyAtMin" if leaving == spare else "BatchTooLarge"


def _stock(draft: Draft, pending: Pending, pool: Pool, wish: StockRequested) -> None:
    """Missing VMs are booted, count while they are awake, and sleep as soon as they have answered once."""
    missing = wish.vms - draft.kept(pool.name)
    if missing <= 0:
        draft.leave(pending, "AlreadyAtDesired", 0)
        return
    contract = _authority(draft)
    if not isinstance(contract, Contract):
        draft.decline(pending, contract, missing)
        return
    bound = _bound(draft, contract, pool, missing)
    if bound.code == "AlreadyAtMax":
        draft.leave(pending, bound.code, missing, evidence=bound.evidence)
        return
    if bound.code == "Granted":
        orders = _starts(draft, pool, pending, missing, "stock")
        bound = _met_by(bound, orders, draft, pool)
        if bound.code == "Granted":
            draft.grant(pending, bound.code, missing, orders, evidence=bound.evidence)
            return
    draft.decline(pending, bound.code, missing, evidence=bound.evidence)


def _order_next_steps(draft: Draft) -> None:
    """A drained VM sleeps, so does prepared stock and what nobody ordered awake; one that never answered stops."""
    for vm in draft.fleet.attention(draft.org):
        if draft.full():
            return
        if not draft.has_ordered(vm.name):
            draft.order(order.stop(vm) if vm.state == "unready" else order.suspend(vm))


def _authority(draft: Draft) -> Contract | Code:
    """The contract that lets the org grow now, or why nothing does."""
    document = draft.contracts.in_force(draft.org)
    if document is None:
        return "ContractMissing"
    contract = document.contract
    if not document.signed.signatures:
        return "ContractUnsigned"
    if not contract.valid_from <= draft.now < contract.valid_until:
        return "ContractExpired"
    if draft.reconciling():
        return "Reconciling"
    return "StrayAwake" if draft.usage.strays(draft.org) else contract


def _stale(draft: Draft, pool: Pool, sample: Sample | None) -> bool:
    """Whether a measurement is too old to say anything about now: older than the pool looks ahead."""
    return sample is not None and draft.now - sample.observed_at > dt.timedelta(seconds=pool.horizon_seconds)


def _cooled_at(draft: Draft, pool: Pool) -> dt.datetime | None:
    """When the pool's cooldown is over, if it is not. Only triggers ask: never a person, a program or a forecast."""
    if draft.scaled(pool.name):
        return _over(draft, pool, draft.now)
    return _over(draft, pool, draft.docket.scaled_at(draft.org, pool.name))


def _settled_at(draft: Draft, pool: Pool) -> dt.datetime | None:
    """When the pool has stood still for its cooldown, if it has not: what came may go only then."""
    if draft.moved(pool.name):
        return _over(draft, pool, draft.now)
    return _over(draft, pool, draft.docket.moved_at(draft.org, pool.name))


def _over(draft: Draft, pool: Pool, began_at: dt.datetime | None) -> dt.datetime | None:
    """The end of the cooldown that began then; None when there is none, or it is over."""
    if began_at is None:
        return None
    ends_at = began_at + dt.timedelta(seconds=pool.cooldown_seconds)
    return ends_at if draft.now < ends_at else None


@dataclass(frozen=True, slots=True)
class _Bound:
    """What binds a request, how many VMs it lets through, and the numbers that say so."""

    code: Code
    most: int
    evidence: tuple[Evidence, ...]


def _bound(draft: Draft, contract: Contract, pool: Pool, asked: int, *, back: int = 0) -> _Bound:
    """The first limit that `asked` VMs would pass; `back` of them count already, because they are still awake.

    The cap speaks before the pool's own maximum: who is past both is told of the contract.
    """
    evidence = draft.evidence(contract, pool.size.compute * (asked - back))
    line = draft.pool_evidence(pool, asked)
    places = max(0, line.limit - line.used)
    if not fits(evidence):
        # Whoever is past the limit already, by an addendum below its use, has no one back either: use is to fall.
        room = room_for(draft.evidence(contract, NOTHING), pool.size)
        return _Bound("CapExceeded", min(back + room, places, MOST_MOVES) if room >= 0 else 0, evidence)
    if places == 0:
        return _Bound("AlreadyAtMax", 0, (*evidence, line))
    if line.projected > line.limit:
        return _Bound("PoolFull", min(places, MOST_MOVES), (*evidence, line))
    if asked > MOST_MOVES:
        return _Bound("BatchTooLarge", MOST_MOVES, evidence)
    return _Bound("Granted", asked, evidence)


def _met_by(bound: _Bound, orders: Sequence[Order], draft: Draft, pool: Pool) -> _Bound:
    """The bound, or the hosts' where they had no room for all that it let through."""
    lacking = bound.most - len(orders)
    if bound.code != "Granted" or lacking == 0:
        return bound
    line = draft.host_evidence(pool.size.memory_mib * lacking)
    return _Bound("HostsFull", len(orders), (*bound.evidence, line))


def _starts(
    draft: Draft, pool: Pool, pending: Pending, count: int, purpose: Purpose
) -> list[WakeOrdered | BootOrdered]:
    """Up to `count` orders that get a VM awake; fewer when the hosts have no room for more.

    Each is of the pool's size, which is what the envelope was asked about: a VM that was made before the pool was
    redefined with another one is passed over.
    """
    room, now, memory_mib = draft.room(), draft.now, pool.size.memory_mib
    orders: list[WakeOrdered | BootOrdered] = []
    if purpose == "serve":
        sleepers = (vm for vm in draft.sleepers(pool) if vm.size == pool.size)
        orders += [order.wake(vm, pool, pending, now) for vm in islice(sleepers, count)]
        for woken in orders:
            room.wake(woken.host)
    stopped = (vm for vm in draft.vms(pool.name, "stopped") if vm.size == pool.size)
    placed = (vm for vm in stopped if room.take_on(vm.host, memory_mib))
    orders += [
        order.boot(vm.name, vm.host, pool, pending, purpose, now)
        for vm in islice(placed, count - len(orders))
    ]
    while len(orders) < count and (host := room.take(pool.placement, memory_mib)) is not None:
        orders.append(order.boot(draft.next_name(pool.name), host, pool, pending, purpose, now))
    return orders
