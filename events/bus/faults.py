"""What can go wrong on the way to the bus and back, as values that a simulation draws from its seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol

from events.bus.port import Ack, BusError, Outgoing, Stored

Fate = Literal["answered", "request-lost", "ack-lost", "stored-late"]
"""An append is stored and answered; or never stored, stored, stored later: each of these looks `Unanswered`."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What becomes of one append, or one batch."""

    fate: Fate = "answered"
    request_seconds: float = 0.0
    """From the call until the bus has it. A worker that is killed meanwhile does not take it back."""
    ack_seconds: float = 0.0
    """From then until the caller hears the answer."""
    late_seconds: float = 0.0
    """With `stored-late`: from the call until it is stored, without anybody hearing of it."""
    patience_seconds: float | None = None
    """Until the caller hears that nobody answers; None is the bus's own timeout, 0 a broken connection."""


class Delivery(NamedTuple):
    """A group of messages that reaches the tail `delay_seconds` after its time."""

    group: tuple[Stored, ...]
    delay_seconds: float = 0.0


SMOOTH: Final = Passage()


class Faults(Protocol):
    """Asked at every append and delivery. Any method may raise, which kills the caller at that very line."""

    def before(self, name: str, messages: Sequence[Outgoing]) -> Passage:
        """What shall become of what `name` is about to append; a raise here stores nothing."""
        ...

    def after(self, name: str, messages: Sequence[Outgoing], answer: Ack | BusError) -> None:
        """The answer is there and `name` has not heard it; a raise here leaves it stored and unknown."""
        ...

    def deliver(self, name: str, group: tuple[Stored, ...]) -> Sequence[Delivery]:
        """How a group reaches the tail of `name`.

        Twice is a duplicate, none a loss, another order inside is a reordering, and a delay lets later groups
        overtake. What is lost at the end of the ledger is delivered again after a missed heartbeat.
        """
        ...


class NoFaults:
    """Everything arrives, once, in order, at once."""

    def before(self, name: str, messages: Sequence[Outgoing]) -> Passage:
        """Smooth."""
        del name, messages
        return SMOOTH

    def after(self, name: str, messages: Sequence[Outgoing], answer: Ack | BusError) -> None:
        """Nothing happens."""

    def deliver(self, name: str, group: tuple[Stored, ...]) -> Sequence[Delivery]:
        """As it is."""
        del name
        return (Delivery(group),)
