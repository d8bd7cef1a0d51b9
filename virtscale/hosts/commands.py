"""The commands `virtscale host …`."""

from typing import Annotated

from cyclopts import App, Parameter

from virtscale.freezes.commands import Actor, Reason
from virtscale.invocation import Deadline, Output, present_house

app = App(name="host", help="Hypervisors: add, list, drain, admit, fence, remove.")

Host = Annotated[str, Parameter(help="the host's name", name="NAME")]


@app.command
def add(
    name: Host,
    uri: Annotated[
        str,
        Parameter(
            help="qemu+tls://HOST/system, qemu+ssh://USER@HOST/system, qemu:///session?socket=PATH",
            name="URI",
        ),
    ],
    /,
    *,
    memory: Annotated[
        str, Parameter(help="what it lends to guests, as 4GiB; else a quarter of what it has")
    ] = "",
    address: Annotated[str, Parameter(help="where its guests are reached; else the URI's machine")] = "",
    first_port: Annotated[int, Parameter(help="guests answer on 500 ports from here on")] = 0,
    volumes: Annotated[
        str, Parameter(help="directory on that host for the disks of VMs; libvirtd there makes it")
    ] = "/var/lib/libvirt/images/virtscale",
    output: Output = "table",
) -> int:
    """Have another hypervisor carry VMs; it is tried first, and a running house starts its waker."""
    from virtscale.hosts import adding as host_adding

    return host_adding.add(present_house(), name, uri, memory, address, first_port, volumes, output)


@app.command(name="list")
def list_hosts(*, output: Output = "table") -> int:
    """Hosts: state, VMs awake and asleep, memory free and lent, and whether the waker is there."""
    from virtscale.hosts.states import show_hosts

    return show_hosts(present_house(), output)


@app.command
def drain(
    name: Host,
    /,
    *,
    reason: Reason,
    actor: Actor = None,
    replace: Annotated[
        bool,
        Parameter(
            help="have others serve first; without, only down to each pool's minimum", negative="--no-replace"
        ),
    ] = True,
    deadline: Deadline = 600.0,
) -> int:
    """Empty a host: nothing new starts there, others serve in its place, then its VMs sleep. Safe to repeat."""
    from virtscale.hosts import drain as host_drain

    return host_drain.drain(present_house(), name, reason, actor, deadline, replace=replace)


@app.command
def admit(name: Host, /, *, reason: Reason, actor: Actor = None) -> int:
    """Let a host carry VMs again, after it was drained or fenced."""
    from virtscale.hosts import states as host_states

    return host_states.admit(present_house(), name, reason, actor)


@app.command
def fence(
    name: Host,
    /,
    *,
    reason: Reason,
    actor: Actor = None,
    yes: Annotated[bool, Parameter(help="the host is dead, I made sure of it", negative="")] = False,
) -> int:
    """Declare a host dead: what its VMs count is released. Without --yes it only says what that would be."""
    from virtscale.hosts import states as host_states

    return host_states.fence(present_house(), name, reason, actor, yes=yes)


@app.command
def remove(name: Host, /, *, reason: Reason, actor: Actor = None) -> int:
    """Forget a host where no VM is awake; its waker ends."""
    from virtscale.hosts import adding as host_adding

    return host_adding.remove(present_house(), name, reason, actor)
