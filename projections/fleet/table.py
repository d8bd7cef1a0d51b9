"""The tables `hosts`, `pools` and `vms`."""

from collections.abc import Iterable

from events.envelope import Recorded
from events.gate import GateDecided
from events.host import HostAdmitted, HostCordoned, HostFenced, HostRegistered, HostRemoved
from events.pool import PoolDefined
from events.vm import VmFoundAwake, VmQuiesced, VmRebootFailed, VmSaved, VmSaveFailed, VmStopped, VmWakeFailed
from projections.fleet.fold import Fleet
from projections.table import ALL, Cell, Key, Table

_HOST_CHANGES = (HostRegistered, HostCordoned, HostAdmitted, HostFenced, HostRemoved)
_FREEING = (VmFoundAwake, VmQuiesced, VmRebootFailed, VmSaved, VmSaveFailed, VmStopped, VmWakeFailed)
"""What changes how much a host carries, and how; of orders the gate's word is enough."""
_BURIALS = (HostFenced, HostRemoved)
"""What changes VMs that the event does not name."""


def _hosts_touched(recorded: Recorded) -> Iterable[Key]:
    """There are few hosts, so that all are written again wherever what they lend may have changed."""
    fact = recorded.fact
    if isinstance(fact, GateDecided):
        return (ALL,) if fact.orders else ()
    return (ALL,) if isinstance(fact, (*_HOST_CHANGES, *_FREEING)) else ()


def _hosts(fleet: Fleet, _: Key) -> Iterable[Key]:
    return [(host,) for host in fleet.hosts]


def _host(fleet: Fleet, key: Key) -> tuple[Cell, ...] | None:
    host = fleet.hosts.get(key[0])
    if host is None or host.state == "removed":
        return None
    return (
        host.name,
        host.uri,
        host.substrate,
        host.memory_mib,
        host.state,
        fleet.awake(host.name),
        fleet.paused(host.name) + fleet.saved(host.name),
        fleet.saved(host.name),
        fleet.free_mib(host.name),
    )


def _pools_touched(recorded: Recorded) -> Iterable[Key]:
    if isinstance(recorded.fact, PoolDefined):
        yield (recorded.fact.org, recorded.fact.pool)


def _pool(fleet: Fleet, key: Key) -> tuple[Cell, ...] | None:
    org, name = key
    pool = fleet.pools.get((org, name))
    if pool is None:
        return None
    return (
        org,
        name,
        pool.size.name,
        pool.size.vcpu,
        pool.size.memory_mib,
        pool.template,
        pool.min_vms,
        pool.max_vms,
        pool.cooldown_seconds,
        pool.drain_seconds,
    )


def _vms_touched(recorded: Recorded) -> Iterable[Key]:
    fact = recorded.fact
    if isinstance(fact, GateDecided):
        return ((fact.org, order.vm) for order in fact.orders)
    if isinstance(fact, _BURIALS):
        return (ALL,)
    vm = getattr(fact, "vm", None)
    return ((fact.org, vm),) if isinstance(vm, str) else ()


def _vms(fleet: Fleet, prefix: Key) -> Iterable[Key]:
    return [key for key in fleet.vms if key[: len(prefix)] == prefix]


def _vm(fleet: Fleet, key: Key) -> tuple[Cell, ...] | None:
    org, name = key
    vm = fleet.vms.get((org, name))
    if vm is None:
        return None
    return (
        org,
        name,
        vm.pool,
        vm.host,
        vm.state,
        vm.size.name,
        vm.size.vcpu,
        vm.size.memory_mib,
        vm.address,
        vm.reservation,
        vm.request,
        vm.boot_id,
        int(vm.alarmed),
        vm.since_seq,
    )


TABLES = (
    Table(
        "hosts",
        Fleet,
        ("host", "uri", "substrate", "memory_mib", "state", "awake", "asleep", "saved", "free_mib"),
        1,
        _hosts_touched,
        _host,
        _hosts,
        takes=frozenset({GateDecided, *_HOST_CHANGES, *_FREEING}),
    ),
    Table(
        "pools",
        Fleet,
        (
            "org",
            "pool",
            "size",
            "vcpu",
            "memory_mib",
            "template",
            "min_vms",
            "max_vms",
            "cooldown_seconds",
            "drain_seconds",
        ),
        2,
        _pools_touched,
        _pool,
        takes=frozenset({PoolDefined}),
    ),
    Table(
        "vms",
        Fleet,
        (
            "org",
            "vm",
            "pool",
            "host",
            "state",
            "size",
            "vcpu",
            "memory_mib",
            "address",
            "reservation",
            "request",
            "boot_id",
            "overdue",
            "since_seq",
        ),
        2,
        _vms_touched,
        _vm,
        _vms,
        takes=Fleet.TAKES - {PoolDefined, HostRegistered, HostCordoned, HostAdmitted},
    ),
)
"""Hosts, pools and VMs; a pool's counts are a query over its VMs."""
