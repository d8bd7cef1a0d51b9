"""The epoch that the ledger is in, and the hosts that were compared with it since that began.

A ledger that was recovered may have lost what admitted the VMs that run now. What it says of a host holds again once the
host's waker has looked at every domain there.
"""

from typing import Final

from events.envelope import Recorded
from events.fact import Fact
from events.host import HostReconciled
from events.ledger import LedgerRecovered


class Epochs:
    """How often the ledger was recovered, and what each host's waker has said since."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset({LedgerRecovered, HostReconciled})

    def __init__(self) -> None:
        self.epoch = 0
        """0 for a ledger that never lost anything."""
        self.recovered_seq = 0
        """Where the epoch began; 0 in the first."""
        self._reconciled: dict[str, int] = {}

    def awaits(self, host: str) -> bool:
        """Whether nobody knows yet if the host's domains are what this epoch's ledger says."""
        return self._reconciled.get(host, 0) < self.recovered_seq

    def apply(self, recorded: Recorded) -> None:
        """The epochs now include the event."""
        match recorded.fact:
            case LedgerRecovered(epoch=epoch):
                self.epoch, self.recovered_seq = epoch, recorded.seq
            case HostReconciled(host=host, recovered_seq=recovered_seq):
                self._reconciled[host] = recovered_seq
            case _:
                pass
