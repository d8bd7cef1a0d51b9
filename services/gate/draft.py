"""A decision in the making: what this round has already promised, on top of what the ledger says."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import msgspec

from events.gate import (
    MOST_ANSWERS,
    MOST_BYTES,
    Answer,
    BootOrdered,
    ContractRef,
    DrainCancelled,
    DrainOrdered,
    Evidence,
    GateDecided,
    Order,
    StopOrdered,
    SuspendOrdered,
    WakeOrdered,
)
from projections.fleet.fold import Fleet, Vm
from projections.fleet.life import State
from projections.usage.fold import Usage
from schemas.capacity import ENFORCED, NOTHING, Capacity, Size
from schemas.codes import Code, Outcome
from schemas.contract import Contract
from schemas.pool import Pool
from services.gate.state import Pending


@dataclass(slots=True)
class Draft:
    """The answers and orders of one round, and the view of usage and fleet that includes them.

    Folds take in only what was read from the ledger, so a round that answers several requests keeps its own
    promises here: capacity ordered, VMs taken, pools that grew.
    """

    org: str
    usage: Usage
    fleet: Fleet
    now: dt.datetime
    answers: list[Answer] = field(default_factory=list[Answer])
    orders: list[Order] = field(default_factory=list[Order])
    _bytes: int = 0
    _promised: Capacity = NOTHING
    _taken: set[str] = field(default_factory=set[str])
    _moved: dict[str, int] = field(default_factory=dict[str, int])
    _numbered: dict[str, int] = field(default_factory=dict[str, int])
    _lent_mib: dict[str, int] = field(default_factory=dict[str, int])
    _scaled: set[str] = field(default_factory=set[str])

    @property
    def contract(self) -> Contract | None:
        """The org's contract in force, whether valid at this time or not."""
        return self.usage.contracts.get(self.org)

    def full(self) -> bool:
        """Whether the round should end here and leave the rest to the next."""
        return len(self.answers) >= MOST_ANSWERS or self._bytes > MOST_BYTES // 2

    def staying(self, pool: str) -> int:
        """VMs that serve the pool or soon will, with this round's changes."""
        return self.fleet.staying(self.org, pool) + self._moved.get(pool, 0)

    def vms(self, pool: str, *states: State) -> Iterator[Vm]:
        """The pool's VMs in these states that this round has not given an order yet, the longest there first."""
        members = chain.from_iterable(self.fleet.members(self.org, pool, state) for state in states)
        return (self.fleet.vms[self.org, name] for name in members if name not in self._taken)

    def newest(self, pool: str, state: State) -> Iterator[Vm]:
        """The same, the last to have come first."""
        members = reversed(self.fleet.members(self.org, pool, state))
        return (self.fleet.vms[self.org, name] for name in members if name not in self._taken)

    def evidence(self, contract: Contract, requested: Capacity) -> tuple[Evidence, ...]:
        """The arithmetic in each enforced dimension if `requested` were granted now."""
        used = self.usage.used(self.org)
        reserved = self.usage.reserved(self.org) + self._promised
        limit = contract.limit
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
            for dimension in ENFORCED
        )

    def scaled(self, pool: str) -> bool:
        """Whether a trigger already made this pool grow in this very round."""
        return pool in self._scaled

    def note_scaled(self, pool: str) -> None:
        """A trigger made the pool grow in this round."""
        self._scaled.add(pool)

    def pool_evidence(self, pool: Pool, requested: int) -> Evidence:
        """The pool's own maximum in VMs, if `requested` more were to stay."""
        staying = self.staying(pool.name)
        return Evidence(
            dimension="pool_vms",
            used=staying,
            reserved=0,
            requested=requested,
            projected=staying + requested,
            quota=None,
            limit=pool.max_vms,
        )

    def host_evidence(self, memory_mib: int) -> Evidence:
        """The memory that all hosts lend, if `memory_mib` more were taken; it may be free and lie scattered."""
        lends = sum(host.memory_mib for host in self.fleet.hosts.values())
        used = lends - sum(self._free_mib(host) for host in self.fleet.hosts)
        return Evidence(
            dimension="host_memory_mib",
            used=used,
            reserved=0,
            requested=memory_mib,
            projected=used + memory_mib,
            quota=None,
            limit=lends,
        )

    def room(self) -> "Room":
        """The memory that each host still lends, to plan with; only orders that are given take it."""
        return Room({host: self._free_mib(host) for host in self.fleet.hosts})

    def next_name(self, pool: str) -> str:
        """A VM name that the pool never used."""
        number = max(self.fleet.highest(self.org, pool), self._numbered.get(pool, 0)) + 1
        self._numbered[pool] = number
        return f"{pool}-{number}"

    def grant(
        self,
        pending: Pending,
        code: Code,
        asked: int,
        orders: Sequence[Order],
        *,
        evidence: tuple[Evidence, ...] = (),
    ) -> None:
        """The orders follow from the request: all that it asked for, or what `code` left of it."""
        outcome: Outcome = "admitted" if code == "Granted" else "partial" if orders else "refused"
        self._answer(pending, outcome, code, asked, len(orders), evidence=evidence)
        for order in orders:
            self.order(order)

    def decline(
        self,
        pending: Pending,
        code: Code,
        asked: int,
        *,
        evidence: tuple[Evidence, ...] = (),
        retry_at: dt.datetime | None = None,
    ) -> None:
        """The request is refused; nothing follows from it."""
        self._answer(pending, "refused", code, asked, 0, evidence=evidence, retry_at=retry_at)

    def leave(self, pending: Pending, code: Code, asked: int) -> None:
        """There is nothing to do for the request."""
        self._answer(pending, "unchanged", code, asked, 0)

    def order(self, order: Order) -> None:
        """The order is part of the round, and the round's own view includes it."""
        self.orders.append(order)
        self._bytes += len(msgspec.json.encode(order))
        self._taken.add(order.vm)
        match order:
            case WakeOrdered() | BootOrdered():
                self._promised += order.size.compute
                if isinstance(order, BootOrdered):
                    self._lent_mib[order.host] = self._lent_mib.get(order.host, 0) + order.size.memory_mib
                if order.purpose == "serve":
                    self._moved[order.pool] = self._moved.get(order.pool, 0) + 1
            case DrainCancelled():
                self._moved[order.pool] = self._moved.get(order.pool, 0) + 1
            case DrainOrdered():
                self._moved[order.pool] = self._moved.get(order.pool, 0) - 1
            case SuspendOrdered() | StopOrdered():
                pass

    def has_ordered(self, vm: str) -> bool:
        """Whether this round already gave the VM an order."""
        return vm in self._taken

    def decided(self, *, gate: str, through: int, follows: int, state_seq: int, rules: str) -> GateDecided:
        """The round as the event that is appended on the fence."""
        contract = self.contract
        return GateDecided(
            org=self.org,
            gate=gate,
            through=through,
            follows=follows,
            state_seq=state_seq,
            now=self.now,
            contract=ContractRef(contract.id, contract.version, contract.allowance_bp) if contract else None,
            rules=rules,
            answers=tuple(self.answers),
            orders=tuple(self.orders),
        )

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
            pool=pending.wish.pool,
            outcome=outcome,
            code=code,
            asked=asked,
            granted=granted,
            evidence=evidence,
            retry_at=retry_at,
        )
        self.answers.append(answer)
        self._bytes += len(msgspec.json.encode(answer))

    def _free_mib(self, host: str) -> int:
        return self.fleet.free_mib(host) - self._lent_mib.get(host, 0)


@dataclass(slots=True)
class Room:
    """Memory in MiB that hosts still lend, while orders are planned."""

    free_mib: dict[str, int]

    def take_on(self, host: str, memory_mib: int) -> bool:
        """Whether the host had room, which is then taken."""
        if self.free_mib.get(host, 0) < memory_mib:
            return False
        self.free_mib[host] -= memory_mib
        return True

    def take(self, memory_mib: int) -> str | None:
        """The fullest host that had room, which is then taken, so that others can stay empty."""
        fitting = [(free, host) for host, free in self.free_mib.items() if free >= memory_mib]
        if not fitting:
            return None
        _, host = min(fitting)
        self.free_mib[host] -= memory_mib
        return host


def fits(evidence: tuple[Evidence, ...]) -> bool:
    """Whether every enforced dimension stays within its limit."""
    return all(line.projected <= line.limit for line in evidence)


def room_for(evidence: tuple[Evidence, ...], size: Size) -> int:
    """How many VMs of a size the envelope still has room for, given the evidence of requesting nothing."""
    lines = zip(ENFORCED, evidence, strict=True)
    return min((line.limit - line.projected) // size.compute.of(dimension) for dimension, line in lines)
