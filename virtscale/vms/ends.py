"""How orders about copies of disks, and about domains that are adopted, end: which event is the end of which order."""

from typing import Final

from events.copy import CopyDropped, CopyFailed, CopyMade, CopyRestored, CopyRestoreFailed
from events.fact import Fact
from events.gate import AdoptOrdered, CopyOrdered, DropOrdered, Order, RestoreOrdered
from events.keep import VmAdopted, VmAdoptFailed
from events.volume import VolumeAdoptFailed

ENDS: Final[tuple[tuple[type[Order], type[Fact] | tuple[type[Fact], ...]], ...]] = (
    (CopyOrdered, (CopyMade, CopyFailed)),
    (DropOrdered, CopyDropped),
    (RestoreOrdered, (CopyRestored, CopyRestoreFailed)),
    (AdoptOrdered, (VmAdopted, VmAdoptFailed, VolumeAdoptFailed)),
)

FAILURES: Final = CopyFailed | CopyRestoreFailed | VmAdoptFailed | VolumeAdoptFailed


def ends_copy(order: Order, fact: Fact) -> bool:
    """Whether an order about a copy or an adoption has ended with this; never for an order about anything else."""
    return any(
        isinstance(order, kind) and isinstance(fact, end) and getattr(fact, "order", "") == order.id
        for kind, end in ENDS
    )
