"""Adoptions under way, folded from the ledger: whose turn it is to do something about the former domain or its disk."""

from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from events.envelope import Recorded
from events.fact import Fact
from events.fences import Fences
from events.gate import AdoptOrdered, GateDecided
from events.keep import VmAdopted, VmAdoptFailed
from events.volume import VolumeAdopted, VolumeAdoptFailed

Turn = Literal["take", "retire", "return"]
"""Storage takes the disk; the waker undefines the former domain; or, where it may not, storage gives the disk back."""


class Adoption(msgspec.Struct, frozen=True):
    """One adoption that has not ended."""

    org: str
    order: AdoptOrdered
    turn: Turn = "take"
    volume: str | None = None
    """Where the disk lies since storage took it."""
    trouble: str | None = None
    """Why the disk is given back."""


class Adoptions:
    """Adoptions that have not ended, by org and VM.

    One that failed ends when the disk lies where it lay: until then storage has something to do, and the VM's name is not free.
    """

    TAKES: Final[frozenset[type[Fact]]] = frozenset(
        {GateDecided, VolumeAdopted, VolumeAdoptFailed, VmAdopted, VmAdoptFailed}
    )

    def __init__(self) -> None:
        self.open: dict[tuple[str, str], Adoption] = {}
        self._fences = Fences()

    def turn(self, org: str, vm: str, turn: Turn) -> Adoption | None:
        """The VM's adoption, where it is at this turn."""
        known = self.open.get((org, vm))
        return known if known is not None and known.turn == turn else None

    def apply(self, recorded: Recorded) -> None:
        """The adoptions now include the event; an outcome that names another order changes nothing."""
        match recorded.fact:
            case GateDecided(org=org, orders=orders) as decided:
                if self._fences.pass_on(recorded, decided):
                    for order in orders:
                        if isinstance(order, AdoptOrdered):
                            self.open[org, order.vm] = Adoption(org, order)
            case VolumeAdopted(org=org, vm=vm, order=order, volume=volume):
                if (known := self._known(org, vm, order)) is not None and known.turn == "take":
                    self.open[org, vm] = replace(known, turn="retire", volume=volume)
            case VmAdoptFailed(org=org, vm=vm, order=order, text=text):
                if (known := self._known(org, vm, order)) is not None:
                    if known.turn == "take":
                        del self.open[org, vm]
                    else:
                        self.open[org, vm] = replace(known, turn="return", trouble=text)
            case VmAdopted(org=org, vm=vm, order=order) | VolumeAdoptFailed(org=org, vm=vm, order=order):
                if self._known(org, vm, order) is not None:
                    del self.open[org, vm]
            case _:
                pass

    def _known(self, org: str, vm: str, order: str) -> Adoption | None:
        known = self.open.get((org, vm))
        return known if known is not None and known.order.id == order else None
