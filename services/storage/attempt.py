"""What is being done for one sleep of a VM in this life of storage."""

from dataclasses import dataclass

from projections.fleet.fold import Vm
from services.storage.port import Sleeper


@dataclass(slots=True, eq=False)
class Attempt:
    """The pinning of one VM's disk in one sleep."""

    vm: Vm
    sleeper: Sleeper
    sleep: int
    """The sequence at which it began."""
    touched: bool = False
    """Something was done to the disk."""
    failures: int = 0
