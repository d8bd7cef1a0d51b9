"""How much of what pools hold was asleep, and how deep: vCPU times time, whole numbers all the way."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from events.envelope import Recorded
from events.gate import GateDecided
from events.host import HostFenced, HostRemoved
from projections.fleet.fold import Fleet
from projections.fleet.life import IN_MEMORY, State
from replay.figures.span import Span

Key = tuple[str, str]

Depth = Literal["awake", "memory", "disk"]
"""Whether a VM is awake, or sleeps in its host's memory or on disk."""


@dataclass(slots=True)
class Held:
    """One pool's vCPU now, and times the nanoseconds that it was so within the span."""

    since_ns: int
    asleep: int = 0
    on_disk: int = 0
    """Of those asleep."""
    awake: int = 0
    asleep_ns: int = 0
    on_disk_ns: int = 0
    awake_ns: int = 0

    def advance(self, at_ns: int) -> None:
        """Time up to here is accounted for. A clock that steps back adds nothing."""
        passed = max(0, at_ns - self.since_ns)
        self.since_ns += passed
        self.asleep_ns += self.asleep * passed
        self.on_disk_ns += self.on_disk * passed
        self.awake_ns += self.awake * passed

    @property
    def ratio(self) -> Fraction | None:
        """The share that was asleep; None where the pool held nothing."""
        held = self.asleep_ns + self.awake_ns
        return Fraction(self.asleep_ns, held) if held else None


class Idle:
    """Every pool's VMs, asleep or awake, over a span. A VM that is off holds nothing, and is neither."""

    TAKES = Fleet.TAKES

    def __init__(self, span: Span) -> None:
        self.fleet = Fleet()
        self.pools: dict[Key, Held] = {}
        self._span = span
        self._known: dict[Key, tuple[str, Depth, int]] = {}
        """By VM what it counts as: its pool, whether and how it sleeps, and its vCPU."""

    def apply(self, recorded: Recorded) -> None:
        """The fold now includes the event."""
        self.fleet.apply(recorded)
        for key in self._touched(recorded):
            self._look(key, recorded.stored_ns)

    def close(self) -> None:
        """All pools are accounted for up to the end of the span."""
        for held in self.pools.values():
            held.advance(self._span.until_ns)

    def ratio(self) -> Fraction | None:
        """The share over all pools, each weighing what it held; None where none held anything."""
        asleep = sum(held.asleep_ns for held in self.pools.values())
        held = asleep + sum(held.awake_ns for held in self.pools.values())
        return Fraction(asleep, held) if held else None

    def _touched(self, recorded: Recorded) -> Iterable[Key]:
        match recorded.fact:
            case GateDecided(org=org, orders=orders):
                return {(org, order.vm) for order in orders}
            case HostFenced() | HostRemoved():
                return list(self.fleet.vms)  # ends VMs that it does not name
            case fact:
                vm = getattr(fact, "vm", None)
                return ((fact.org, vm),) if isinstance(vm, str) else ()

    def _look(self, key: Key, at_ns: int) -> None:
        vm = self.fleet.vms.get(key)
        present = None if vm is None or vm.state == "stopped" else (vm.pool, _depth(vm.state), vm.size.vcpu)
        former = self._known.get(key)
        if present == former:
            return
        if former is not None:
            del self._known[key]
            self._change(key[0], former, -1, at_ns)
        if present is not None:
            self._known[key] = present
            self._change(key[0], present, +1, at_ns)

    def _change(self, org: str, counted: tuple[str, Depth, int], sign: int, at_ns: int) -> None:
        pool, depth, vcpu = counted
        held = self.pools.get((org, pool))
        if held is None:
            held = self.pools[org, pool] = Held(self._span.from_ns)
        held.advance(at_ns)
        if depth == "awake":
            held.awake += sign * vcpu
        else:
            held.asleep += sign * vcpu
            held.on_disk += sign * vcpu * (depth == "disk")


def _depth(state: State) -> Depth:
    if state == "saved":
        return "disk"
    return "memory" if state in IN_MEMORY else "awake"
