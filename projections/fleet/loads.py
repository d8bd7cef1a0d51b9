"""What each host carries: VMs awake, VMs asleep in its memory, the memory that both hold, and starts that it does not answer.

Beside it, which VMs of a pool are in a state of those that stay and are not there for its demand.
"""

from dataclasses import dataclass, field

from projections.fleet.known import Vm, hangs, is_imaging, is_stock
from projections.fleet.life import IN_MEMORY


@dataclass(slots=True)
class Loads:
    """Totals by host in VMs and MiB, and by pool in VMs, kept as VMs change."""

    awake: dict[str, int] = field(default_factory=dict[str, int])
    paused: dict[str, int] = field(default_factory=dict[str, int])
    saved: dict[str, int] = field(default_factory=dict[str, int])
    saving: dict[str, int] = field(default_factory=dict[str, int])
    lent_mib: dict[str, int] = field(default_factory=dict[str, int])
    imaging_mib: dict[str, int] = field(default_factory=dict[str, int])
    """Memory that goes to disk, or comes from there."""
    stock: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    hanging: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """By pool: VMs that hang and are no stock."""
    _hanging: dict[str, dict[tuple[str, str], int]] = field(
        default_factory=dict[str, dict[tuple[str, str], int]]
    )
    """By host: each VM that hangs, and where in the ledger its start was ordered."""
    _heard: dict[str, int] = field(default_factory=dict[str, int])

    def is_silent(self, host: str) -> bool:
        """Whether a start there is overdue that is newer than anything the host's waker said of how a VM is.

        One guest that hangs makes no host silent: of its neighbours something is heard.
        """
        heard = self._heard.get(host, 0)
        return any(ordered > heard for ordered in self._hanging.get(host, {}).values())

    def hear(self, host: str, seq: int) -> None:
        """The host's waker said that a VM there runs or does not, which only one can whose hypervisor answers it."""
        self._heard[host] = seq

    def charge(self, vm: Vm, sign: int) -> None:
        """One VM more where it is with +1, one fewer with -1; one that is stopped holds nothing there, one that is saved no RAM."""
        host, pool = vm.host, (vm.org, vm.pool)
        if vm.state == "stopped":
            return
        if vm.state == "saved":
            self.saved[host] = self.saved.get(host, 0) + sign
            return
        if vm.state == "saving":
            self.saving[host] = self.saving.get(host, 0) + sign
        counts = self.paused if vm.state in IN_MEMORY else self.awake
        counts[host] = counts.get(host, 0) + sign
        self.lent_mib[host] = self.lent_mib.get(host, 0) + sign * vm.size.memory_mib
        if is_imaging(vm):
            self.imaging_mib[host] = self.imaging_mib.get(host, 0) + sign * vm.size.memory_mib
        if is_stock(vm):
            self.stock[pool] = self.stock.get(pool, 0) + sign
        elif hangs(vm):
            self.hanging[pool] = self.hanging.get(pool, 0) + sign
        if hangs(vm):
            self._hang(vm, sign)

    def _hang(self, vm: Vm, sign: int) -> None:
        there = self._hanging.setdefault(vm.host, {})
        if sign > 0:
            there[vm.org, vm.name] = vm.since_seq
        else:
            del there[vm.org, vm.name]
        if not there:
            del self._hanging[vm.host]
