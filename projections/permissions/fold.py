"""Permissions of publishers, folded from the ledger; the operator has every one."""

import datetime as dt
from typing import Final

import msgspec

from events.envelope import Recorded
from events.fact import Fact
from events.permission import PermissionGranted, PermissionRevoked
from schemas.names import OPERATOR
from schemas.vm_intake import Permission


class Grant(msgspec.Struct, frozen=True):
    """Who gave a permission, when and why."""

    actor: str
    reason: str
    granted_at: dt.datetime


class Permissions:
    """Grants by org, holder and permission."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset({PermissionGranted, PermissionRevoked})

    def __init__(self) -> None:
        self.grants: dict[tuple[str, str, str], Grant] = {}

    def has(self, org: str, holder: str, permission: Permission) -> bool:
        """Whether the publisher may do this."""
        return holder == OPERATOR or (org, holder, permission) in self.grants

    def apply(self, recorded: Recorded) -> None:
        """The permissions now include the event."""
        match recorded.fact:
            case PermissionGranted(org=org, holder=holder, permission=permission) as granted:
                self.grants[org, holder, permission] = Grant(
                    granted.actor, granted.reason, granted.granted_at
                )
            case PermissionRevoked(org=org, holder=holder, permission=permission):
                self.grants.pop((org, holder, permission), None)
            case _:
                pass
