"""Mails to people, named by their id in the vault and never by address."""

from typing import Literal

from events.fact import Fact, Moment
from schemas.names import Count, Id, Name


class MailAccepted(Fact, frozen=True):
    """The relay took the mail and answered for it; it names these refused requests."""

    person: Name
    message_id: str
    requests: tuple[Id, ...]
    attempts: Count
    refused_at: Moment
    """When the refusal it tells of was stored."""
    accepted_at: Moment


class MailFailed(Fact, frozen=True):
    """The mail was not taken and will not be tried again; an alarm."""

    person: Name
    message_id: str
    requests: tuple[Id, ...]
    attempts: Count
    code: Literal["relay-refused", "relay-unreachable", "person-erased"]
    text: str
    observed_at: Moment
