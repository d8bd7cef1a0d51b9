"""Mails to people, named by their id in the vault and never by address."""

from typing import Annotated, Final

import msgspec

from events.fact import Fact, Moment
from schemas.names import Count, Id, Name, Text, Word

_OF_SIGNALS: Final = ".signals@"


def signals_id(org: str, name: str) -> str:
    """The message id of a mail about lost signals; `name` is derived from what it names."""
    return f"<{name}{_OF_SIGNALS}virtscale.{org}>"


def is_of_signals(message_id: str) -> bool:
    """Whether a mail tells of lost signals: what it names are then events, and no requests."""
    return _OF_SIGNALS in message_id


_OF_MAINTENANCE: Final = ".maintenance@"


def maintenance_id(org: str, name: str) -> str:
    """The message id of a mail about maintenance; `name` is derived from the person and the event that it tells."""
    return f"<{name}{_OF_MAINTENANCE}virtscale.{org}>"


def is_of_maintenance(message_id: str) -> bool:
    """Whether a mail tells of maintenance: what it names is then an event of the steward's."""
    return _OF_MAINTENANCE in message_id


_OF_DELETION: Final = ".deletion@"


def deletion_id(org: str, name: str) -> str:
    """The message id of a mail about a deletion; `name` is derived from the person and the events that it tells."""
    return f"<{name}{_OF_DELETION}virtscale.{org}>"


def is_of_deletion(message_id: str) -> bool:
    """Whether a mail tells of a VM's deletion: what it names are then events of the gate's and the deleter's."""
    return _OF_DELETION in message_id


_OF_TROUBLE: Final = ".trouble@"


def trouble_id(org: str, name: str) -> str:
    """The message id of a mail about what befell VMs; `name` is derived from the person and the events that it tells."""
    return f"<{name}{_OF_TROUBLE}virtscale.{org}>"


def is_of_trouble(message_id: str) -> bool:
    """Whether a mail tells of what befell VMs: what it names are then events of the waker's and of storage's."""
    return _OF_TROUBLE in message_id


def is_of_refusals(message_id: str) -> bool:
    """Whether a mail tells of refusals: what it names are then requests."""
    others = _OF_SIGNALS, _OF_MAINTENANCE, _OF_DELETION, _OF_TROUBLE
    return not any(one in message_id for one in others)


class MailAccepted(Fact, frozen=True):
    """The relay took the mail and answered for it; it names these refused requests, these `signal.lost` (`is_of_signals`), an
    event about maintenance (`is_of_maintenance`), events about a deletion (`is_of_deletion`), or of what befell VMs
    (`is_of_trouble`).
    """

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
