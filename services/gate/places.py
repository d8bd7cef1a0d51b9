"""Where an org's VMs are and can go while a round is planned: what the ledger says, and what the round has promised since."""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

from events.gate import BootOrdered, Evidence, Order, SaveOrdered, WakeOrdered
from projections.breakers.fold import Breakers
from projections.fleet import life
from projections.fleet.fold import Fleet, Vm
from projections.leases.fold import Leases
from schemas.pool import Pool
from services.gate import placement


@dataclass(slots=True)
class Places:
    """The org's VMs, apart from those that the round has given an order already, and the hosts with what it planned there."""

    org: str
    fleet: Fleet
    breakers: Breakers
    leases: Leases
    now: dt.datetime
    _taken: set[str] = field(default_factory=set[str])
    _numbered: dict[str, int] = field(default_factory=dict[str, int])
    _lent_mib: dict[str, int] = field(default_factory=dict[str, int])
    _begun: dict[str, int] = field(default_factory=dict[str, int])
    _saving: dict[str, int] = field(default_factory=dict[str, int])

    def note(self, order: Order) -> None:
        """The order is part of the round. One that wakes a paused VM takes no memory of its host: the VM holds it already."""
        self._taken.add(order.vm)
        if isinstance(order, SaveOrdered):
            self._saving[order.host] = self._saving.get(order.host, 0) + 1
        if not isinstance(order, WakeOrdered | BootOrdered):
            return
        self._begun[order.host] = self._begun.get(order.host, 0) + 1
        known = self.fleet.vms.get((self.org, order.vm))
        if known is None or known.state not in life.IN_MEMORY:
            self._lent_mib[order.host] = self._lent_mib.get(order.host, 0) + order.size.memory_mib

    def has_ordered(self, vm: str) -> bool:
        """Whether this round already gave the VM an order."""
        return vm in self._taken

    # ----------------------------------------------------------------------------------------------------------- VMs

    def vms(self, pool: str, *states: life.State) -> Iterator[Vm]:
        """The pool's VMs in these states that this round has not given an order yet, the longest there first."""
        members = chain.from_iterable(self.fleet.members(self.org, pool, state) for state in states)
        return (self.fleet.vms[self.org, name] for name in members if name not in self._taken)

    def sleepers(self, pool: Pool, depth: Literal["quiesced", "saved"], shun: str = "") -> Iterator[Vm]:
        """The pool's VMs that sleep so, on hosts that may wake them, in the order in which they should be woken.

        A host that is on trial after failures, and the one to `shun`, come last.
        """
        by_host = self.fleet.by_host(self.org, pool.name, depth)
        loads = placement.to_wake(pool.placement, self._loads(by_host, pool.name, shun))
        if pool.placement == "fill":
            return chain.from_iterable(self._on(by_host[load.host]) for load in loads)
        return chain.from_iterable(
            placement.level(
                [(load.awake, self._on(by_host[load.host])) for load in loads if load.last is last]
            )
            for last in (False, True)
        )

    def leavers(self, pool: Pool) -> Iterator[Vm]:
        """The pool's serving VMs in the order in which they should leave: from a host that is to be emptied first."""
        by_host = self.fleet.by_host(self.org, pool.name, "serving")
        hosts = placement.to_empty(self._loads(by_host))
        return chain.from_iterable(self._on(reversed(by_host[host])) for host in hosts)

    def deepening(self, pool: Pool) -> Iterator[Vm]:
        """The pool's paused VMs in the order in which they should be saved: those first that would be woken last.

        So whole hosts come to be empty of RAM, and what stays paused is where the next wakes go. On one host whoever slept
        longest goes first: VMs are alike, and its disk snapshot had the most time to be taken.
        """
        by_host = self.fleet.by_host(self.org, pool.name, "quiesced")
        loads = self._loads(by_host)
        woken = [load.host for load in placement.to_wake(pool.placement, loads)]
        idle = [load.host for load in loads if load.host not in woken]
        return chain.from_iterable(self._on(by_host[host]) for host in (*sorted(idle), *reversed(woken)))

    def saving(self, host: str) -> int:
        """VMs of any org that are being saved on the host, with those that this round orders."""
        return self.fleet.saving(host) + self._saving.get(host, 0)

    def next_name(self, pool: str) -> str:
        """A VM name that the pool never used."""
        number = max(self.fleet.highest(self.org, pool), self._numbered.get(pool, 0)) + 1
        while self._is_taken(f"{pool}-{number}"):  # behind a stranger with the highest number
            number += 1
        self._numbered[pool] = number
        return f"{pool}-{number}"

    def _is_taken(self, name: str) -> bool:
        return (self.org, name) in self.fleet.vms or self.leases.holds_name(self.org, name)

    # --------------------------------------------------------------------------------------------------------- hosts

    def room(self, pool: str, shun: str = "") -> placement.Room:
        """The memory that each ready host still lends, to plan with; only orders that are given take it."""
        return placement.Room(load for load in self._loads(self.fleet.hosts, pool, shun) if load.ready)

    def tripped(self, pool: Pool) -> dt.datetime | None:
        """When the first of the breakers ends without which more of the pool would start; None where that is none's doing.

        A breaker of a host that is full holds nothing back, nor does one of a template where all hosts are. That of the pool's sleepers
        never does: new VMs come instead.
        """
        hosts = [name for name, host in self.fleet.hosts.items() if host.state == "ready"]
        answering = [name for name in hosts if not self.fleet.is_silent(name)]
        roomy = {name for name in answering if self._free_mib(name) >= pool.size.memory_mib}
        asleep = self.fleet.by_host(self.org, pool.name, "quiesced")
        ends = [
            self.breakers.until(self.org, pool.name, "host", name, self.now)
            for name in answering
            if name in roomy or name in asleep
        ]
        if roomy:
            ends.append(self.breakers.until(self.org, pool.name, "template", pool.template, self.now))
        return min((end for end in ends if end is not None and self.now < end), default=None)

    def untaken_until(self, pool: Pool) -> dt.datetime | None:
        """Until when nobody starts to serve the pool, since the load balancer took none of those before; None where it may."""
        until = self.breakers.until(self.org, pool.name, "balancer", pool.name, self.now)
        return until if until is not None and self.now < until else None

    def may_boot(self, pool: Pool) -> bool:
        """Whether no breaker of the pool's template is open."""
        until = self.breakers.until(self.org, pool.name, "template", pool.template, self.now)
        return until is None or self.now >= until

    def wakes(self, pool: Pool, count: int) -> int:
        """How many of `count` sleepers should be woken, others being booted: one to try where those before woke unfit to serve, none
        while that breaker is open.
        """
        until = self.breakers.until(self.org, pool.name, "sleepers", pool.template, self.now)
        return count if until is None else 0 if self.now < until else min(1, count)

    def host_evidence(self, memory_mib: int) -> Evidence:
        """The memory that the ready hosts lend which answer, if `memory_mib` more were taken; it may be free and lie scattered."""
        ready = [host for host in self.fleet.hosts.values() if host.state == "ready"]
        ready = [host for host in ready if not self.fleet.is_silent(host.name)]
        lends = sum(host.memory_mib for host in ready)
        used = max(0, lends - sum(self._free_mib(host.name) for host in ready))
        return Evidence(
            dimension="host_memory_mib",
            used=used,
            reserved=0,
            requested=memory_mib,
            projected=used + memory_mib,
            quota=None,
            limit=lends,
        )

    def _on(self, names: Iterable[str]) -> Iterator[Vm]:
        return (self.fleet.vms[self.org, name] for name in names if name not in self._taken)

    def _loads(self, hosts: Iterable[str], pool: str = "", shun: str = "") -> list[placement.Load]:
        """What each host carries; for a `pool` that is to start VMs there, one behind an open breaker is not ready."""
        return [self._load(host, pool, shun) for host in hosts]

    def _load(self, host: str, pool: str, shun: str) -> placement.Load:
        known = self.fleet.hosts.get(host)
        until = self.breakers.until(self.org, pool, "host", host, self.now) if pool else None
        return placement.Load(
            host=host,
            ready=known is not None and known.state == "ready" and (until is None or self.now >= until),
            awake=self.fleet.awake(host) + self._begun.get(host, 0),
            free_mib=self._free_mib(host) if known is not None else 0,
            last=until is not None or host == shun,
            silent=bool(pool) and self.fleet.is_silent(host),
        )

    def _free_mib(self, host: str) -> int:
        return self.fleet.free_mib(host) - self._lent_mib.get(host, 0)
