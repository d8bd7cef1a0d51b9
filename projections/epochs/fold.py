"""The epoch that the ledger is in, and the hosts that were compared with it since that began.

A ledger that was recovered may have lost what admitted the VMs that run now. What it says of a host holds again once the
host's waker has looked at every domain there. That a host is dead or gone holds again once somebody has said it anew: what
was lost may have brought it back.
"""

from typing import Final

from events.envelope import Recorded
from events.fact import Fact
from events.host import HostFenced, HostReconciled, HostRemoved
from events.ledger import LedgerRecovered


class Epochs:
    """How often the ledger was recovered, and what was said of each host since."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {LedgerRecovered, HostReconciled, HostFenced, HostRemoved}
    )

    def __init__(self) -> None:
        self.epoch = 0
        """0 for a ledger that never lost anything."""
        self.recovered_seq = 0
        """Where the epoch began; 0 in the first."""
        self._reconciled: dict[str, int] = {}
        self._ended: dict[str, int] = {}

    def awaits(self, host: str) -> bool:
        """Whether nobody knows yet if the host's domains are what this epoch's ledger says."""
        return self._reconciled.get(host, 0) < self.recovered_seq

    def ended(self, host: str) -> bool:
        """Whether somebody said in this epoch that the host is dead or gone; that it still is, its state says."""
        return self._ended.get(host, 0) > self.recovered_seq

    def apply(self, recorded: Recorded) -> None:
        """The epochs now include the event."""
        match recorded.fact:
            case LedgerRecovered(epoch=epoch):
                self.epoch, self.recovered_seq = epoch, recorded.seq
            case HostReconciled(host=host, recovered_seq=recovered_seq):
                self._reconciled[host] = recovered_seq
            case HostFenced(host=host) | HostRemoved(host=host):
                self._ended[host] = recorded.seq
            case _:
                pass
