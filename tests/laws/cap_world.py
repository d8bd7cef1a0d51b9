"""The world that the laws of the cap are tried in: what really runs, by orders and proofs alone, beside the folds.

A domain runs from its order until whatever proves that it sleeps, at the latest: an effect that hangs may take hold at
any time before the proof, so the model counts it from the start. What runs on a host that was wrongly declared dead is
a ghost: it runs, and the ledger knows nothing of it until it is found.
"""

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field, fields

from events.breaker import BreakerClosed, BreakerOpened
from events.envelope import Recorded
from events.fact import Fact
from events.freeze import ScalingFrozen, ScalingThawed
from events.gate import BootOrdered, DrainOrdered, WakeOrdered
from events.host import HostAdmitted, HostCordoned, HostFenced, HostRegistered, HostRemoved
from projections.breakers.fold import Breakers
from projections.breakers.known import STALE_GUEST
from projections.contracts.fold import Contracts
from projections.fleet.fold import Fleet
from projections.fleet.known import hangs
from projections.fleet.life import IN_MEMORY, STAYING
from projections.freezes.fold import Freezes
from projections.signals.fold import Signals
from projections.usage.fold import Usage
from schemas.capacity import ENFORCED, NOTHING, Capacity, Size
from schemas.reserve import floor_vms
from services.gate.decide import decide
from services.gate.draft import Decision
from services.gate.saves import Saves
from services.gate.state import Docket, State
from tests import papers
from tests.given import NOW, Past

ORGS = ("acme", "beta")
HOSTS = {"h1": 5000, "h2": 4000}
SIZES = (Size(name="two", vcpu=2, memory_mib=512), Size(name="three", vcpu=3, memory_mib=256))
POOLS = {"acme": ("web", "jobs"), "beta": ("api",)}
QUOTAS = {"acme": 13, "beta": 7}
Key = tuple[str, str]


@dataclass(frozen=True)
class Domain:
    """A domain that runs, or may."""

    host: str
    size: Size
    reservation: str
    stray: bool = False


@dataclass
class Truth:
    """What runs, what runs unknown to the ledger, and how it stands with the hosts and freezes, as told."""

    running: dict[Key, Domain] = field(default_factory=dict[Key, Domain])
    ghosts: dict[Key, Domain] = field(default_factory=dict[Key, Domain])
    hosts: dict[str, str] = field(default_factory=dict[str, str])
    frozen: dict[tuple[str, str | None], dt.datetime] = field(
        default_factory=dict[tuple[str, str | None], dt.datetime]
    )
    tripped: dict[tuple[str, str, str, str], dt.datetime] = field(
        default_factory=dict[tuple[str, str, str, str], dt.datetime]
    )
    """Until when nothing of a pool may start on a host or from a template."""

    def admitted(self, org: str) -> Capacity:
        """What the org has awake because somebody ordered it."""
        sizes = [one.size.compute for (of, _), one in self.running.items() if of == org and not one.stray]
        return sum(sizes, NOTHING)

    def host(self, fact: Fact) -> None:
        """What was said about a host; on a fenced one nothing is known to run any more."""
        match fact:
            case HostRegistered(host=host):
                self.hosts[host] = "ready" if self.hosts.get(host) in {None, "removed"} else self.hosts[host]
            case HostCordoned(host=host):
                self.hosts[host] = "cordoned"
            case HostAdmitted(host=host):
                self.hosts[host] = "ready"
            case HostRemoved(host=host):
                self.hosts[host] = "removed"
                self._heal(host)
            case HostFenced(host=host):
                self.hosts[host] = "fenced"
                self._heal(host)
                for key in [key for key, domain in self.running.items() if domain.host == host]:
                    self.ghosts[key] = self.running.pop(key)
            case BreakerOpened(org=org, pool=pool, scope=scope, name=name, until=until, code=code):
                if code not in STALE_GUEST:  # that of sleepers forbids nothing
                    self.tripped[org, pool, scope, name] = until
            case BreakerClosed(org=org, pool=pool, scope=scope, name=name):
                self.tripped.pop((org, pool, scope, name), None)
            case ScalingFrozen(org=org, pool=pool, until=until):
                self.frozen[org, pool] = until
            case ScalingThawed(org=org, pool=pool, thawed_at=at):
                self.frozen[org, pool] = min(at, self.frozen.get((org, pool), at))
            case _:
                pass

    def _heal(self, host: str) -> None:
        """What comes back behind a host that was declared dead or gone is another machine."""
        self.tripped = {key: until for key, until in self.tripped.items() if key[2:] != ("host", host)}

    def is_tripped(self, org: str, pool: str, scope: str, name: str, now: dt.datetime) -> bool:
        """Whether a breaker of the pool is open there."""
        until = self.tripped.get((org, pool, scope, name))
        return until is not None and now < until

    def is_frozen(self, org: str, pool: str, now: dt.datetime) -> bool:
        """Whether the pool stands still, by itself or with its org."""
        ends = [self.frozen.get((org, which)) for which in (pool, None)]
        return any(end is not None and now < end for end in ends)


def setting() -> Past:
    """Two orgs with signed contracts and three pools, on two hosts that they share."""
    past = Past()
    for org in ORGS:
        past.org = org
        terms = papers.terms(
            org, QUOTAS[org], 4096, valid_until=NOW + dt.timedelta(days=100), allowance_bp=1000
        )
        for fact in papers.past(terms, None, NOW):
            past.happened(fact)
        for number, pool in enumerate(POOLS[org]):
            past.pool(pool, SIZES[number], max_vms=7, cooldown_seconds=5)
    for host, memory_mib in HOSTS.items():
        past.host(host, memory_mib)
    return past


def decided(past: Past, org: str) -> Decision | None:
    """What a gate says about the org now."""
    return decide(org, past.state, now=past.now, gate="g1", state_seq=past.seq)


def refolded(lines: list[Recorded]) -> State:
    """The folds of a gate that begins with nothing but the ledger."""
    state = State()
    for line in lines:
        state.apply(line)
    return state


def contents(state: State) -> list[object]:
    """All that the folds know."""
    return [vars(getattr(state, part.name)) for part in fields(state) if part.name != "epochs"]


def check_growth(past: Past, truth: Truth, org: str, decision: Decision) -> None:
    """At the time it was decided, every start was allowed: signed, valid, no stray, not frozen, on a ready host, in the cap."""
    now = decision.decided.now
    check_floor(past, org, decision)
    starts = [one for one in decision.decided.orders if isinstance(one, WakeOrdered | BootOrdered)]
    if not starts:
        return
    document = past.state.contracts.in_force(org)
    assert document is not None
    assert document.signed.signatures
    assert document.contract.valid_from <= now < document.contract.valid_until
    assert past.state.contracts.due(org, now) is None, "growth by terms that are to be replaced"
    assert not any(domain.stray for (of, _), domain in truth.running.items() if of == org)
    for order in starts:
        assert not truth.is_frozen(org, order.pool, now)
        assert truth.hosts[order.host] == "ready"
        assert not past.fleet.is_silent(order.host), "what is sent there hangs as well"
        assert (org, order.vm) not in truth.running, "a VM that runs is ordered awake"
        assert not truth.is_tripped(org, order.pool, "host", order.host, now)
        if isinstance(order, BootOrdered):
            assert not truth.is_tripped(org, order.pool, "template", order.template, now)
    taken = Counter[str]()
    for order in starts:
        vm = past.fleet.vms.get((org, order.vm))
        if vm is None or vm.state not in IN_MEMORY:
            taken[order.host] += order.size.memory_mib
    for host, memory_mib in taken.items():
        assert memory_mib <= past.fleet.free_mib(host), "what is saved or off takes memory that is there"


def check_floor(past: Past, org: str, decision: Decision) -> None:
    """Nobody brings a pool below its minimum, nor below its warm reserve, in VMs that serve."""
    leaving = Counter(one.pool for one in decision.decided.orders if isinstance(one, DrainOrdered))
    for name, vms in leaving.items():
        pool, contract = past.fleet.pools[org, name], past.usage.contracts.get(org)
        agreed = pool if contract is None else contract.pool(pool)
        forecasting = sum(one.forecast == "on" for (of, _), one in past.fleet.pools.items() if of == org)
        assert len(past.fleet.members(org, name, "serving")) - vms >= floor_vms(contract, agreed, forecasting)


def within(amount: Capacity, limit: Capacity) -> bool:
    """In every dimension that is enforced."""
    return all(amount.of(dimension) <= limit.of(dimension) for dimension in ENFORCED)


def check_totals(usage: Usage, truth: Truth) -> None:
    """Usage is the set of what may run, and its totals are the sums over it."""
    holdings = {key: (one.host, one.size, one.reservation, one.stray) for key, one in usage.holdings.items()}
    assert holdings == {
        key: (one.host, one.size, one.reservation, one.stray) for key, one in truth.running.items()
    }
    for org in ORGS:
        mine = [one for (of, _), one in usage.holdings.items() if of == org]
        for proven, total in ((True, usage.used(org)), (False, usage.reserved(org))):
            assert total == sum((one.size.compute for one in mine if one.proven == proven), NOTHING)
        assert usage.strays(org) == sum(one.stray for one in mine)


def check_fleet(fleet: Fleet, usage: Usage, truth: Truth) -> None:
    """Fleet and usage agree on who is awake and why, and each host's memory and guests are what they are."""
    awake = {key: vm.reservation for key, vm in fleet.vms.items() if vm.reservation is not None}
    assert awake == {key: one.reservation for key, one in usage.holdings.items()}
    for name, host in fleet.hosts.items():
        there = [vm for vm in fleet.vms.values() if vm.host == name]
        assert host.memory_mib == sum(
            vm.size.memory_mib for vm in there if vm.state not in {"stopped", "saved"}
        ) + fleet.free_mib(name)
        assert fleet.awake(name) == sum(vm.reservation is not None for vm in there)
        assert fleet.paused(name) == sum(vm.state in IN_MEMORY for vm in there)
        assert fleet.saved(name) == sum(vm.state == "saved" for vm in there)
        assert host.state == truth.hosts[name]
        assert not fleet.is_silent(name) or any(hangs(vm) for vm in there)
    for org, pools in POOLS.items():
        for pool in pools:
            members = [vm for vm in fleet.vms.values() if (vm.org, vm.pool) == (org, pool)]
            serves = [vm for vm in members if vm.state in STAYING and vm.purpose == "serve"]
            assert fleet.hanging(org, pool) == sum(hangs(vm) for vm in serves)
            assert fleet.staying(org, pool) == len(serves) - fleet.hanging(org, pool)


def check_replay(lines: list[Recorded], decisions: list[Decision]) -> None:
    """From the ledger alone, each decision is made again, word for word, from what it says that it had read."""
    wanted: dict[int, list[Decision]] = {}
    for decision in decisions:
        wanted.setdefault(decision.decided.state_seq, []).append(decision)
    state = State()
    for line in lines:
        state.apply(line)
        for decision in wanted.pop(line.seq, []):
            was = decision.decided
            assert decide(was.org, state, now=was.now, gate=was.gate, state_seq=line.seq) == decision
    assert not wanted


FOLDS = (Docket, Usage, Fleet, Contracts, Freezes, Signals, Breakers, Saves)
