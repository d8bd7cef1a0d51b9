"""What the gate answers to those who want more VMs awake, or prepared; and who takes the place of a VM that failed to wake."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from events.ahead import is_to_come
from events.gate import BootOrdered, Evidence, Order, Purpose, WakeOrdered
from events.scale import ScaleRequested
from events.stock import StockRequested
from projections.breakers.known import Lost
from projections.fleet.fold import PATIENCE, Vm
from schemas.capacity import NOTHING
from schemas.codes import Code
from schemas.contract.terms import Contract
from schemas.pool import Pool
from schemas.reserve import reserve_vms
from services.gate import orders as order
from services.gate.draft import MOST_MOVES, Draft, fits, room_for
from services.gate.orders import Cause
from services.gate.pace import cooled_at, stale
from services.gate.state import Pending

_SOON: Final = dt.timedelta(seconds=2)
"""How long a request may wait for VMs that are just falling asleep, which takes some milliseconds where all is well."""


def grown(draft: Draft, wish: ScaleRequested) -> int:
    """How many more VMs the request wants to stay, as the round sees the pool by now.

    Who wants so many in all has those that failed just now and will be replaced as soon as they are off.
    """
    if wish.add is not None:
        return wish.add
    coming = draft.state.breakers.to_be_lost(draft.org, wish.pool, draft.now)
    return max(0, (wish.want or 0) - draft.staying(wish.pool) - coming)


def grow(draft: Draft, pending: Pending, pool: Pool, wish: ScaleRequested) -> bool:
    """VMs that are on their way out come back first, since they still count; then sleepers, then new ones.

    False where the request is better answered in a moment, since VMs that are just falling asleep would serve it: they count
    until they sleep, and can be woken only then.
    """
    asked = grown(draft, wish)
    if asked == 0:
        draft.leave(pending, "AlreadyAtDesired", asked)
        return True
    contract = authority(draft)
    if not isinstance(contract, Contract):
        draft.decline(pending, contract, asked)
        return True
    if stale(draft, pool, wish.sample):
        draft.decline(pending, "SignalStale", asked)
        return True
    cooled = cooled_at(draft, pool) if wish.origin == "trigger" else None
    if cooled is not None:
        draft.decline(pending, "Cooldown", asked, retry_at=cooled)
        return True
    leaving = list(islice(draft.places.vms(pool.name, "drained", "draining"), asked))
    bound = _bound(draft, contract, pool, asked, back=len(leaving))
    if bound.code == "AlreadyAtMax":
        draft.leave(pending, bound.code, asked, evidence=bound.evidence)
        return True
    orders: list[Order] = [order.come_back(vm, pending) for vm in leaving[: bound.most]]
    untaken = draft.places.untaken_until(pool)
    if untaken is None and (bound.code == "Granted" or wish.up_to):
        orders += _starts(draft, pool, Cause.of(pending), bound.most - len(orders), "serve")
        bound = _met_by(bound, orders, draft, pool)
    elif bound.code == "Granted" and bound.most > len(orders):
        bound = _Bound("BreakerOpen", len(orders), bound.evidence, untaken)
    if bound.code != "Granted" and _is_met_soon(draft, contract, pool, wish, len(leaving), len(orders)):
        return False
    if (
        bound.code == "CapExceeded"
        and wish.up_to
        and asked - len(orders) <= _spare(draft, contract, pool, wish)
    ):
        bound = replace(bound, code="ReserveClipped")
        if not orders:
            draft.leave(pending, bound.code, asked, evidence=bound.evidence)
            return True
    if bound.code != "Granted" and not wish.up_to:
        draft.decline(pending, bound.code, asked, evidence=bound.evidence, retry_at=bound.retry_at)
        return True
    draft.grant(pending, bound.code, asked, orders, evidence=bound.evidence, retry_at=bound.retry_at)
    if wish.origin == "trigger" and orders:
        draft.note_scaled(pool.name)
    return True


def _spare(draft: Draft, contract: Contract, pool: Pool, wish: ScaleRequested) -> int:
    """How many of the VMs that a forecast wants are warm reserve: what lacks of it is nobody's refusal.

    None of them once the forecast itself passes the cap: the ledger says so before it asks.
    """
    told = draft.state.forecasts.newest(draft.org, pool.name)
    if wish.origin != "forecast" or (told is not None and told.capped):
        return 0
    return reserve_vms(contract, pool, draft.fleet.forecasting(draft.org))


def _is_met_soon(  # noqa: PLR0917 - what a plan consists of
    draft: Draft, contract: Contract, pool: Pool, wish: ScaleRequested, back: int, planned: int
) -> bool:
    """Whether more would be granted once the pool's VMs sleep that were just told to; after two seconds nobody waits for them."""
    falling = sum(
        _falls_asleep(vm, draft.now) and vm.size == pool.size
        for vm in draft.places.vms(pool.name, "suspending")
    )
    if falling == 0:
        return False
    asked = grown(draft, wish)
    bound = _bound(draft, contract, pool, asked, back=min(asked, back + falling))
    if wish.up_to:
        return bound.most > planned
    return bound.code == "Granted"


def _falls_asleep(vm: Vm, now: dt.datetime) -> bool:
    """Whether it was told to just now; one that was told by a clock which is ahead is waited for no longer than any other."""
    if vm.due_at is None:
        return False
    told_at = vm.due_at - PATIENCE
    return now < told_at + _SOON and not is_to_come(told_at, now)


def stock(draft: Draft, pending: Pending, pool: Pool, wish: StockRequested) -> None:
    """Missing VMs are booted, count while they are awake, and sleep as soon as they have answered once."""
    missing = wish.vms - draft.kept(pool.name)
    if missing <= 0:
        draft.leave(pending, "AlreadyAtDesired", 0)
        return
    contract = authority(draft)
    if not isinstance(contract, Contract):
        draft.decline(pending, contract, missing)
        return
    bound = _bound(draft, contract, pool, missing)
    if bound.code == "AlreadyAtMax":
        draft.leave(pending, bound.code, missing, evidence=bound.evidence)
        return
    if bound.code == "Granted":
        orders = _starts(draft, pool, Cause.of(pending), missing, "stock")
        bound = _met_by(bound, orders, draft, pool)
        if bound.code == "Granted":
            draft.grant(pending, bound.code, missing, orders, evidence=bound.evidence)
            return
    draft.decline(pending, bound.code, missing, evidence=bound.evidence, retry_at=bound.retry_at)


def replace_failed(draft: Draft) -> None:
    """Another VM takes the place of each that failed to wake, once, as long as whoever asked may still want it.

    What failed counts no more by now, so that the org comes to use no more by this than it was granted; where meanwhile
    somebody else has the room, or the pool stands still, nobody comes.
    """
    for lost in islice(draft.state.breakers.lost(draft.org, draft.now), MOST_MOVES):
        pool, contract = draft.pool(lost.pool), authority(draft)
        if pool is None or not isinstance(contract, Contract) or draft.frozen(pool.name) is not None:
            continue
        if draft.places.untaken_until(pool) is not None:
            continue
        if _bound(draft, contract, pool, 1).code == "Granted":
            for start in _starts(draft, pool, Cause.again(lost), 1, "serve", lost):
                draft.order(start)


def authority(draft: Draft) -> Contract | Code:
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


@dataclass(frozen=True, slots=True)
class _Bound:
    """What binds a request, how many VMs it lets through, and the numbers that say so."""

    code: Code
    most: int
    evidence: tuple[Evidence, ...]
    retry_at: dt.datetime | None = None


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
    """The bound, or what hosts and breakers left of it where they had no room for all that it let through."""
    lacking = bound.most - len(orders)
    if bound.code != "Granted" or lacking == 0:
        return bound
    retry_at = draft.places.tripped(pool)
    if retry_at is not None:
        return _Bound("BreakerOpen", len(orders), bound.evidence, retry_at)
    line = draft.places.host_evidence(pool.size.memory_mib * lacking)
    return _Bound("HostsFull", len(orders), (*bound.evidence, line))


def _starts(  # noqa: PLR0917 - what a plan consists of
    draft: Draft, pool: Pool, cause: Cause, count: int, purpose: Purpose, lost: Lost | None = None
) -> list[WakeOrdered | BootOrdered]:
    """Up to `count` orders that get a VM awake; fewer when the hosts have no room for more.

    Who sleeps in RAM wakes in milliseconds and takes no memory, so it comes first; who sleeps on disk needs memory on that very
    host; then those that are off, then new ones. Each is of the pool's size, which is what the envelope was asked about: a VM
    that was made before the pool was redefined with another one is passed over. In place of one that was `lost` comes another,
    or, where only a cold boot helps, it boots itself. Where sleepers woke unfit to serve, those that boot come first, and
    sleepers only where the hosts have no room for another: one that is switched off and booted is slow, and serves.
    """
    places, now, memory_mib = draft.places, draft.now, pool.size.memory_mib
    cold = lost is not None and lost.cold
    shun = lost.host if lost is not None and not cold else ""
    failed = lost.vm if lost is not None and not cold else ""
    room = places.room(pool.name, shun)

    def fitting(vms: Iterator[Vm]) -> Iterator[Vm]:
        return (vm for vm in vms if vm.size == pool.size and vm.name != failed)

    def answering(vms: Iterator[Vm]) -> Iterator[Vm]:
        return (vm for vm in vms if not draft.fleet.is_silent(vm.host))

    wakes: list[WakeOrdered | BootOrdered] = []
    boots: list[WakeOrdered | BootOrdered] = []

    def rouse(most: int) -> None:
        awake = {one.vm for one in wakes}
        paused = (vm for vm in fitting(places.sleepers(pool, "quiesced", shun)) if vm.name not in awake)
        for vm in islice(paused, most):
            wakes.append(order.wake(vm, pool, cause, now))
            room.wake(vm.host)
            most -= 1
        saved = (vm for vm in fitting(places.sleepers(pool, "saved", shun)) if vm.name not in awake)
        restored = (vm for vm in saved if room.take_on(vm.host, memory_mib))
        wakes.extend(order.wake(vm, pool, cause, now) for vm in islice(restored, most))

    wakeful = purpose == "serve" and not cold
    if wakeful:
        rouse(places.wakes(pool, count))
    if places.may_boot(pool):
        stopped = answering(fitting(places.vms(pool.name, "stopped")))
        placed = (vm for vm in stopped if room.take_on(vm.host, memory_mib))
        missing = count - len(wakes)
        boots += [order.boot(vm.name, vm.host, pool, cause, purpose, now) for vm in islice(placed, missing)]
        while len(boots) < missing and (host := room.take(pool.placement, memory_mib)) is not None:
            boots.append(order.boot(places.next_name(pool.name), host, pool, cause, purpose, now))
    if wakeful and len(wakes) + len(boots) < count:
        rouse(count - len(wakes) - len(boots))
    return [*order.in_turn(wakes, pool, draft.fleet, draft.org, draft.orders), *boots]
