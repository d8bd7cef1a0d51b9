"""VMs in every order that somebody looks for them: by pool and state, by host, under an order, in need of the gate."""

from dataclasses import dataclass, field

from projections.fleet.known import Vm, awaits_gate, number, place
from projections.fleet.life import INDEXED, UNDER_ORDER, State
from projections.fleet.loads import Loads

Key = tuple[str, str]
"""Org and VM, or org and pool."""


@dataclass(slots=True)
class Roster:
    """Each VM in the indexes it belongs to; whoever changes one puts it anew."""

    vms: dict[Key, Vm] = field(default_factory=dict[Key, Vm])
    members: dict[Key, dict[State, dict[str, None]]] = field(
        default_factory=dict[Key, dict[State, dict[str, None]]]
    )
    """Names by pool and state."""
    attention: dict[str, dict[str, None]] = field(default_factory=dict[str, dict[str, None]])
    """Names by org of those whose next step is the gate's to order."""
    highest: dict[Key, int] = field(default_factory=dict[Key, int])
    """The highest number that a VM of the pool ever had."""
    on_host: dict[tuple[str, str, State], dict[str, dict[str, None]]] = field(
        default_factory=dict[tuple[str, str, State], dict[str, dict[str, None]]]
    )
    under_order: dict[Key, None] = field(default_factory=dict[Key, None])
    loads: Loads = field(default_factory=Loads)

    def put(self, vm: Vm) -> None:
        """The VM replaces its former self in every index."""
        key = (vm.org, vm.name)
        former = self.vms.get(key)
        self.vms[key] = vm
        if former is not None and place(former) == place(vm):
            return
        states = self.members.setdefault((vm.org, vm.pool), {})
        if former is None or former.state != vm.state:
            if former is not None:
                del states[former.state][vm.name]
            states.setdefault(vm.state, {})[vm.name] = None
        if former is None or (former.state, former.host) != (vm.state, vm.host):
            self._leave_host(former)
            if vm.state in INDEXED:
                names = self.on_host.setdefault((vm.org, vm.pool, vm.state), {})
                names.setdefault(vm.host, {})[vm.name] = None
        if former is None:
            pool = (vm.org, vm.pool)
            self.highest[pool] = max(number(vm.name), self.highest.get(pool, 0))
        if former is not None:
            self.loads.charge(former, -1)
        self.loads.charge(vm, +1)
        if vm.state in UNDER_ORDER:
            self.under_order[key] = None
        else:
            self.under_order.pop(key, None)
        self._heed(vm, waits=awaits_gate(vm))

    def forget(self, key: Key) -> None:
        """There is no such VM in any index; safe to repeat."""
        vm = self.vms.pop(key, None)
        if vm is None:
            return
        del self.members[vm.org, vm.pool][vm.state][vm.name]
        self._leave_host(vm)
        self.loads.charge(vm, -1)
        self.under_order.pop(key, None)
        self._heed(vm, waits=False)

    def _heed(self, vm: Vm, *, waits: bool) -> None:
        waiting = self.attention.setdefault(vm.org, {})
        if waits:
            waiting[vm.name] = None
        else:
            waiting.pop(vm.name, None)
        if not waiting:
            del self.attention[vm.org]

    def _leave_host(self, former: Vm | None) -> None:
        if former is not None and former.state in INDEXED:
            names = self.on_host[former.org, former.pool, former.state]
            del names[former.host][former.name]
            if not names[former.host]:
                del names[former.host]
