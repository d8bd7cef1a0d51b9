"""The commands `permit` and `permissions`."""

from typing import Annotated

from cyclopts import App, Parameter

from schemas.vm_intake import Permission
from virtscale.freezes.commands import Actor, Reason
from virtscale.invocation import Output, here, present_house


def permit(
    org: Annotated[str, Parameter(help="the org that the publisher asks for", name="ORG")],
    holder: Annotated[str, Parameter(help="the publisher", name="HOLDER")],
    permission: Annotated[
        Permission,
        Parameter(help="sudo-srv: its VMs are rebooted at once when it asks so", name="PERMISSION"),
    ],
    /,
    *,
    reason: Reason,
    revoke: Annotated[bool, Parameter(help="take the permission away", negative="")] = False,
    actor: Actor = None,
) -> int:
    """Give a publisher of an org a permission, or take it away. Who did so, when and why is in the ledger."""
    from virtscale.permits import standing

    return standing.permit(present_house(), org, holder, permission, reason, actor, revoke=revoke)


def permissions(*, output: Output = "table") -> int:
    """Permissions of publishers: who gave them, when and why."""
    from virtscale.permits.standing import show_permissions

    return show_permissions(here(), output)


def register(app: App) -> None:
    """The two commands are part of the application."""
    for command in (permit, permissions):
        app.command(command)
