"""The rules of storage: which VM wants a disk, which sleeper wants its disk pinned, and what comes next on it.

Pure. Why a disk is pinned at all: so that there is a state to go back to, and to copy, that no guest is writing to just then.
"""

from typing import Final, Literal

from events.gate import BootOrdered
from projections.fleet.fold import Vm
from projections.fleet.life import IN_MEMORY
from projections.volumes.fold import Disk
from schemas.volume import in_cluster
from services.storage.port import Look

Move = Literal["wait", "give-up", "join", "pin", "tell", "refuse"]
"""`wait`: it wakes without our having touched the disk in this life; `tell`: it is pinned, and nobody has said so."""

MOST_ATTEMPTS: Final = 3
"""Of a call that the host refuses; a host that cannot be reached is waited for."""

MOST_LAYERS: Final = 2


def wants_volume(vm: Vm | None, disk: Disk | None, order: BootOrdered | None, settled: str | None) -> bool:
    """Whether a volume is to be there for the order: it holds, nothing runs under it yet, and none was made for it.

    One that the ledger knows is looked after as well, for the directory it lies in may be gone. `settled` is the latest order for
    which none could be made, or one was found: an order is not tried twice.
    """
    if vm is None or order is None or vm.reservation != order.id or vm.proven:
        return False
    return settled != order.id and (disk is None or disk.host != order.host or disk.order != order.id)


def wants_pin(vm: Vm | None, disk: Disk | None) -> bool:
    """Whether the VM sleeps in its host's memory, and of this sleep nobody has said yet whether its disk is pinned.

    A disk in Ceph is snapshotted, and never pinned.
    """
    return (
        vm is not None
        and disk is not None
        and not in_cluster(disk.volume)
        and vm.state in IN_MEMORY
        and vm.domain is not None
        and vm.asleep_since is not None
        and vm.host == disk.host
        and vm.asleep_since > disk.settled
    )


def sleeps_still(vm: Vm | None, asleep_since: int) -> bool:
    """Whether it is the very sleep that began at this sequence, in the host's memory."""
    return vm is not None and vm.state in IN_MEMORY and vm.asleep_since == asleep_since


def move(look: Look, asleep_since: int) -> Move:
    """What comes next on the disk of a VM that the ledger says has been asleep since that sequence."""
    if look.standing != "paused":
        return "give-up"
    if look.pinned == asleep_since:
        return "tell"
    if look.layers > MOST_LAYERS or look.layers == 0:
        return "refuse"
    return "join" if look.layers == MOST_LAYERS else "pin"
