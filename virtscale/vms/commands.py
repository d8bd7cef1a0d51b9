"""The commands `virtscale vm …`."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from schemas.image import Kind
from schemas.memory import Filebeats
from schemas.sizes import read as read_size
from schemas.vm_intake import ChangeVm, CreateVm, DeleteVm, ResizeVm, UndeleteVm, VmChange, When
from virtscale.amounts import size_bytes
from virtscale.ask import new_key
from virtscale.freezes.commands import Actor, Reason
from virtscale.freezes.standing import actor_of, checked
from virtscale.invocation import Deadline, Output, here, present_house
from virtscale.show import Format
from virtscale.vms.named import pool_of, vm_name, vm_of

app = App(name="vm", help="VMs that are kept for their own sake: made, started, changed, looked at.")

Vm = Annotated[str, Parameter(help="a VM as ORG/NAME", name="VM")]
Disk = Annotated[str, Parameter(help="bytes of its disk, as 40GiB; a disk only grows")]
InZone = Annotated[
    str,
    Parameter(
        help="zone of the dates that are shown, as Europe/Berlin; that of TZ, or the pool's, if absent"
    ),
]
SizeOf = Annotated[str, Parameter(help="vs.s to vs.4xl, vc.s to vc.4xl, or vCPU and MiB as 2x8192")]


@app.command
def create(
    pool: Annotated[str, Parameter(help="a pool that keeps VMs, as ORG/POOL", name="POOL")],
    name: Annotated[str, Parameter(help="what the VM is called in its org", name="NAME")],
    /,
    *,
    size: SizeOf = "",
    image: Annotated[str, Parameter(help="the template it is made from; its pool's if absent")] = "",
    disk: Disk = "",
    user_data: Annotated[
        Path | None, Parameter(help="file that cloud-init runs or reads at its first boot")
    ] = None,
    ssh_key: Annotated[
        list[Path] | None, Parameter(help="file with a public key that may log in; can be given again")
    ] = None,
    no_start: Annotated[bool, Parameter(help="make it, and leave it off", negative="")] = False,
    protect: Annotated[bool, Parameter(help="nobody deletes it until that is lifted", negative="")] = False,
    actor: Actor = None,
    deadline: Deadline = 300.0,
    output: Output = "table",
) -> int:
    """Make a VM of this name, and start it."""
    from virtscale.vms import asking

    house, (org, into), key = present_house(), pool_of(pool), new_key()
    request = CreateVm(
        pool=into,
        vm=vm_name(name),
        key=key,
        actor=actor_of(actor),
        size=read_size(size) if size else None,
        image=image or None,
        disk_bytes=size_bytes(disk) if disk else None,
        seed=asking.seeded(house, org, name, key, user_data, ssh_key or []),
        start=not no_start,
        protected=protect,
    )
    return asking.ask(house, org, request, deadline, output)


@app.command
def start(vm: Vm, /, *, actor: Actor = None, deadline: Deadline = 300.0, output: Output = "table") -> int:
    """Start a VM that is off, where its disk is."""
    return _change(vm, "start", "started by hand", actor, deadline, output)


@app.command
def stop(vm: Vm, /, *, actor: Actor = None, deadline: Deadline = 300.0, output: Output = "table") -> int:
    """Shut a VM down; when its guest takes longer than its pool allows, its power is cut."""
    return _change(vm, "stop", "stopped by hand", actor, deadline, output)


@app.command
def reboot(
    vm: Vm,
    /,
    *,
    reason: Reason,
    now: Annotated[
        bool, Parameter(help="at once, which needs sudo-srv, instead of in the next window", negative="")
    ] = False,
    actor: Actor = None,
    deadline: Deadline = 300.0,
    output: Output = "table",
) -> int:
    """Reboot a VM: announced, in its pool's next maintenance window, or at once."""
    return _change(vm, "reboot", checked(reason), actor, deadline, output, when="now" if now else "window")


@app.command
def protect(
    vm: Vm, /, *, reason: Reason, actor: Actor = None, deadline: Deadline = 60.0, output: Output = "table"
) -> int:
    """Have nobody delete a VM until its protection is lifted."""
    return _change(vm, "protect", checked(reason), actor, deadline, output)


@app.command
def unprotect(
    vm: Vm, /, *, reason: Reason, actor: Actor = None, deadline: Deadline = 60.0, output: Output = "table"
) -> int:
    """Lift a VM's protection."""
    return _change(vm, "unprotect", checked(reason), actor, deadline, output)


@app.command
def resize(
    vm: Vm,
    /,
    *,
    size: SizeOf = "",
    disk: Disk = "",
    now: Annotated[
        bool, Parameter(help="reboot it at once for its new size, instead of in the next window", negative="")
    ] = False,
    plug: Annotated[bool, Parameter(help="plug more vCPU in while it runs", negative="")] = False,
    actor: Actor = None,
    deadline: Deadline = 300.0,
    output: Output = "table",
) -> int:
    """Give a VM another size, for which it reboots, or a larger disk, which it has at once."""
    from virtscale.vms import asking

    org, name = vm_of(vm)
    request = ResizeVm(
        vm=name,
        key=new_key(),
        actor=actor_of(actor),
        size=read_size(size) if size else None,
        disk_bytes=size_bytes(disk) if disk else None,
        plug=plug,
        when="now" if now else "window",
    )
    return asking.ask(present_house(), org, request, deadline, output)


@app.command
def delete(
    vm: Vm,
    /,
    *,
    on: Annotated[
        str,
        Parameter(
            help="the day on which it is shut down, as 2026-12-01 in its pool's zone; the earliest if absent"
        ),
    ] = "",
    policy: Annotated[
        str,
        Parameter(help="when its disk, its backups and its name go, as deletion-2024-10; today's if absent"),
    ] = "",
    reason: Reason,
    zone: InZone = "",
    actor: Actor = None,
    deadline: Deadline = 60.0,
    output: Output = "table",
) -> int:
    """Have a VM deleted, in five stages from its day on; until its disk goes it can be had back."""
    from virtscale.vms import deleting

    (org, name), where = vm_of(vm), deleting.own_zone(zone)
    request = DeleteVm(
        vm=name,
        key=new_key(),
        actor=actor_of(actor),
        reason=checked(reason),
        day=deleting.day_of(on),
        policy=policy or None,
    )
    return deleting.ask(present_house(), org, request, deadline, where, output)


@app.command
def undelete(
    vm: Vm,
    /,
    *,
    no_start: Annotated[
        bool, Parameter(help="leave it off, also where it ran until its deletion stopped it", negative="")
    ] = False,
    reason: Reason = "taken back by hand",
    actor: Actor = None,
    deadline: Deadline = 300.0,
    output: Output = "table",
) -> int:
    """Take a VM's deletion back, as long as its disk is there."""
    from virtscale.vms import deleting

    org, name = vm_of(vm)
    request = UndeleteVm(
        vm=name, key=new_key(), actor=actor_of(actor), reason=checked(reason), start=not no_start
    )
    return deleting.ask(present_house(), org, request, deadline, "", output)


@app.command
def deletions(
    *,
    org: Annotated[str, Parameter(help="of this org alone", name="--org")] = "",
    zone: InZone = "",
    every: Annotated[bool, Parameter(name="--all", help="also those that are over", negative="")] = False,
    output: Output = "table",
) -> int:
    """Deletions: which stages are done, and when the others come."""
    from virtscale.vms import deleting

    return deleting.show_deletions(here(), org, deleting.own_zone(zone), output, every=every)


@app.command(name="list")
def list_vms(
    pool: Annotated[str, Parameter(help="of one pool, as ORG/POOL", name="POOL")] = "",
    /,
    *,
    output: Output = "table",
) -> int:
    """VMs that are kept: state, host, address, size and disk."""
    from virtscale.vms.showing import show_list

    org, name = pool_of(pool) if pool else (None, None)
    return show_list(here(), org, name, output)


@app.command
def show(vm: Vm, /, *, output: Output = "table") -> int:
    """One VM that is kept: what it is, and what it shall be."""
    from virtscale.vms.showing import show_one

    return show_one(vm, output)


@app.command
def drift(*, output: Output = "table") -> int:
    """Domains and disks that are otherwise than the ledger has them: changed by hand, missing, elsewhere."""
    from virtscale.vms.shown import show_drift

    return show_drift(here(), output)


def _change(  # noqa: PLR0917 - what every change is made from
    vm: str,
    change: VmChange,
    reason: str,
    actor: str | None,
    deadline: float,
    output: Format,
    *,
    when: When = "now",
) -> int:
    from virtscale.vms import asking

    org, name = vm_of(vm)
    request = ChangeVm(vm=name, key=new_key(), actor=actor_of(actor), change=change, reason=reason, when=when)
    return asking.ask(present_house(), org, request, deadline, output)


@app.command(name="explain-memory")
def explain_memory(
    vm: Annotated[str, Parameter(help="a VM as ORG/VM, or by its name where one org has it", name="VM")] = "",
    /,
    *,
    size: Annotated[str, Parameter(help="instead of a VM: a size, as vs.s or 2x8192")] = "",
    memory_mib: Annotated[int | None, Parameter(help="instead of a VM: so much memory")] = None,
    image: Annotated[
        Kind | None, Parameter(help="kind of image; the VM's own, or nixos-managed where there is no VM")
    ] = None,
    alloy: Annotated[
        bool, Parameter(help="with Alloy, which more telemetry is collected by", negative="")
    ] = False,
    filebeats: Annotated[Filebeats, Parameter(help="instances of Filebeat")] = 1,
    json: Annotated[bool, Parameter(name="--json", help="the same as -o json", negative="")] = False,
    output: Output = "table",
) -> int:
    """Where a guest's memory goes before its work begins, its swap, and whether it is enough.

    The figures are the highest that were observed, and they do not peak together: their sum may exceed what is enough.
    """
    from virtscale.vms import memory

    form = "json" if json else output
    about = memory.asked(vm, size, memory_mib, image)
    return memory.show_memory(about, form, alloy=alloy, filebeats=filebeats)


@app.command
def console(
    vm: Annotated[str, Parameter(help="a VM as ORG/VM, or by its name where one org has it", name="VM")],
    /,
    *,
    force: Annotated[bool, Parameter(help="take the line over from whoever is at it", negative="")] = False,
) -> int:
    """A VM's serial line at this terminal: what is typed goes to the VM, and Ctrl-] leaves it."""
    from virtscale.vms.console import show_console

    return show_console(vm, force=force)
