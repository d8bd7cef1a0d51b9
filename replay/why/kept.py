"""What happens to VMs that are kept for their own sake, in sentences without a full stop."""

from events.drift import DomainDrifted, DomainSettled, VmOomKilled
from events.fact import Fact
from events.keep import (
    VmAdopted,
    VmAdoptFailed,
    VmAdoptRequested,
    VmChangeRequested,
    VmCreated,
    VmCreateRequested,
    VmProtected,
    VmResized,
    VmResizeRequested,
    VmUnprotected,
)
from events.maintenance import (
    MaintenanceBegun,
    MaintenanceCancelled,
    MaintenanceChangeRequested,
    MaintenanceDeclined,
    MaintenanceEnded,
    MaintenanceRequested,
    MaintenanceRescheduled,
    MaintenanceScheduled,
)
from events.vm import VmPlugFailed, VmPlugged, VmRebooted, VmRebootFailed
from events.volume import VolumeGrowFailed, VolumeGrown
from replay.why.disks import of_copy, of_deletion
from schemas.capacity import Size
from schemas.maintenance import Slot


def of_kept(fact: Fact) -> str | None:
    """The sentence of such an event; None for any other."""
    match fact:
        case VmCreateRequested():
            start = ", and started" if fact.start else ""
            return f"{fact.actor} asked that {fact.vm} is made in {fact.org}/{fact.pool} from {fact.image}, {_size(fact.size)}{start}"
        case VmChangeRequested():
            return f"{fact.actor} asked to {fact.change} {fact.vm} ({fact.when}): {fact.reason}"
        case VmResizeRequested():
            wanted = [_size(fact.size)] if fact.size is not None else []
            wanted += [f"a disk of {fact.disk_bytes} bytes"] if fact.disk_bytes is not None else []
            return f"{fact.actor} asked that {fact.vm} has {' and '.join(wanted)} ({fact.when})"
        case VmCreated():
            return f"the name {fact.vm} is given away in {fact.org}/{fact.pool}; {fact.actor} made it from {fact.image}"
        case VmResized():
            return f"{fact.vm} has {_size(fact.size)} from its next boot on; {fact.actor} wanted it"
        case VmProtected():
            return f"nobody deletes {fact.vm} until that is lifted; {fact.actor}: {fact.reason}"
        case VmUnprotected():
            return f"{fact.vm} may be deleted again; {fact.actor}: {fact.reason}"
        case VmPlugged():
            return f"{fact.host} plugged vCPU into {fact.vm}, which has {fact.size.vcpu}"
        case VmPlugFailed():
            return f"{fact.vm} runs on with the vCPU that it had: {fact.code}: {fact.text}"
        case VmRebootFailed():
            return f"{fact.vm} was not rebooted and runs on: {fact.code}: {fact.text}"
        case VmRebooted():
            return f"the guest of {fact.vm} on {fact.host} started anew, which nobody ordered"
        case VolumeGrown():
            return f"the disk of {fact.vm} has {fact.size_bytes} bytes"
        case VolumeGrowFailed():
            return f"the disk of {fact.vm} has {fact.size_bytes} bytes as before: {fact.code}: {fact.text}"
        case VmAdoptRequested():
            return f"{fact.actor} asked to have the domain {fact.domain} on {fact.host} as {fact.vm}: {fact.reason}"
        case VmAdopted():
            return f"the domain on {fact.host} is {fact.domain} now, for {fact.vm}"
        case VmAdoptFailed():
            return f"the domain for {fact.vm} was not taken over: {fact.code}: {fact.text}"
        case DomainDrifted():
            return f"{fact.vm} on {fact.host} is not as it should be ({fact.what}): {fact.found} instead of {fact.expected}"
        case DomainSettled():
            return f"{fact.vm} on {fact.host} is as it should be again ({fact.what})"
        case VmOomKilled():
            return f"the guest of {fact.vm} killed {fact.kills} processes for want of memory: {fact.advice}"
        case _:
            return _of_maintenance(fact) or of_copy(fact) or of_deletion(fact)


def _of_maintenance(fact: Fact) -> str | None:
    match fact:
        case MaintenanceRequested():
            return f"{fact.actor} asked for work on {fact.vm} ({fact.work}): {fact.reason}"
        case MaintenanceChangeRequested():
            return f"{fact.actor} asked to {fact.change} the maintenance of {fact.vm}: {fact.reason}"
        case MaintenanceScheduled():
            return f"{fact.vm} is to be worked on {_slot(fact.entry.slot)}"
        case MaintenanceRescheduled():
            return f"the maintenance of {fact.vm} is {_slot(fact.entry.slot)} now: {fact.code}"
        case MaintenanceCancelled():
            return f"the maintenance of {fact.vm} {_slot(fact.entry.slot)} was cancelled: {fact.code}"
        case MaintenanceBegun():
            return f"the maintenance of {fact.vm} began"
        case MaintenanceEnded():
            return f"the maintenance of {fact.vm} ended: {fact.code}"
        case MaintenanceDeclined():
            return f"the steward declined what was asked for {fact.vm}: {fact.code}: {fact.text}"
        case _:
            return None


def _slot(slot: Slot) -> str:
    return f"from {slot.start:%Y-%m-%d %H:%M} to {slot.end:%H:%M} UTC"


def _size(size: Size) -> str:
    return f"{size.vcpu} vCPU and {size.memory_mib} MiB"
