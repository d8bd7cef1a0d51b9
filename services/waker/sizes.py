"""With what size each VM was started, or runs since more was plugged in, whatever was found since."""

from events.envelope import Recorded
from events.fences import Fences
from events.gate import BootOrdered, GateDecided, RebootOrdered, WakeOrdered
from events.vm import VmFoundAwake, VmPlugged, VmRebootFailed
from schemas.capacity import Size


class Sizes:
    """The size of each VM's latest life by its order, beside that life's reservation.

    The fleet has the size that was found where that is another, for that is what counts; here is what it should be.
    """

    def __init__(self) -> None:
        self._of: dict[tuple[str, str], tuple[str, Size]] = {}
        self._fences = Fences()

    def ordered(self, org: str, vm: str, reservation: str | None) -> Size | None:
        """The size under this reservation, or that of the latest one where it has none; None where nobody said."""
        known = self._of.get((org, vm))
        return known[1] if known is not None and reservation in {None, known[0]} else None

    def apply(self, recorded: Recorded) -> None:
        """The sizes now include the event."""
        match recorded.fact:
            case GateDecided(org=org, orders=orders) as decided:
                if self._fences.pass_on(recorded, decided):
                    for order in orders:
                        if isinstance(order, WakeOrdered | BootOrdered | RebootOrdered):
                            self._of[org, order.vm] = order.id, order.size
            case VmFoundAwake(org=org, vm=vm, reservation=reservation, size=size):
                self._of[org, vm] = reservation, size
            case (
                VmPlugged(org=org, vm=vm, reservation=reservation, size=size)
                | VmRebootFailed(org=org, vm=vm, reservation=reservation, size=size)
            ):
                if self.ordered(org, vm, reservation) is not None:
                    self._of[org, vm] = reservation, size
            case _:
                pass
