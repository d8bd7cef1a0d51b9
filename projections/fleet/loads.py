"""What each host carries: VMs awake, VMs asleep in its memory, and the memory that both hold."""

from dataclasses import dataclass, field

from projections.fleet.life import IN_MEMORY, State


@dataclass(slots=True)
class Loads:
    """Totals by host in VMs and MiB, kept as VMs change."""

    awake: dict[str, int] = field(default_factory=dict[str, int])
    paused: dict[str, int] = field(default_factory=dict[str, int])
    saved: dict[str, int] = field(default_factory=dict[str, int])
    saving: dict[str, int] = field(default_factory=dict[str, int])
    lent_mib: dict[str, int] = field(default_factory=dict[str, int])

    def charge(self, host: str, state: State, memory_mib: int, sign: int) -> None:
        """One VM more on the host with +1, one fewer with -1; one that is stopped holds nothing there, one that is saved no RAM."""
        if state == "stopped":
            return
        if state == "saved":
            self.saved[host] = self.saved.get(host, 0) + sign
            return
        if state == "saving":
            self.saving[host] = self.saving.get(host, 0) + sign
        counts = self.paused if state in IN_MEMORY else self.awake
        counts[host] = counts.get(host, 0) + sign
        self.lent_mib[host] = self.lent_mib.get(host, 0) + sign * memory_mib
