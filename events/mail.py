"""Mails to people, named by their id in the vault and never by address."""

from typing import Annotated

import msgspec

from events.fact import Fact, Moment
from schemas.names import Count, Id, Name, Text, Word


class MailAccepted(Fact, frozen=True):
    """The relay took the mail and answered for it; it names these refused requests."""

    person: Name
    message_id: Annotated[str, msgspec.Meta(max_length=200)]
    requests: Annotated[tuple[Id, ...], msgspec.Meta(max_length=1000)]
    attempts: Count
    refused_at: Moment
    """When the refusal it tells of was stored."""
    accepted_at: Moment


class MailFailed(Fact, frozen=True):
    """The mail was not taken and will not be tried again; an alarm."""

    person: Name
    message_id: Annotated[str, msgspec.Meta(max_length=200)]
    requests: Annotated[tuple[Id, ...], msgspec.Meta(max_length=1000)]
    attempts: Count
    code: Word
    text: Text
    observed_at: Moment
