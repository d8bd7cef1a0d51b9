"""What was tried for one order, so that each attempt knows of those before it."""

from dataclasses import dataclass
from typing import Final

from events.gate import Rise
from projections.fleet.fold import Vm
from services.waker.outcomes import How
from services.waker.port import DomainState, HypervisorError

MOST_WORDS: Final = 500
"""Characters of an error that go into the ledger; QEMU's own words may be pages."""


@dataclass(slots=True)
class Tries:
    """What was tried for one order in this life of the waker."""

    order: str | None = None
    attempts: int = 0
    error: HypervisorError | None = None
    ran: bool = False
    """The hypervisor said, after the first attempt, that the domain runs: an order awakens once."""
    how: How | None = None
    """What was tried last, where its answer may be silence."""
    given_up: bool = False
    lacking_mib: int = 0
    """What the host lacked for the boot: then nothing was tried."""
    detail: str = ""
    """The hypervisor's last word for why the domain does not run."""
    cold: bool = False
    """The domain has to be started, from its image or from nothing: that takes seconds, and slots of its own."""
    lands_by: float | None = None
    """A start was asked for in time and not answered; until then, by the loop's time, only its end counts."""

    def begin(self, order: str) -> None:
        """The count is this order's own."""
        if self.order != order:
            self.order, self.attempts, self.error, self.how = order, 0, None, None
            self.ran, self.given_up, self.detail, self.lacking_mib = False, False, "", 0
            self.cold, self.lands_by = False, None

    def may_land(self, now: float) -> bool:
        """Whether a start that was asked for in time may still be under way."""
        return self.lands_by is not None and now <= self.lands_by

    def ends(self, error: HypervisorError, before: float | None) -> None:
        """A start was answered so: a refusal says nothing of the one `before`, and with a connection each call on it ends."""
        if error.lost:
            self.lands_by = None
        elif not error.silent:
            self.lands_by = before

    def hear(self, state: DomainState, detail: str) -> None:
        """The hypervisor said this of the domain while the order was tried."""
        if state != "running":
            self.detail = detail
        elif self.attempts > 0:
            self.ran = True


def why(vm: Vm, order: Rise, tries: Tries) -> str:
    """Why the VM does not run under its order, as a sentence for the ledger."""
    if tries.lacking_mib:
        return (
            f"Host {vm.host} lacks {tries.lacking_mib} of the {vm.size.memory_mib} MiB that {vm.org}/{vm.name} needs: orders "
            "that stand before this one in the ledger have them. Nothing was started; ask again, and the gate places it anew."
        )
    if tries.error is None:
        return f"The order to wake {vm.org}/{vm.name} could not begin by {order.begin_by:%H:%M:%S} UTC; nothing was tried."
    return (
        f"{vm.org}/{vm.name} did not wake on host {vm.host} in {tries.attempts} attempts: {str(tries.error)[:MOST_WORDS]} "
        "It is proven not to run, and its capacity is free."
    )
