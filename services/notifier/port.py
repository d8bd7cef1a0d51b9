"""What the notifier asks of a mail relay and of the vault; SMTP and files answer it, and the simulation does."""

from dataclasses import dataclass
from typing import Protocol

from schemas.ics import Appointment


class RelayError(Exception):
    """The relay did not take the mail; `final` when trying again cannot help."""

    code = "Relay"

    def __init__(self, text: str, *, final: bool) -> None:
        super().__init__(text)
        self.final = final


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to one person; the message id is the same for every attempt."""

    message_id: str
    to: str
    subject: str
    text: str
    appointment: Appointment | None = None
    """What goes with it as an iCalendar object, by which calendars enter, move and remove it (RFC 6047)."""


class Relay(Protocol):
    """The way out for mail."""

    async def send(self, mail: Mail, timeout_seconds: float) -> None:
        """The relay took the mail and answers for it. It may have done so even when this raises."""
        ...


class Contacts(Protocol):
    """Where people's addresses are kept."""

    def contact(self, person: str) -> str | None:
        """The mail address; None when the person is unknown or erased."""
        ...

    def erase(self, person: str) -> bool:
        """The person's key is destroyed for good; False when there was none. Safe to repeat."""
        ...
