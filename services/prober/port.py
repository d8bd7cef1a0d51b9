"""What the prober asks of a guest; HTTP answers it, and the simulation does."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Pulse:
    """A guest answered: which boot it is, and its clock in Unix milliseconds where it tells.

    `clock_second` is the same to the second, rounded down: what the date in the head of an HTTP answer says.
    """

    boot_id: str
    clock_ms: int | None
    clock_second: int | None = None


class Guests(Protocol):
    """The way to guests."""

    async def probe(self, address: str, timeout_seconds: float) -> Pulse | None:
        """The pulse of the guest at `host:port`; None when it does not answer properly in time."""
        ...
