"""The command `virtscale vm adopt`."""

from typing import Annotated

from cyclopts import App, Parameter

from virtscale.freezes.commands import Actor, Reason
from virtscale.freezes.standing import actor_of, checked
from virtscale.invocation import Deadline, Output, UsageError, present_house
from virtscale.vms.named import pool_of, vm_name


def register(app: App) -> None:
    """The command is part of the group."""
    app.command(adopt)


def adopt(
    pool: Annotated[str, Parameter(help="a pool that keeps VMs, as ORG/POOL", name="POOL")],
    /,
    *,
    host: Annotated[str, Parameter(help="the host that has the domain")],
    domain: Annotated[
        str, Parameter(help="the domain, as libvirt calls it; with --dry-run all if absent")
    ] = "",
    name: Annotated[str, Parameter(name="--as", help="what the VM is called; as its domain if absent")] = "",
    dry_run: Annotated[
        bool, Parameter(help="only show what would become of it, and why not", negative="")
    ] = False,
    reason: Reason = "adopted by hand",
    actor: Actor = None,
    deadline: Deadline = 3900.0,
    output: Output = "table",
) -> int:
    """Have a domain that somebody else made, and that is off, be a VM of the pool, with its disk.

    Its description goes: from then on it is defined by the pool's template. Its disk is moved among the pool's disks, or copied where
    it is not qcow2 or lies in another file system.
    """
    from virtscale.vms import adopting

    house, into = present_house(), pool_of(pool)
    what = adopting.wanted(house, into, domain, vm_name(name) if name else "")
    place = adopting.place_of(house, host)
    if dry_run:
        return adopting.show_candidates(place, what, output)
    if not domain:
        raise UsageError("Name the domain with --domain, or list those there are with --dry-run.")
    return adopting.adopt(house, place, what, actor_of(actor), checked(reason), deadline, output)
