"""Requests that change what the gate decides by: documents, keys, freezes and hosts."""

from events.contract import ContractSubmitted
from events.freeze import FreezeRequested, ThawRequested
from events.host import HostChangeRequested
from events.key import KeyRegisterRequested, KeyRevokeRequested

Ruling = (
    ContractSubmitted
    | KeyRegisterRequested
    | KeyRevokeRequested
    | FreezeRequested
    | ThawRequested
    | HostChangeRequested
)
"""Signal writes them for an operator, and the gate answers each in a round of its own."""
