"""The table `permissions`: what publishers may do besides asking."""

from collections.abc import Iterable

from events.envelope import Recorded
from events.permission import PermissionGranted, PermissionRevoked
from projections.permissions.fold import Permissions
from projections.table import Cell, Key, Table


def _touched(recorded: Recorded) -> Iterable[Key]:
    if isinstance(recorded.fact, PermissionGranted | PermissionRevoked):
        yield (recorded.fact.org, recorded.fact.holder, recorded.fact.permission)


def _row(permissions: Permissions, key: Key) -> tuple[Cell, ...] | None:
    org, holder, permission = key
    grant = permissions.grants.get((org, holder, permission))
    if grant is None:
        return None
    return org, holder, permission, grant.actor, grant.reason, grant.granted_at.isoformat()


TABLES = (
    Table(
        "permissions",
        Permissions,
        ("org", "holder", "permission", "actor", "reason", "granted_at"),
        3,
        _touched,
        _row,
        takes=Permissions.TAKES,
    ),
)
"""One row for each permission that a publisher has; the operator has every one, and no row."""
