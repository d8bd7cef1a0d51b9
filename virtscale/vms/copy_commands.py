"""The commands `virtscale vm snapshot`, `backup`, `copies`, `drop` and `restore`."""

from typing import Annotated

from cyclopts import App, Parameter

from schemas.copy import CopyKind
from schemas.names import is_name
from schemas.vm_intake import CopyVm, DropCopy, RestoreVm
from virtscale.ask import new_key
from virtscale.freezes.commands import Actor, Reason
from virtscale.freezes.standing import actor_of, checked
from virtscale.invocation import Deadline, Output, UsageError, here, present_house
from virtscale.show import Format
from virtscale.vms.named import vm_name, vm_of

Vm = Annotated[str, Parameter(help="a VM as ORG/NAME", name="VM")]
Copy = Annotated[str, Parameter(help="a snapshot or backup of it, by its name", name="COPY")]
Name = Annotated[
    str, Parameter(help="what the copy is called among the VM's; a name is given to it if absent")
]


def register(app: App) -> None:
    """The commands are part of the group."""
    for command in (snapshot, backup, copies, drop, restore):
        app.command(command)


def snapshot(
    vm: Vm,
    /,
    *,
    name: Name = "",
    reason: Reason = "asked for by hand",
    actor: Actor = None,
    deadline: Deadline = 120.0,
    output: Output = "table",
) -> int:
    """Keep a VM's disk as it is now, beside the disk; the VM may run. The oldest goes when there are more than its pool keeps."""
    return _copy(vm, "snapshot", name, reason, actor, deadline, output)


def backup(
    vm: Vm,
    /,
    *,
    name: Name = "",
    reason: Reason = "asked for by hand",
    actor: Actor = None,
    deadline: Deadline = 3900.0,
    output: Output = "table",
) -> int:
    """Copy a VM's disk as it is now into a file of its own, which outlives the disk; the VM may run."""
    return _copy(vm, "backup", name, reason, actor, deadline, output)


def copies(
    vm: Annotated[
        str, Parameter(help="a VM as ORG/NAME; how old each VM's backup is if absent", name="VM")
    ] = "",
    /,
    *,
    org: Annotated[str, Parameter(help="VMs of this org alone", name="--org")] = "",
    output: Output = "table",
) -> int:
    """A VM's snapshots and backups with age, size and state; or of each VM how many it has, and how old the latest backup is."""
    from virtscale.vms import copies as shown

    if vm and org:
        raise UsageError("Name a VM or --org, not both: `vm copies ORG/VM`, or `vm copies --org ORG`.")
    if org and not is_name(org):
        raise UsageError(f"{org!a:.60} names no org: write its name, for example acme.")
    return shown.show_of_vm(here(), *vm_of(vm), output) if vm else shown.show_ages(here(), org, output)


def drop(
    vm: Vm,
    copy: Copy,
    /,
    *,
    reason: Reason = "asked for by hand",
    actor: Actor = None,
    deadline: Deadline = 120.0,
    output: Output = "table",
) -> int:
    """Remove a snapshot or backup for good."""
    from virtscale.vms import asking

    org, name = vm_of(vm)
    request = DropCopy(
        vm=name, copy=_copy_name(copy), key=new_key(), actor=actor_of(actor), reason=checked(reason)
    )
    return asking.ask(present_house(), org, request, deadline, output)


def restore(
    vm: Vm,
    copy: Copy,
    /,
    *,
    into: Annotated[
        str, Parameter(help="a new VM of this name gets the disk, and the VM stays as it is")
    ] = "",
    reason: Reason = "asked for by hand",
    actor: Actor = None,
    deadline: Deadline = 3900.0,
    output: Output = "table",
) -> int:
    """Give a VM that is off the disk that a snapshot of it holds, for good; or make a new VM, which is off, from any copy."""
    from virtscale.vms import asking

    org, name = vm_of(vm)
    request = RestoreVm(
        vm=name,
        copy=_copy_name(copy),
        key=new_key(),
        actor=actor_of(actor),
        reason=checked(reason),
        into=vm_name(into) if into else None,
    )
    return asking.ask(present_house(), org, request, deadline, output)


def _copy(  # noqa: PLR0917 - what every copy is made from
    vm: str, kind: CopyKind, copy: str, reason: str, actor: str | None, deadline: float, output: Format
) -> int:
    from virtscale.vms import asking

    org, name = vm_of(vm)
    request = CopyVm(
        vm=name,
        key=new_key(),
        actor=actor_of(actor),
        kind=kind,
        reason=checked(reason),
        copy=_copy_name(copy) if copy else None,
    )
    return asking.ask(present_house(), org, request, deadline, output)


def _copy_name(copy: str) -> str:
    if not is_name(copy):
        raise UsageError(f"{copy!a:.60} is no name for a copy: write 1 to 40 of a-z, 0-9 and inner dashes.")
    return copy
