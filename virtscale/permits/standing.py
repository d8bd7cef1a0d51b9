"""What publishers may do besides asking: given and taken away by the operators, and looked at."""

import asyncio
import datetime as dt
from pathlib import Path

from schemas.house import House
from schemas.names import OPERATOR, is_name
from schemas.vm_intake import Permission, Permit
from virtscale import publishers, views
from virtscale.amounts import said
from virtscale.ask import new_key
from virtscale.exits import EXIT_DONE
from virtscale.freezes.standing import actor_of, checked
from virtscale.invocation import UsageError
from virtscale.ruled import ruled
from virtscale.show import Format, printable, say, show


def permit(  # noqa: PLR0917 - what every grant is made from
    house: House,
    org: str,
    holder: str,
    permission: Permission,
    reason: str,
    actor: str | None,
    *,
    revoke: bool,
) -> int:
    """The publisher has the permission from the gate's decision on, or has it no more; the exit code."""
    for text, what in ((org, "an org"), (holder, "a publisher")):
        if not is_name(text):
            raise UsageError(
                f"{text!a:.60} is no name of {what}: write 1 to 40 of a-z, 0-9 and inner dashes."
            )
    if holder == OPERATOR:
        raise UsageError("The operator has every permission, and keeps it: name a publisher of the org.")
    request = Permit(
        holder=holder,
        permission=permission,
        change="revoke" if revoke else "grant",
        key=new_key(),
        actor=actor_of(actor),
        reason=checked(reason),
    )
    done = asyncio.run(ruled(house, org, request))
    if done.answer.outcome == "refused":
        say(done.text)
        return done.exit_code
    say(f"{org}: {outcome(holder, permission, done.answer.code, revoke=revoke)}")
    if not revoke and not publishers.has_key(Path(house.directory), org, holder):
        say(
            f"Nobody asks as {holder} yet: `virtscale publisher add {org} {holder}` makes the key for it. Is the name right?"
        )
    return EXIT_DONE


def outcome(holder: str, permission: Permission, code: str, *, revoke: bool) -> str:
    """What came of it in a sentence; asking for what is so already changes nothing, and is said."""
    match code == "AlreadyDone", revoke:
        case True, True:
            return f"{holder} had no {permission}: nothing was changed."
        case True, False:
            return f"{holder} had {permission} already: nothing was changed."
        case _, True:
            return f"{holder} has {permission} no more."
        case _:
            return f"{holder} has {permission}."


def show_permissions(directory: Path, form: Format) -> int:
    """Who has which permission, by whom and why."""
    with views.opened(directory) as base:
        rows = base.rows(views.PERMISSIONS)
    if form == "table":
        rows = [
            {
                **row,
                "reason": printable(str(row["reason"])),
                "granted_at": said(dt.datetime.fromisoformat(str(row["granted_at"]))),
            }
            for row in rows
        ]
    show(rows, form, columns=["org", "holder", "permission", "actor", "reason", "granted_at"])
    return EXIT_DONE
