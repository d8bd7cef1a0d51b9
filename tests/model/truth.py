"""What really runs, reckoned beside the folds and without them, and the laws over every prefix of every ledger.

A domain runs from the order that starts it until the first proof that it does not: an effect may take hold at any time
in between. Whatever stands in the ledger as the gate's decision is taken at its word, also one that the folds
would not believe: the fence alone must do.
"""

from dataclasses import dataclass, replace
from typing import Literal

from events.contract import ContractTookEffect
from events.fact import Fact
from events.freeze import ScalingFrozen, ScalingThawed
from events.gate import BootOrdered, DrainOrdered, GateDecided, Order, WakeOrdered
from events.host import HostAdmitted, HostFenced
from events.vm import VmQuiesced, VmStopped, VmWakeFailed
from tests.model.tidings import TOLD_AGAIN, Ending, outcomes

Law = Literal["cap", "once", "counted", "asleep", "still", "endless"]
"""No more runs than the envelope; each request has one answer; usage counts what runs and nothing else; who runs is
not ordered awake; nothing moves while scaling is frozen; and a ledger comes to an end."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A law does not hold; the sentence says where."""

    law: Law
    sentence: str


@dataclass(frozen=True, slots=True)
class Domain:
    """A VM that runs, or may: since which order, and how much it takes."""

    vm: str
    host: str
    reservation: str
    vcpu: int
    memory_mib: int


@dataclass(frozen=True, slots=True)
class Open:
    """An order whose outcome is still to come, or the part of it that was not told yet."""

    order: Order
    rest: tuple[Fact, ...] = ()

    def ways(self, endings: tuple[Ending, ...]) -> list[tuple[Fact, ...]]:
        """Each way in which it can go on from here."""
        return [self.rest] if self.rest else outcomes(self.order, endings)


@dataclass(frozen=True, slots=True)
class Truth:
    """The world as it is after a prefix of the ledger."""

    running: tuple[Domain, ...] = ()
    answered: frozenset[int] = frozenset()
    """Sequences of requests that have their answer."""
    open: tuple[Open, ...] = ()
    told: tuple[Fact, ...] = ()
    """Outcomes that may be told a second time."""
    in_force: bool = False
    """There is a contract; without one nothing may run."""
    frozen: bool = False
    dead: frozenset[str] = frozenset()
    """Hosts that somebody declared dead: nothing runs there, and no order starts anything there."""

    def ruled(self, fact: Fact) -> "Truth":
        """The fact took effect together with a decision."""
        match fact:
            case ContractTookEffect():
                return replace(self, in_force=True)
            case ScalingFrozen():
                return replace(self, frozen=True)
            case ScalingThawed():
                return replace(self, frozen=False)
            case HostFenced(host=host):
                running = tuple(one for one in self.running if one.host != host)
                return replace(self, running=running, dead=self.dead | {host})
            case HostAdmitted(host=host):
                return replace(self, dead=self.dead - {host})
            case _:
                return self

    def decided(self, decided: GateDecided, seq: int) -> tuple["Truth", list[Broken]]:
        """What the decision orders begins to run."""
        broken: list[Broken] = []
        running, answered = self.running, set(self.answered)
        for answer in decided.answers:
            if answer.request_seq in answered:
                broken.append(Broken("once", f"request #{answer.request_seq} has a second answer at #{seq}"))
            answered.add(answer.request_seq)
        void = [
            order
            for order in decided.orders
            if isinstance(order, WakeOrdered | BootOrdered) and order.host in self.dead
        ]
        orders = [order for order in decided.orders if order not in void]
        for order in orders:
            if self.frozen and isinstance(order, WakeOrdered | BootOrdered | DrainOrdered):
                broken.append(Broken("still", f"{order.vm} is moved at #{seq}, and scaling is frozen"))
            if isinstance(order, WakeOrdered | BootOrdered):
                if any(one.vm == order.vm for one in running):
                    broken.append(Broken("asleep", f"{order.vm} runs and is ordered awake at #{seq}"))
                domain = Domain(order.vm, order.host, order.id, order.size.vcpu, order.size.memory_mib)
                running = (*(one for one in running if one.vm != order.vm), domain)
        after = replace(
            self, running=running, answered=frozenset(answered), open=(*self.open, *map(Open, orders))
        )
        return after, broken

    def told_first(self, fact: Fact) -> "Truth":
        """The outcome is true, and is told for the first time."""
        running = self.running
        if isinstance(fact, VmWakeFailed | VmQuiesced | VmStopped):
            running = tuple(
                one for one in running if (one.vm, one.reservation) != (fact.vm, fact.reservation)
            )
        told = (*self.told, fact) if isinstance(fact, TOLD_AGAIN) else self.told
        return replace(self, running=running, told=told)

    def went_on(self, at: int, rest: tuple[Fact, ...]) -> "Truth":
        """The open order in this place has had its outcome, but for the rest."""
        left = (Open(self.open[at].order, rest),) if rest else ()
        return replace(self, open=(*self.open[:at], *left, *self.open[at + 1 :]))

    def holdings(self) -> set[tuple[str, str, int, int]]:
        """What usage must count, VM by VM."""
        return {(one.vm, one.reservation, one.vcpu, one.memory_mib) for one in self.running}

    def past(self, vcpu: int, memory_mib: int, seq: int) -> list[Broken]:
        """Whether more runs than these two limits allow."""
        if not self.in_force:
            vcpu = memory_mib = 0
        used_vcpu = sum(one.vcpu for one in self.running)
        used_mib = sum(one.memory_mib for one in self.running)
        if used_vcpu <= vcpu and used_mib <= memory_mib:
            return []
        names = ", ".join(sorted(one.vm for one in self.running))
        return [
            Broken(
                "cap",
                f"{used_vcpu} vCPU and {used_mib} MiB run at #{seq} ({names}), past {vcpu} and {memory_mib}",
            )
        ]
