"""How much was awake for how long: whole nanoseconds times whole amounts, so that hours and euros can be exact.

A VM counts from the decision that reserves it to the proof that it does not run, which is what the gate counts against
the contract (`projections/usage`). What is measured is therefore never less than what was in use.
"""

import datetime as dt
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from events.envelope import Recorded
from events.gate import GateDecided, Rise
from events.host import HostFenced
from projections.usage.fold import Holding, Usage

HOUR_NS: Final = 3600 * 10**9

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

Key = tuple[str, str]
"""An org and a VM, or an org and a pool."""


def ns_of(moment: dt.datetime) -> int:
    """The instant in Unix nanoseconds, exact to the microsecond that it names."""
    return (moment - _EPOCH) // dt.timedelta(microseconds=1) * 1000


def moment_of(ns: int) -> dt.datetime:
    """Unix nanoseconds as an instant, rounded down to the microsecond."""
    return _EPOCH + dt.timedelta(microseconds=ns // 1000)


def hours(amount_ns: int) -> Fraction:
    """An amount times nanoseconds as that amount times hours: exact, and never a float."""
    return Fraction(amount_ns, HOUR_NS)


def rounded(value: Fraction, digits: int) -> str:
    """The number with so many digits behind the point, half to even: what people and programs are shown of it."""
    scaled = round(value * 10**digits)
    sign, whole = "-" if scaled < 0 else "", abs(scaled)
    return f"{sign}{whole // 10**digits}.{whole % 10**digits:0{digits}}" if digits else f"{sign}{whole}"


@dataclass(slots=True)
class Spent:
    """VMs, vCPU and MiB that count now, and each times the nanoseconds that it has counted so far."""

    since_ns: int
    vms: int = 0
    vcpu: int = 0
    memory_mib: int = 0
    vm_ns: int = 0
    vcpu_ns: int = 0
    memory_mib_ns: int = 0

    def advance(self, at_ns: int) -> None:
        """The time up to this instant is accounted for. A clock that steps back adds nothing."""
        passed = max(0, at_ns - self.since_ns)
        self.since_ns += passed
        self.vm_ns += self.vms * passed
        self.vcpu_ns += self.vcpu * passed
        self.memory_mib_ns += self.memory_mib * passed

    def change(self, holding: Holding, sign: int) -> None:
        """One VM more with +1, one fewer with -1."""
        self.vms += sign
        self.vcpu += sign * holding.size.vcpu
        self.memory_mib += sign * holding.size.memory_mib


class Meter:
    """What every pool had awake, integrated from an instant on; told after each event that may have changed it."""

    def __init__(self, usage: Usage, at_ns: int) -> None:
        self.pools: dict[Key, Spent] = {}
        self._began_ns = at_ns
        self._known: dict[Key, Holding] = {}
        for key in usage.holdings:
            self._look(usage, key, at_ns)

    def note(self, usage: Usage, recorded: Recorded, at_ns: int) -> None:
        """Usage includes the event, which was stored at this instant."""
        for key in self._touched(usage, recorded):
            self._look(usage, key, at_ns)

    def advance(self, at_ns: int) -> None:
        """Every pool is accounted for up to this instant."""
        for spent in self.pools.values():
            spent.advance(at_ns)

    def _touched(self, usage: Usage, recorded: Recorded) -> Iterable[Key]:
        match recorded.fact:
            case GateDecided(org=org, orders=orders):
                return ((org, one.vm) for one in orders if isinstance(one, Rise))
            case HostFenced():
                return [*self._known, *usage.holdings]  # releases VMs that it does not name
            case fact:
                vm = getattr(fact, "vm", None)
                return ((fact.org, vm),) if isinstance(vm, str) else ()

    def _look(self, usage: Usage, key: Key, at_ns: int) -> None:
        former, held = self._known.get(key), usage.holdings.get(key)
        if former is held or (former is not None and held is not None and _same(former, held)):
            return
        if former is not None:
            self._change(key[0], former, -1, at_ns)
            del self._known[key]
        if held is not None:
            self._change(key[0], held, +1, at_ns)
            self._known[key] = held

    def _change(self, org: str, holding: Holding, sign: int, at_ns: int) -> None:
        spent = self.pools.get((org, holding.pool))
        if spent is None:
            spent = self.pools[org, holding.pool] = Spent(self._began_ns)
        spent.advance(at_ns)
        spent.change(holding, sign)


def _same(former: Holding, held: Holding) -> bool:
    """Whether the VM counts as it did: that it was proven awake in between changes no amount."""
    return (former.pool, former.size) == (held.pool, held.size)


def of_org(pools: dict[Key, Spent], org: str) -> Iterator[Spent]:
    """The org's pools."""
    return (spent for (whose, _), spent in pools.items() if whose == org)
