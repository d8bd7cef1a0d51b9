"""Which VM is meant: ORG/VM, or its name alone where one org has it."""

from schemas.names import is_name
from virtscale import views
from virtscale.invocation import UsageError, here
from virtscale.show import say


def vm_name(name: str) -> str:
    """The name, which a VM may have; `UsageError` for any other."""
    if not is_name(name):
        raise UsageError(f"{name!a:.60} is no name for a VM: write 1 to 40 of a-z, 0-9 and inner dashes.")
    return name


def vm_of(target: str) -> tuple[str, str]:
    """Org and name from `ORG/NAME`."""
    org, slash, name = target.partition("/")
    if not slash or not is_name(org) or not is_name(name):
        raise UsageError(f"{target!a:.90} names no VM: write ORG/NAME, for example acme/db.")
    return org, name


def pool_of(target: str) -> tuple[str, str]:
    """Org and pool from `ORG/POOL`."""
    org, slash, pool = target.partition("/")
    if not slash or not is_name(org) or not is_name(pool):
        raise UsageError(f"{target!a:.90} names no pool: write ORG/POOL, for example acme/apps.")
    return org, pool


def row_of(target: str, query: str, *, kept: bool = False) -> views.Row | None:
    """The one row that `query` has of the VM, given its name and twice its org, which may be empty; None where there is no such
    VM, or none that is `kept`, which has been said. `UsageError` where the name is none, or is several VMs'.
    """
    org, slash, name = target.rpartition("/")
    if not is_name(name) or (slash and not is_name(org)):
        raise UsageError(f"{target!a:.90} names no VM: write ORG/VM, for example acme/web-1.")
    with views.opened(here()) as base:
        found = base.rows(query, (name, org, org))
    if not found:
        which, command = (f"{target} that is kept", "vm list") if kept else (target, "vms")
        say(f"There is no VM {which}: `virtscale {command}` lists those there are.")
        return None
    if len(found) > 1:
        whose = ", ".join(f"{row['org']}/{name}" for row in found)
        raise UsageError(f"More than one org has a VM {name}: write one of {whose}.")
    return found[0]
