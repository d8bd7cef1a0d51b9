"""What publishers may do besides asking."""

from typing import Literal

from events.fact import Fact, Moment
from schemas.names import Name
from schemas.request import Key, Reason
from schemas.vm_intake import Permission

PermissionChange = Literal["grant", "revoke"]


class PermissionChangeRequested(Fact, frozen=True):
    """The publisher shall have the permission, or have it no more."""

    publisher: Name
    key: Key
    actor: Name
    holder: Name
    """The publisher whose permission it is."""
    permission: Permission
    change: PermissionChange
    reason: Reason
    received_at: Moment


class PermissionGranted(Fact, frozen=True):
    """The publisher may do this from here on; appended under the fence."""

    holder: Name
    permission: Permission
    actor: Name
    reason: Reason
    granted_at: Moment


class PermissionRevoked(Fact, frozen=True):
    """The publisher may not do this any more; appended under the fence."""

    holder: Name
    permission: Permission
    actor: Name
    reason: Reason
    revoked_at: Moment
