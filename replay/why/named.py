"""What an id names: an event, an order inside a decision, or a mail."""

from typing import Final, Literal

import msgspec

from events.envelope import Recorded
from events.gate import GateDecided
from events.mail import MailAccepted, MailFailed
from events.vm import VmFoundAwake
from replay.why.words import tag_of

FEWEST_DIGITS: Final = 4
"""Fewer name half of a small ledger."""

MOST_DIGITS: Final = 32
MOST_NAMED: Final = 8
"""So many are shown of what one prefix names."""


class Named(msgspec.Struct, frozen=True):
    """One thing in the ledger with an id of its own; `seq` is the event that it is or stands in."""

    kind: Literal["event", "order", "mail"]
    id: str
    seq: int
    what: str
    """`wake.ordered of web-3`."""


class IdError(ValueError):
    """The text names nothing in the ledger that can be told of."""

    code = "IdUnknown"


class IdTextError(IdError):
    """The text is no id, nor the beginning of one."""

    code = "IdUnreadable"


class AmbiguousError(IdError):
    """The text names more than one thing; the sentence lists them."""

    code = "IdAmbiguous"


class Naming:
    """Everything that a text names, found by looking at each event once; bounded, whatever the text.

    An id may be shortened to its first digits. A mail is named by its message id, with or without angle brackets.
    """

    def __init__(self, text: str) -> None:
        self._mail = "@" in text
        self._text = f"<{text.strip('<>')}>" if self._mail else text
        self.found: dict[str, Named] = {}
        if not self._mail and not (
            FEWEST_DIGITS <= len(text) <= MOST_DIGITS and set(text) <= set("0123456789abcdef")
        ):
            raise IdTextError(
                f"{text!a:.60} is no id: write its first {FEWEST_DIGITS} to {MOST_DIGITS} hexadecimal digits, the message id "
                "of a mail, or ORG/POOL@TIME."
            )

    @property
    def needle(self) -> str:
        """What every event that the text names has in it: the others need not be decoded."""
        return self._text

    def apply(self, recorded: Recorded) -> None:
        """The event was looked at."""
        match recorded.fact:
            case MailAccepted(message_id=message_id) | MailFailed(message_id=message_id):
                if self._mail and message_id == self._text:
                    self._note("mail", recorded.id, recorded.seq, f"{recorded.type}, {message_id}")
            case GateDecided(orders=orders):
                for order in orders:
                    if self._fits(order.id):
                        self._note("order", order.id, recorded.seq, f"{tag_of(order)} of {order.vm}")
            case VmFoundAwake(reservation=reservation) if self._fits(reservation):
                self._note("event", recorded.id, recorded.seq, recorded.type)
            case _:
                pass
        if self._fits(recorded.id):
            self._note("event", recorded.id, recorded.seq, recorded.type)

    def the_one(self) -> Named:
        """What the text names; `IdError` where that is nothing, or more than one thing."""
        found = list(self.found.values())
        if not found:
            raise IdError(f"Nothing in the ledger has the id {self._text}.")
        if len(found) > 1:
            more = ", and more" if len(found) == MOST_NAMED else ""
            names = "; ".join(f"{one.id} ({one.what}, sequence {one.seq})" for one in found)
            raise AmbiguousError(f"{self._text} begins more than one id, write more digits: {names}{more}.")
        return found[0]

    def _fits(self, id_: str) -> bool:
        return not self._mail and id_.startswith(self._text)

    def _note(self, kind: Literal["event", "order", "mail"], id_: str, seq: int, what: str) -> None:
        # An outcome may stand in the ledger twice, where deduplication forgot it; the first is the one that counted.
        if len(self.found) < MOST_NAMED:
            self.found.setdefault(id_, Named(kind, id_, seq, what))
