"""The commands `virtscale vm …`."""

from typing import Annotated

from cyclopts import App, Parameter

from schemas.image import Kind
from schemas.memory import Filebeats
from virtscale.invocation import Output

app = App(name="vm", help="One VM: what it is and what it needs.")


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
