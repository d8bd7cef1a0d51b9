"""The command `virtscale`. Data goes to standard output, everything else to standard error.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by the gate, 5 no such org, pool or thing, 6 not ended in time.
"""

import asyncio
import os
import sys
from typing import Annotated

import cyclopts
import uvloop
from cyclopts import App, Parameter

from schemas.names import is_name
from virtscale.audit import commands as audit_commands
from virtscale.backtesting import commands as backtest_commands
from virtscale.clocks import commands as clock_commands
from virtscale.contracts import commands as contract_commands
from virtscale.demo import commands as demo_commands
from virtscale.exits import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_UNREAD, EXIT_USAGE
from virtscale.forecasts import commands as forecast_commands
from virtscale.freezes import commands as freeze_commands
from virtscale.hosts import commands as host_commands
from virtscale.invocation import Deadline, Output, UsageError, here, present_house
from virtscale.keys import commands as key_commands
from virtscale.maintenance import commands as maintenance_commands
from virtscale.permits import commands as permit_commands
from virtscale.replaying import commands as replay_commands
from virtscale.show import Format, end, is_unread, say, show
from virtscale.vms import adopt_commands, copy_commands
from virtscale.vms import commands as vm_commands

app = App(
    name="virtscale",
    help="Capped autoscaling of VM pools, with a ledger that anyone can check.",
    version_flags=[],
)
ledger = App(name="ledger", help="What happened, event by event.")
publisher = App(name="publisher", help="Outsiders who may publish requests.")
person = App(name="person", help="People in the vault.")
for _part in (ledger, publisher, person):
    app.command(_part)
audit_commands.register(ledger)
app.command(contract_commands.app)
app.command(key_commands.app)
app.command(host_commands.app)
app.command(demo_commands.app)
app.command(forecast_commands.app)
app.command(replay_commands.replay)
copy_commands.register(vm_commands.app)
adopt_commands.register(vm_commands.app)
app.command(vm_commands.app)
app.command(clock_commands.app)
app.command(maintenance_commands.app)
freeze_commands.register(app)
permit_commands.register(app)
backtest_commands.register(app)


def _split(name: str) -> tuple[str, str]:
    org, slash, pool = name.partition("/")
    if not slash or not is_name(org) or not is_name(pool):
        raise UsageError(f"{name!r} names no pool: write ORG/POOL, for example acme/web.")
    return org, pool


def _more(amount: str) -> tuple[int | None, int | None]:
    """`+2` adds two, `12` wants twelve in all; what is negative or absurd is refused with its number."""
    from schemas.intake import MOST_VMS

    digits = amount.removeprefix("+")
    if not (digits.isascii() and digits.isdecimal()):
        hint = " To have fewer, use `virtscale quiesce`." if amount.startswith("-") else ""
        raise UsageError(
            f"{amount!r} is no number of VMs: write +2 for two more, or 12 for twelve in all.{hint}"
        )
    number = int(digits)
    if number > MOST_VMS or (number == 0 and amount.startswith("+")):
        raise UsageError(f"{amount} VMs cannot be asked for: one request moves 1 to {MOST_VMS} VMs.")
    return (number, None) if amount.startswith("+") else (None, number)


@app.command
def up(
    *,
    stock: Annotated[int, Parameter(help="suspended VMs that the pool web shall hold")] = 8,
    substrate: Annotated[
        str, Parameter(help="qemu, or test: libvirt's test driver, where no guest serves")
    ] = "qemu",
    shift_ports: Annotated[
        int, Parameter(help="added to every port, so that a second house can stand beside the first")
    ] = 0,
    hosts: Annotated[int, Parameter(help="private hypervisors, each with its own libvirt and guests")] = 1,
    ceph: Annotated[
        bool,
        Parameter(
            help="a Ceph cluster of three zones for disks of kept VMs, empty at each start", negative=""
        ),
    ] = False,
    movable_clock: Annotated[
        bool,
        Parameter(
            help="a new house for trying things out: `virtscale clock ahead 5d` moves its clock", negative=""
        ),
    ] = False,
) -> int:
    """Start everything on this machine, in the foreground; Ctrl-C ends it."""
    from virtscale.up import up as run
    from virtscale.world import MOST_HOSTS, MOST_SHIFT, Ports

    if substrate not in {"qemu", "test"}:
        raise UsageError(f"{substrate!r} is no substrate: choose qemu or test.")
    if not 0 <= shift_ports <= MOST_SHIFT:
        raise UsageError(f"The ports cannot be shifted by {shift_ports}: choose 0 to {MOST_SHIFT}.")
    if not 1 <= hosts <= MOST_HOSTS:
        raise UsageError(f"{hosts} hosts cannot be started on one machine: choose 1 to {MOST_HOSTS}.")
    if ceph and substrate == "test":
        raise UsageError("Domains of libvirt's test driver have no disks: start with --ceph on qemu.")
    vms = _count(stock)
    chosen = "test" if substrate == "test" else "qemu"
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(
            run(here(), Ports.usual(shift_ports), chosen, vms, hosts, ceph=ceph, movable_clock=movable_clock)
        )
    return 0


@app.command
def scale(
    pool: str,
    amount: Annotated[str, Parameter(allow_leading_hyphen=True)],
    *,
    up_to: Annotated[bool, Parameter(help="grant what fits and refuse the rest", negative="")] = False,
    key: Annotated[str, Parameter(help="idempotency key: the same key asks once")] = "",
    deadline: Deadline = 240.0,
    output: Output = "table",
) -> int:
    """Wake VMs: `virtscale scale acme/web +2`, or `12` for twelve in all."""
    from schemas.intake import Scale
    from virtscale import ask, follow

    org, name = _split(pool)
    add, want = _more(amount)
    request = Scale(pool=name, key=key or ask.new_key(), add=add, want=want, up_to=up_to)
    return asyncio.run(follow.scale(present_house(), org, request, output, deadline))


@app.command
def stock(pool: str, vms: int, *, deadline: Deadline = 600.0, output: Output = "table") -> int:
    """Have the pool hold at least this many VMs, asleep unless needed."""
    from schemas.intake import Stock
    from virtscale import ask, follow

    org, name = _split(pool)
    request = Stock(pool=name, key=ask.new_key(), vms=_count(vms))
    return asyncio.run(follow.scale(present_house(), org, request, output, deadline))


@app.command
def quiesce(pool: str, vms: int, *, deadline: Deadline = 240.0, output: Output = "table") -> int:
    """Drain and suspend VMs: `virtscale quiesce acme/web 2`."""
    from schemas.intake import Quiesce
    from virtscale import ask, follow

    org, name = _split(pool)
    request = Quiesce(pool=name, key=ask.new_key(), count=_count(vms))
    return asyncio.run(follow.quiesce(present_house(), org, request, output, deadline))


@app.command
def save(
    pool: str,
    *,
    paused: Annotated[int, Parameter(help="so many go on sleeping in RAM")],
    deadline: Deadline = 600.0,
    output: Output = "table",
) -> int:
    """Have sleeping VMs sleep on disk, so that their hosts have the RAM: `virtscale save acme/web --paused 2`."""
    from schemas.intake import MOST_VMS, Save
    from virtscale import ask, follow

    org, name = _split(pool)
    if not 0 <= paused <= MOST_VMS:
        raise UsageError(f"{paused} VMs cannot sleep in RAM: choose 0 to {MOST_VMS}.")
    request = Save(pool=name, key=ask.new_key(), paused=paused)
    return asyncio.run(follow.quiesce(present_house(), org, request, output, deadline))


def _count(vms: int) -> int:
    from schemas.intake import MOST_VMS

    if not 1 <= vms <= MOST_VMS:
        raise UsageError(f"{vms} VMs cannot be asked for: one request moves 1 to {MOST_VMS} VMs.")
    return vms


@app.command
def pools(*, output: Output = "table") -> int:
    """Pools, with their VMs by state, and until when they are frozen."""
    from virtscale.freezes.standing import show_pools

    return show_pools(here(), output)


@app.command
def vms(*, output: Output = "table") -> int:
    """VMs, with state, host and address."""
    from virtscale import views

    return _show_view(
        views.VMS, output, ["org", "vm", "pool", "host", "state", "size", "address", "since_seq"]
    )


@app.command
def hosts(*, output: Output = "table") -> int:
    """Hosts, with their state, VMs, and the memory they lend."""
    from virtscale import views

    return _show_view(views.HOSTS, output)


@app.command
def snapshots(pool: str = "", /, *, output: Output = "table") -> int:
    """Disks of VMs, and what is pinned of each since it fell asleep: `virtscale snapshots`, or one pool's with `acme/web`."""
    from virtscale.snapshots import show_snapshots

    org, name = _split(pool) if pool else (None, None)
    return show_snapshots(here(), org, name, output)


@app.command
def usage(*, output: Output = "table") -> int:
    """Usage against the contract, by dimension."""
    from virtscale import views

    return _show_view(
        views.USAGE, output, ["org", "dimension", "used", "reserved", "quota", "limit", "contract", "version"]
    )


@app.command
def breakers(*, output: Output = "table") -> int:
    """Hosts and templates where a pool's VMs failed to start again and again, and until when none is tried there."""
    from virtscale.breakers import show_breakers

    return show_breakers(here(), output)


def _show_view(query: str, output: Format, columns: list[str] | None = None) -> int:
    from virtscale.views import opened

    with opened(here()) as base:
        show(base.rows(query), output, columns=columns)
    return 0


@app.command
def activation(id: str, *, output: Output = "table") -> int:
    """One request, or one VM's trip from asleep to serving, in its five steps; the first digits of an id do."""
    from virtscale.trips import show_trip

    return show_trip(here(), id, output)


@app.command
def activations(*, output: Output = "table") -> int:
    """How long VMs took from asleep to serving, step by step, beside the budget."""
    from virtscale.trips import show_budget

    return show_budget(here(), output)


@app.command
def signals(*, output: Output = "table") -> int:
    """Pools of which a query yields nothing new: what is awake stays awake until it does."""
    from virtscale.signals import show_signals

    return show_signals(here(), output)


@ledger.command
def tail(
    *,
    last: Annotated[int, Parameter(name=["-n", "--last"], help="begin this many events before the end")] = 10,
    follow: Annotated[
        bool, Parameter(name=["-f", "--follow"], help="go on with new events", negative="")
    ] = False,
    output: Output = "table",
) -> int:
    """The ledger's newest events."""
    from virtscale.tail import tail as run

    return asyncio.run(run(present_house(), last, output, follow=follow))


@publisher.command
def add(org: str, name: str, *, output: Output = "table") -> int:
    """Make a key for an outsider, who may then publish requests for the org in this name."""
    from events.bus.permissions import publisher as permit
    from virtscale import publishers

    path = publishers.add(present_house(), org, name)
    show(
        [
            {
                "org": org,
                "publisher": name,
                "publishes": permit(org, name).publish[0],
                "inbox": permit(org, name).inbox,
                "key": os.path.relpath(path),
            }
        ],
        output,
    )
    return 0


@person.command
def erase(id: str, *, org: str = "acme") -> int:
    """Destroy a person's key in the vault: every view shows `erased` from then on."""
    from schemas.intake import Erase
    from virtscale import ask, follow

    request = Erase(person=_person(id), key=ask.new_key())
    return asyncio.run(follow.erase(present_house(), org, request))


@person.command(name="show")
def show_person(id: str, *, output: Output = "table") -> int:
    """What the vault holds of a person."""
    from events.vault import Vault

    known = _person(id)
    show([{"person": id, "mail": Vault(present_house().vault).shown(known)}], output)
    return 0


def _person(id: str) -> str:
    if not is_name(id):
        raise UsageError(f"{id!r} is no person id: 1 to 40 of a-z, 0-9 and inner dashes.")
    return id


def main() -> None:
    """The command ran; its exit code is the process's. What can be said in one sentence is said in one sentence."""
    code = EXIT_DONE
    try:
        done = app(sys.argv[1:], exit_on_error=False, print_error=False, result_action="return_value")
        code = done if isinstance(done, int) else EXIT_DONE
    except* KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    except* BrokenPipeError:
        if not is_unread():  # another pipe than ours
            raise
        code = EXIT_UNREAD
    except* (cyclopts.CycloptsError, UsageError) as errors:
        code = EXIT_USAGE
        for error in _leaves(errors):
            say(f"virtscale: {_sentence(error)}")
    except* _spoken() as errors:
        code = EXIT_FAILED
        for error in _leaves(errors):
            say(f"virtscale: {_sentence(error)}")
            code = getattr(error, "exit_code", EXIT_FAILED)
    end()
    sys.exit(code)


def _spoken() -> tuple[type[Exception], ...]:
    """Read only when there is something to say: it knows the errors of every part, and with them every part."""
    from virtscale.spoken import SPOKEN

    return SPOKEN


def _leaves(errors: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    from events.bus.alone import leaves

    return leaves(errors)


def _sentence(error: BaseException) -> str:
    """The error's sentence with its stable code behind it, where it has one."""
    code = getattr(error, "code", None)
    return f"{error} [{code}]" if isinstance(code, str) else str(error)
