"""What was asked that may be refused, who asked for it and when, in the words of a mail to the org's owner."""

import datetime as dt

from events.copy import CopyDue, CopyRequested, RestoreRequested
from events.deletion import DeletionCancelRequested
from events.keep import VmAdoptRequested, VmChangeRequested, VmCreateRequested, VmResizeRequested
from events.maintenance import MaintenanceBegun
from events.quiesce import QuiesceRequested
from events.scale import Sample, ScaleRequested
from events.stock import StockRequested

OfPool = ScaleRequested | QuiesceRequested | StockRequested
"""Requests to have more or fewer VMs of a pool."""

OfVm = (
    VmCreateRequested
    | VmAdoptRequested
    | VmChangeRequested
    | VmResizeRequested
    | MaintenanceBegun
    | CopyRequested
    | CopyDue
    | RestoreRequested
    | DeletionCancelRequested
)
"""Requests about one VM that is kept for its own sake, for which the contract may have no room."""

Wish = OfPool | OfVm


def matter(wish: Wish | None) -> str | None:
    """What was asked for one VM, such as `the start of db`; None where it was asked of a pool, or nobody knows."""
    match wish:
        case VmCreateRequested(vm=vm) | VmAdoptRequested(vm=vm):
            return f"the new VM {vm}"
        case VmChangeRequested(vm=vm, change=change):
            return f"the {change} of {vm}"
        case VmResizeRequested(vm=vm):
            return f"the resize of {vm}"
        case MaintenanceBegun(vm=vm):
            return f"the announced reboot of {vm}"
        case CopyRequested(vm=vm, kind=kind, copy=copy):
            return f"the {kind} {copy} of {vm}"
        case CopyDue(vm=vm, night=night):
            return f"the backup of {vm} for the night of {night.isoformat()}"
        case RestoreRequested(vm=vm, copy=copy, into=into):
            return f"the new VM {into} from {copy} of {vm}" if into else f"the restore of {vm} from {copy}"
        case DeletionCancelRequested(vm=vm):
            return f"the start of {vm}, whose deletion was to be taken back"
        case _:
            return None


def asker(wish: Wish | None) -> str:
    """Who asked: a publisher, or the worker by which the pool's own terms ask."""
    match wish:
        case None:
            return "unknown"
        case CopyDue():
            return "storage (nightly)"
        case MaintenanceBegun():
            return "steward (announced)"
        case _:
            return wish.publisher


def sample_of(wish: Wish | None) -> Sample | None:
    """The measurement for which a trigger asked; None where nobody measured anything."""
    return wish.sample if isinstance(wish, ScaleRequested | QuiesceRequested) else None


def asked_at(wish: Wish) -> dt.datetime:
    """When it was asked, by the clock of who took it."""
    match wish:
        case CopyDue(due_at=at) | MaintenanceBegun(begun_at=at):
            return at
        case _:
            return wish.received_at
