"""A decision in the making: what this round has already promised, on top of what the ledger says."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from events.fact import Fact
from events.gate import (
    MOST_ANSWERS,
    MOST_BYTES,
    Answer,
    BootOrdered,
    ContractRef,
    CopyOrdered,
    DrainCancelled,
    DrainOrdered,
    Evidence,
    GateDecided,
    GrowOrdered,
    Order,
    PlugOrdered,
    RebootOrdered,
    WakeOrdered,
)
from events.quiesce import QuiesceRequested
from events.scale import ScaleRequested
from projections.contracts.fold import Contracts
from projections.fleet.fold import Fleet, Host
from projections.freezes.fold import Freeze
from projections.usage.fold import Usage
from schemas.capacity import ENFORCED, NOTHING, STORED, Capacity, Size
from schemas.codes import Code, Outcome
from schemas.contract.terms import Contract
from schemas.pool import Pool
from schemas.reserve import floor_vms
from services.gate.places import Places
from services.gate.state import Docket, Pending, State

MOST_MOVES: Final = 64
"""VMs that one request may move: half a decision of 48 KB, at some 330 bytes for each order."""

_ORDER_BYTES: Final = 520
"""The longest order, one that boots, has 501 bytes where every name in it is as long as it may be."""

_ANSWER_BYTES: Final = 2_000
"""An answer with its lines of evidence, and what else a decision says."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What one round says: the decision, and facts that are stored with it or not at all.

    Facts change what later decisions are made from. A round that has any orders nothing, but for the VM that one is about.
    """

    facts: tuple[Fact, ...]
    decided: GateDecided


@dataclass(slots=True)
class Draft:
    """The answers and orders of one round, and the view of usage and fleet that includes them.

    Folds take in only what was read from the ledger, so a round that answers several requests keeps its own
    promises here: capacity ordered, VMs taken, pools that grew.
    """

    org: str
    state: State
    now: dt.datetime
    places: Places = field(init=False)
    facts: list[Fact] = field(default_factory=list[Fact])
    answers: list[Answer] = field(default_factory=list[Answer])
    orders: list[Order] = field(default_factory=list[Order])
    _bytes: int = 0
    _promised: Capacity = NOTHING
    _moved: dict[str, int] = field(default_factory=dict[str, int])
    _booted: dict[str, int] = field(default_factory=dict[str, int])
    _changed: set[str] = field(default_factory=set[str])
    _scaled: set[str] = field(default_factory=set[str])
    _draining: set[str] = field(default_factory=set[str])
    _slept: dict[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        self.places = Places(self.org, self.state.fleet, self.state.breakers, self.state.leases, self.now)

    @property
    def docket(self) -> Docket:
        """Requests and fences, without this round."""
        return self.state.docket

    @property
    def usage(self) -> Usage:
        """What counts against the contract, without this round."""
        return self.state.usage

    @property
    def fleet(self) -> Fleet:
        """Pools, VMs and hosts, without this round."""
        return self.state.fleet

    @property
    def contracts(self) -> Contracts:
        """Documents and keys, without this round."""
        return self.state.contracts

    @property
    def contract(self) -> Contract | None:
        """The org's contract in force, whether valid at this time or not."""
        return self.usage.contracts.get(self.org)

    def pool(self, name: str) -> Pool | None:
        """The pool as it is defined, with the numbers that the contract sets for it."""
        pool, contract = self.fleet.pools.get((self.org, name)), self.contract
        return contract.pool(pool) if pool is not None and contract is not None else pool

    def frozen(self, pool: str) -> Freeze | None:
        """What holds the pool still at this time."""
        return self.state.freezes.over(self.org, pool, self.now)

    def reconciling(self) -> bool:
        """Whether VMs may run that the ledger lost: it was recovered, and a host that may carry some was not looked at since.

        A host that is in no event which is left is not waited for: nobody here knows of it before its waker registers it.
        """
        return self.state.epochs.epoch > 0 and any(self.awaits(host) for host in self.fleet.hosts.values())

    def awaits(self, host: Host) -> bool:
        """Whether nobody knows what runs on the host since the ledger was recovered.

        One that is cordoned may carry VMs. One that is fenced or removed carries none if that was said since; what was
        said before, a lost event may have taken back.
        """
        epochs = self.state.epochs
        over = host.state in {"fenced", "removed"} and epochs.ended(host.name)
        return epochs.awaits(host.name) and not over

    def full(self) -> bool:
        """Whether the round should end here and leave the rest to the next, which sees what this one changes."""
        return bool(self.facts) or len(self.answers) >= MOST_ANSWERS or self._bytes > MOST_BYTES // 2

    def has_place(self, moves: int) -> bool:
        """Whether one more answer with so many orders keeps the decision below its bound, however long their names."""
        return self._bytes + _ANSWER_BYTES + moves * _ORDER_BYTES < MOST_BYTES

    def is_draining(self, pool: str) -> bool:
        """Whether this round sends VMs of the pool away, which the next one could have back."""
        return pool in self._draining

    def floor(self, pool: Pool) -> int:
        """Below how many VMs nobody may bring the pool: its minimum, or its warm reserve."""
        return floor_vms(self.contract, pool, self.fleet.forecasting(self.org))

    def is_lost(self, pool: str) -> bool:
        """Whether the pool's measurements are lost, so that nobody knows what it has to carry."""
        return self.state.signals.lost(self.org, pool)

    def staying(self, pool: str) -> int:
        """VMs that serve the pool or soon will, with this round's changes."""
        return self.fleet.staying(self.org, pool) + self._moved.get(pool, 0)

    def kept(self, pool: str) -> int:
        """VMs that the pool has, asleep or awake, with those that this round boots; one that is off must be booted first."""
        off = len(self.fleet.members(self.org, pool, "stopped"))
        return self.fleet.total(self.org, pool) - off + self._booted.get(pool, 0)

    def evidence(self, contract: Contract, requested: Capacity) -> tuple[Evidence, ...]:
        """The arithmetic in each enforced dimension if `requested` were granted now."""
        stored = self.usage.stored(self.org) + self.state.copies.stored(self.org)
        used = self.usage.used(self.org) + Capacity(block_bytes=stored)
        reserved = self.usage.reserved(self.org) + self._promised
        limit = contract.limit
        dimensions = (*ENFORCED, *STORED) if requested.block_bytes else ENFORCED
        return tuple(
            Evidence(
                dimension=dimension,
                used=used.of(dimension),
                reserved=reserved.of(dimension),
                requested=requested.of(dimension),
                projected=used.of(dimension) + reserved.of(dimension) + requested.of(dimension),
                quota=contract.quota.of(dimension),
                limit=limit.of(dimension),
            )
            for dimension in dimensions
        )

    def moved(self, pool: str) -> bool:
        """Whether this very round already made the pool grow or shrink, whoever asked."""
        return pool in self._changed

    def slept(self, pool: str) -> int:
        """VMs of the pool that a forecast sends to sleep in this very round."""
        return self._slept.get(pool, 0)

    def scaled(self, pool: str) -> bool:
        """Whether a trigger already made this pool grow in this very round."""
        return pool in self._scaled

    def note_scaled(self, pool: str) -> None:
        """A trigger made the pool grow in this round."""
        self._scaled.add(pool)

    def pool_evidence(self, pool: Pool, requested: int) -> Evidence:
        """The pool's own maximum in VMs, if `requested` more were to stay; what hangs may come all the same, and counts."""
        staying = self.staying(pool.name) + self.fleet.hanging(self.org, pool.name)
        return Evidence(
            dimension="pool_vms",
            used=staying,
            reserved=0,
            requested=requested,
            projected=staying + requested,
            quota=None,
            limit=pool.max_vms,
        )

    def grant(
        self,
        pending: Pending,
        code: Code,
        asked: int,
        orders: Sequence[Order],
        *,
        granted: int | None = None,
        evidence: tuple[Evidence, ...] = (),
        retry_at: dt.datetime | None = None,
    ) -> None:
        """The orders follow from the request: all that it asked for, or what `code` left of it.

        Where later rounds order the rest, more VMs are `granted` than this one orders.
        """
        moved = len(orders) if granted is None else granted
        outcome: Outcome = "admitted" if code == "Granted" else "partial" if moved else "refused"
        self._answer(pending, outcome, code, asked, moved, evidence=evidence, retry_at=retry_at)
        for order in orders:
            self.order(order)
            match pending.wish:
                case ScaleRequested():
                    self._changed.add(order.pool)
                case QuiesceRequested(origin=origin):
                    self._changed.add(order.pool)
                    self._slept[order.pool] = self._slept.get(order.pool, 0) + (origin == "forecast")
                case _:
                    pass

    def decline(
        self,
        pending: Pending,
        code: Code,
        asked: int = 1,
        *,
        evidence: tuple[Evidence, ...] = (),
        retry_at: dt.datetime | None = None,
    ) -> None:
        """The request is refused; nothing follows from it. It asked for so many VMs, or for something about one."""
        self._answer(pending, "refused", code, asked, 0, evidence=evidence, retry_at=retry_at)

    def leave(
        self, pending: Pending, code: Code, asked: int = 1, *, evidence: tuple[Evidence, ...] = ()
    ) -> None:
        """There is nothing to do for the request."""
        self._answer(pending, "unchanged", code, asked, 0, evidence=evidence)

    def rule(
        self, pending: Pending, code: Code, facts: Sequence[Fact], *, evidence: tuple[Evidence, ...] = ()
    ) -> None:
        """The request is granted by facts that hold from here on; the round ends with it, and nothing came before it."""
        assert not self.answers, "an answer by the former rules"
        assert not self.orders, "an order by the former rules"
        self._answer(pending, "admitted", code, 0, 0, evidence=evidence)
        self.facts.extend(facts)

    def do(
        self,
        pending: Pending,
        code: Code,
        facts: Sequence[Fact],
        orders: Sequence[Order],
        *,
        evidence: tuple[Evidence, ...] = (),
    ) -> None:
        """The request about one VM is granted: by facts that hold from here on, by orders, or by being noted.

        Such a request has a round of its own, so that nothing else is decided by what it changes.
        """
        self._answer(pending, "admitted", code, 1, 1, evidence=evidence)
        self.facts.extend(facts)
        for order in orders:
            self.order(order)

    def order(self, order: Order) -> None:
        """The order is part of the round, and the round's own view includes it."""
        self.orders.append(order)
        self._bytes += len(msgspec.json.encode(order))
        self.places.note(order)
        match order:
            case WakeOrdered() | BootOrdered():
                self._promised += order.size.compute
                if isinstance(order, BootOrdered):
                    self._booted[order.pool] = self._booted.get(order.pool, 0) + 1
                if order.purpose == "serve":
                    self._moved[order.pool] = self._moved.get(order.pool, 0) + 1
            case DrainCancelled():
                self._moved[order.pool] = self._moved.get(order.pool, 0) + 1
            case DrainOrdered():
                self._draining.add(order.pool)
                self._moved[order.pool] = self._moved.get(order.pool, 0) - 1
            case RebootOrdered() | PlugOrdered():
                self._promised += self._added(order)
            case GrowOrdered():
                self._promised += Capacity(
                    block_bytes=order.size_bytes - self.usage.disk_bytes(self.org, order.vm)
                )
            case CopyOrdered():
                self._promised += Capacity(block_bytes=order.size_bytes)
            case _:
                pass  # it adds nothing that counts

    def _added(self, order: RebootOrdered | PlugOrdered) -> Capacity:
        """What the VM counts more than it does already; a smaller one counts as it did until it is so."""
        known = self.usage.holdings[self.org, order.vm].size
        return order.size.larger(known).compute - known.compute

    def decided(self, *, gate: str, through: int, state_seq: int, rules: str) -> Decision:
        """The round as what is appended on the fence."""
        contract = self.contract
        decided = GateDecided(
            org=self.org,
            gate=gate,
            through=through,
            follows=self.docket.fence_seq(self.org),
            state_seq=state_seq,
            now=self.now,
            contract=ContractRef(contract.id, contract.version, contract.allowance_bp) if contract else None,
            rules=rules,
            answers=tuple(self.answers),
            orders=tuple(self.orders),
        )
        return Decision(tuple(self.facts), decided)

    def _answer(
        self,
        pending: Pending,
        outcome: Outcome,
        code: Code,
        asked: int,
        granted: int,
        *,
        evidence: tuple[Evidence, ...] = (),
        retry_at: dt.datetime | None = None,
    ) -> None:
        answer = Answer(
            request=pending.id,
            request_seq=pending.seq,
            pool=_pool_of(pending),
            outcome=outcome,
            code=code,
            asked=asked,
            granted=granted,
            evidence=evidence,
            retry_at=retry_at,
        )
        self.answers.append(answer)
        self._bytes += len(msgspec.json.encode(answer))


def _pool_of(pending: Pending) -> str | None:
    """The pool that the request is about; None where it is about a whole org or a host."""
    pool: str | None = getattr(pending.wish, "pool", None)
    return pool


def fits(evidence: tuple[Evidence, ...]) -> bool:
    """Whether every enforced dimension stays within its limit."""
    return all(line.projected <= line.limit for line in evidence)


def room_for(evidence: tuple[Evidence, ...], size: Size) -> int:
    """How many VMs of a size the envelope still has room for, given the evidence of requesting nothing."""
    lines = zip(ENFORCED, evidence, strict=True)
    return min((line.limit - line.projected) // size.compute.of(dimension) for dimension, line in lines)
