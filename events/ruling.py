"""Requests that change what the gate decides by: documents, keys, permissions, freezes and hosts."""

from events.contract import ContractSubmitted
from events.freeze import FreezeRequested, ThawRequested
from events.host import HostChangeRequested
from events.key import KeyRegisterRequested, KeyRevokeRequested
from events.permission import PermissionChangeRequested

Ruling = (
    ContractSubmitted
    | KeyRegisterRequested
    | KeyRevokeRequested
    | FreezeRequested
    | ThawRequested
    | HostChangeRequested
    | PermissionChangeRequested
)
"""Signal writes them for an operator, and the gate answers each in a round of its own."""
