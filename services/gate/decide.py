"""The rules of the gate: what is admitted, what is refused, and what is ordered.

Pure: the same folds, requests and time give the same decision, which is what makes a replay an answer.
A request to grow (`growing.py`) meets, in this order: a freeze, the contract, hosts that the recovered ledger does not know yet,
strays of the org, the age of its signal, the pool's cooldown, the envelope, the pool's own maximum, the size of a decision,
breakers, and the memory of the hosts. All or nothing, unless it says `up_to`. One to shrink, or to sleep deeper, is answered in
`resting.py`. One about a single VM that is kept for its own sake is answered in `living.py`, about copies of its disk in `copying.py`,
about its deletion in `deleting.py`, about a domain that is to become one in `adopting.py`. Requests that change what is decided by
(documents, keys, freezes, hosts, permissions) are answered in `rulings.py`.
"""

import datetime as dt
from collections.abc import Container, Iterable
from itertools import islice
from typing import Final

from msgspec.structs import replace

from events.copy import CopyDropRequested, CopyDue, CopyRequested, RestoreRequested
from events.deletion import DeletionCancelRequested, DeletionDue, DeletionRequested
from events.keep import VmAdoptRequested, VmChangeRequested, VmCreateRequested, VmResizeRequested
from events.maintenance import MaintenanceBegun
from events.pool import PoolDefined
from events.quiesce import QuiesceRequested
from events.save import SaveRequested
from events.scale import ScaleRequested
from events.stock import StockRequested
from schemas.pool import Pool
from services.gate import copying, deleting, living
from services.gate import orders as order
from services.gate.adopting import adopt
from services.gate.draft import MOST_MOVES, Decision, Draft
from services.gate.growing import grow, grown, replace_failed, stock
from services.gate.resting import save, save_further, saves_in, shrink
from services.gate.rulings import ripen, rule
from services.gate.state import OfOne, Pending, Scaling, State

RULES: Final = "2026-11-22.12"
"""The version of these rules; every decision carries it."""

_MOST_SWITCHED: Final = 16
"""Breakers that one round opens or closes: each is an event of the same atomic batch."""


def decide(org: str, state: State, *, now: dt.datetime, gate: str, state_seq: int) -> Decision | None:
    """One round for one org: each waiting request answered in ledger order, and each VM's next step ordered.

    None when there is nothing to say. `through` covers exactly the requests that were answered. An addendum whose day
    has come takes effect in a round of its own, and so does a breaker that opens or closes, before anything else is decided.
    """
    draft = Draft(org, state, now)
    through = draft.docket.through(org)
    ripen(draft)
    if not draft.facts:
        draft.facts.extend(islice(draft.state.breakers.due(org, now), _MOST_SWITCHED))
    if not draft.facts:
        replace_failed(draft)
    for pending in draft.docket.pending(org):
        if draft.full() or _better_later(draft, pending):
            break
        if not _answer(draft, pending):
            break
        through = pending.seq
    if not draft.facts:
        _order_next_steps(draft)
        save_further(draft)
    if not (draft.facts or draft.answers or draft.orders):
        return None
    return draft.decided(gate=gate, through=through, state_seq=state_seq, rules=RULES)


def define(  # noqa: PLR0917 - what a decision is made from
    org: str,
    pools: Iterable[Pool],
    state: State,
    now: dt.datetime,
    gate: str,
    state_seq: int,
    unsaid: Container[str] = (),
) -> Decision | None:
    """A round that defines the org's pools as they are given here; None when they are.

    Of two definitions of one pool the first holds: each in turn would be a fact without end. Of the pools that are `unsaid`, the
    file does not say how woken guests are refreshed: those that are not refreshed stay so, or the first start after an upgrade
    would have every sleeper without an agent wake unfit.
    """
    draft = Draft(org, state, now)
    wanted: dict[str, Pool] = {}
    for pool in pools:
        known = state.fleet.pools.get((org, pool.name))
        bare = pool.name in unsaid and known is not None and known.refresh == "none"
        wanted.setdefault(pool.name, replace(pool, refresh="none") if bare else pool)
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

    What changes the rules has a round of its own, or an answer or order by the old ones would count under the new, and so has what
    is asked for one VM. VMs that this round sends away can come back in the next one. And a decision stays within its bound.
    """
    wish = pending.wish
    if not isinstance(wish, Scaling):
        return bool(draft.answers or draft.orders)
    if isinstance(wish, ScaleRequested) and draft.is_draining(wish.pool):
        return True
    begun = bool(draft.answers or draft.orders)
    return begun and not draft.has_place(min(_moves(draft, wish), MOST_MOVES))


def _answer(draft: Draft, pending: Pending) -> bool:
    """The request is answered; or not yet, where a moment from now more can be granted."""
    wish = pending.wish
    if isinstance(wish, OfOne):
        _attend(draft, pending, wish)
        return True
    if not isinstance(wish, Scaling):
        rule(draft, pending, wish)
        return True
    pool = draft.pool(wish.pool)
    if pool is None or pool.kind == "kept":
        draft.decline(pending, "PoolUnknown" if pool is None else "PoolKeeps", _asked(wish))
        return True
    freeze = draft.frozen(pool.name)
    if freeze is not None:
        draft.decline(pending, "Frozen", _asked(wish), retry_at=freeze.until)
        return True
    match wish:
        case ScaleRequested():
            return grow(draft, pending, pool, wish)
        case QuiesceRequested():
            shrink(draft, pending, pool, wish)
        case StockRequested():
            stock(draft, pending, pool, wish)
        case SaveRequested():
            save(draft, pending, pool, wish)
    return True


def _attend(draft: Draft, pending: Pending, wish: OfOne) -> None:
    """What was asked about one VM that is kept for its own sake; a freeze holds scaling, and nobody's own VM."""
    match wish:
        case VmCreateRequested():
            living.create(draft, pending, wish)
        case VmAdoptRequested():
            adopt(draft, pending, wish)
        case VmChangeRequested():
            living.change(draft, pending, wish)
        case VmResizeRequested():
            living.resize(draft, pending, wish)
        case MaintenanceBegun():
            living.begin(draft, pending, wish)
        case CopyRequested() | CopyDue():
            copying.copy(draft, pending, wish)
        case CopyDropRequested():
            copying.drop(draft, pending, wish)
        case RestoreRequested():
            copying.restore(draft, pending, wish)
        case DeletionRequested():
            deleting.schedule(draft, pending, wish)
        case DeletionCancelRequested():
            deleting.cancel(draft, pending, wish)
        case DeletionDue():
            deleting.begin(draft, pending, wish)


def _asked(wish: Scaling) -> int:
    """VMs that the request names."""
    match wish:
        case ScaleRequested(add=add, want=want):
            return add if add is not None else want or 0
        case QuiesceRequested(count=vms) | StockRequested(vms=vms):
            return vms
        case SaveRequested():
            return 0


def _moves(draft: Draft, wish: Scaling) -> int:
    """How many orders may follow from the request."""
    match wish:
        case ScaleRequested():
            return grown(draft, wish)
        case SaveRequested():
            return saves_in(draft, wish)
        case _:
            return _asked(wish)


def _order_next_steps(draft: Draft) -> None:
    """A drained VM sleeps, so does prepared stock and what nobody ordered awake; one that never answered stops."""
    for vm in draft.fleet.attention(draft.org):
        if draft.full():
            return
        if not draft.places.has_ordered(vm.name):
            draft.order(order.stop(vm) if vm.state == "unready" else order.suspend(vm))
