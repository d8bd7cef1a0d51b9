"""What happens to disks of kept VMs and to what is copied of them, and how VMs are deleted, in sentences without a full stop."""

from events.copy import (
    CopyDropped,
    CopyDropRequested,
    CopyDue,
    CopyFailed,
    CopyMade,
    CopyRequested,
    CopyRestored,
    CopyRestoreFailed,
    RestoreRequested,
)
from events.deletion import (
    BackupsErased,
    DeletionBegun,
    DeletionCancelled,
    DeletionCancelRequested,
    DeletionCompleted,
    DeletionDue,
    DeletionRequested,
    DeletionScheduled,
    EraseFailed,
    SilenceEnded,
    SilenceFailed,
    SilenceSet,
    VmUndefined,
    VolumeErased,
)
from events.drift import VolumeDrifted, VolumeSettled
from events.fact import Fact
from events.gate import AdoptOrdered, CopyOrdered, DropOrdered, EraseOrdered, RestoreOrdered
from events.volume import VolumeAdopted, VolumeAdoptFailed
from schemas.deletion import said


def of_disk(order: CopyOrdered | DropOrdered | RestoreOrdered | EraseOrdered | AdoptOrdered) -> str:
    """What such an order says."""
    match order:
        case CopyOrdered():
            return f"make the {order.kind} {order.copy} of {order.vm}, which counts {order.size_bytes} bytes"
        case DropOrdered():
            return f"drop the {order.kind} {order.copy} of {order.vm} ({order.cause})"
        case RestoreOrdered():
            return f"give {order.vm} the disk that the {order.kind} {order.copy} of {order.of} holds"
        case EraseOrdered():
            return f"erase the {order.what} of {order.vm}"
        case AdoptOrdered():
            return f"take over the domain {order.domain} on {order.host} as {order.vm}"


def of_copy(fact: Fact) -> str | None:
    """The sentence of an event about a copy or a disk; None for any other."""
    match fact:
        case CopyRequested():
            return f"{fact.actor} asked for the {fact.kind} {fact.copy} of {fact.vm}: {fact.reason}"
        case CopyDue():
            return f"a backup of {fact.vm} was due for the night of {fact.night}, as {fact.copy}"
        case CopyDropRequested():
            return f"{fact.actor} asked to drop {fact.copy} of {fact.vm}: {fact.reason}"
        case RestoreRequested():
            into = f"a new VM {fact.into}" if fact.into is not None else "itself"
            return f"{fact.actor} asked to restore {fact.copy} of {fact.vm} into {into}: {fact.reason}"
        case CopyMade():
            return (
                f"the {fact.kind} {fact.copy} of {fact.vm} was made: {fact.size_bytes} bytes at {fact.place}"
            )
        case CopyFailed():
            return f"the {fact.kind} {fact.copy} of {fact.vm} was not made: {fact.code}: {fact.text}"
        case CopyDropped():
            return f"the {fact.kind} {fact.copy} of {fact.vm} is gone ({fact.cause})"
        case CopyRestored():
            return f"the disk of {fact.vm} is as {fact.copy} of {fact.of} was"
        case CopyRestoreFailed():
            return f"{fact.copy} of {fact.of} was not restored into {fact.vm}: {fact.code}: {fact.text}"
        case VolumeAdopted():
            return f"the disk {fact.former} is that of {fact.vm}, at {fact.volume}"
        case VolumeAdoptFailed():
            return f"the disk for {fact.vm} was not taken over: {fact.code}: {fact.text}"
        case VolumeDrifted():
            return f"the disk of {fact.vm} on {fact.host} is not as it should be ({fact.what}): {fact.found} instead of {fact.expected}"
        case VolumeSettled():
            return f"the disk of {fact.vm} on {fact.host} is as it should be again ({fact.what})"
        case _:
            return None


def of_deletion(fact: Fact) -> str | None:
    """The sentence of an event about a deletion; None for any other."""
    match fact:
        case DeletionRequested():
            return f"{fact.actor} asked to delete {fact.vm} on {fact.day}: {fact.reason}"
        case DeletionCancelRequested():
            return f"{fact.actor} asked to keep {fact.vm} after all: {fact.reason}"
        case DeletionScheduled():
            return f"{fact.vm} will be deleted: {said(fact.schedule)}"
        case DeletionDue():
            return f"the stage {fact.stage} of the deletion of {fact.vm} was due (attempt {fact.attempt})"
        case DeletionBegun():
            return f"the stage {fact.stage} of the deletion of {fact.vm} began"
        case DeletionCompleted():
            return f"the stage {fact.stage} of the deletion of {fact.vm} is complete"
        case DeletionCancelled():
            return f"{fact.vm} is not deleted; {fact.actor}: {fact.reason}"
        case SilenceSet():
            return f"alerts of {fact.vm} are silenced from {fact.starts_at:%Y-%m-%d %H:%M} UTC on"
        case SilenceEnded():
            return f"alerts of {fact.vm} sound again"
        case SilenceFailed():
            return f"alerts of {fact.vm} could not be silenced: {fact.code}: {fact.text}"
        case VmUndefined():
            return f"the domain of {fact.vm} is gone from {fact.host}"
        case VolumeErased():
            return f"the disk of {fact.vm} is erased, with {fact.snapshots} snapshots"
        case BackupsErased():
            return f"no backup of {fact.vm} is left; {fact.backups} were erased"
        case EraseFailed():
            return f"what is left of {fact.vm} could not be erased yet: {fact.code}: {fact.text}"
        case _:
            return None
