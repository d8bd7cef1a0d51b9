"""How orders about copies of disks end: which event is the end of which order."""

from typing import Final

from events.copy import CopyDropped, CopyFailed, CopyMade, CopyRestored, CopyRestoreFailed
from events.fact import Fact
from events.gate import CopyOrdered, DropOrdered, Order, RestoreOrdered

ENDS: Final[tuple[tuple[type[Order], type[Fact] | tuple[type[Fact], ...]], ...]] = (
    (CopyOrdered, (CopyMade, CopyFailed)),
    (DropOrdered, CopyDropped),
    (RestoreOrdered, (CopyRestored, CopyRestoreFailed)),
)

FAILURES: Final = CopyFailed | CopyRestoreFailed


def ends_copy(order: Order, fact: Fact) -> bool:
    """Whether an order about a copy has ended with this; never for an order about anything else."""
    return any(
        isinstance(order, kind) and isinstance(fact, end) and getattr(fact, "order", "") == order.id
        for kind, end in ENDS
    )
