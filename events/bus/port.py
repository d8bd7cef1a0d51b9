"""The bus as every worker sees it: appends that may be fenced, a tail in order, and the intake.

What an answer means was measured against nats-server 2.15.1, and both implementations keep to it:

- An append that fails with `Unanswered` may have been stored, or may be stored later. Asking again proves
  nothing when it finds nothing; only the fence decides.
- An expected sequence is checked before deduplication: a retry of a stored message is `Stale`.
- Deduplication looks at nothing but the id: whatever else a message says, one with a known id is answered as a
  duplicate and dropped. A batch with one known id is refused whole (`Known`), with one stale expectation as well (`Stale`).
- Two members of one batch may not expect on the same subject, and a literal subject is the only kind
  that an expectation is given for.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from events.stored import Stored


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to append; `expect` is the sequence that the last message on this very subject must have.

    `expect=0` means that there is none yet, `None` that it does not matter.
    """

    subject: str
    id: str
    payload: bytes
    expect: int | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    """Stored and on disk: `seq` of the message, or of the last one of a batch.

    With `duplicate` nothing was stored now: the id is known, and `seq` is where the bus says it stands.
    """

    seq: int
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Store:
    """Where the ledger's stream stands, and which stream of which server it is."""

    first_seq: int
    """Where it was made to begin: what comes before lies in the archive. One that lost its first messages begins there still."""
    last_seq: int
    """Of the newest; `first_seq - 1` when it holds none."""
    bytes: int
    """What its messages take on the disk."""
    max_bytes: int
    """What they may take at most; 0 when nothing bounds them."""
    created: str
    """When the stream was made, as the server says it: two streams of one name differ in it."""
    server_id: str
    """A server has a new one at every start."""


class Grant(msgspec.Struct, frozen=True):
    """One permit: on this server, this stream holds all that was sealed, `size` events under `root` (hexadecimal)."""

    server: str
    """The id that nats-server took when it started."""
    created: str
    """When the stream was made, as the server says it: what a stream is known by."""
    size: int
    root: str


class BusError(Exception):
    """Something about the bus; `code` is stable."""

    code = "Bus"


class UnansweredError(BusError):
    """Nobody knows whether it was stored, and it may still be: read, fold, decide again."""

    code = "BusUnanswered"


class StaleError(BusError):
    """The subject has moved on, or this very message was stored before: read, fold, decide again."""

    code = "BusStale"


class KnownError(BusError):
    """One id of the batch is known, so none of it was stored now."""

    code = "BusKnown"


class DeniedError(BusError):
    """The bus does not let this worker do that; nothing was stored. The sentence names worker and subject."""

    code = "BusDenied"


class FullError(BusError):
    """The store has no room; nothing was stored."""

    code = "BusFull"


class TooLargeError(BusError):
    """The message is longer than the bus takes; nothing was stored."""

    code = "BusTooLarge"


class UnpermittedError(UnansweredError):
    """The sealer has not said lately that one may append; nothing was sent."""

    code = "BusUnpermitted"


class AnotherLedgerError(BusError):
    """The stream was replaced while this process ran: what it has folded may not be what came before."""

    code = "BusAnotherLedger"


class LedgerDiffersError(BusError):
    """The ledger is not the one that this process acted on; it must not go on."""

    code = "LedgerDiffers"


Handler = Callable[[str, bytes], Awaitable[bytes]]
"""Answers one intake message: subject and payload in, reply out."""


class Bus(Protocol):
    """One worker's connection. Every call ends in bounded time, with an answer or one of the errors above."""

    async def append(self, message: Outgoing) -> Ack:
        """The message is stored for good, in the stream that its subject belongs to."""
        ...

    async def append_batch(self, messages: Sequence[Outgoing]) -> Ack:
        """All of the messages (2 to 1,000) are stored, next to each other and in order, or none is."""
        ...

    async def last(self) -> int:
        """The ledger's last sequence, as its leader says it; 0 when it is empty."""
        ...

    async def store(self) -> Store:
        """Where the ledger's stream stands, as its leader says it, and on which server it was asked."""
        ...

    async def last_on(self, subject: str) -> Stored | None:
        """The ledger's last message on a literal subject, as the leader says it."""
        ...

    async def read(self, first: int, last: int) -> list[Stored]:
        """The ledger's messages from `first` to `last`, inclusive; the caller bounds the range (<= 1,000)."""
        ...

    async def read_ahead(self, first: int, last: int) -> list[Stored]:
        """The ledger's messages from `first` on, in order and without a hole: at least one, at most some hundred.

        For reading far: never past `last`, but what follows is on its way while the caller is busy, in bounded
        amount, and the next call is expected to go on behind the last message of this one. `UnansweredError` when the
        ledger holds no `first` yet or nobody answers; ask again from the same place. `BusError` for a hole, as `read`.
        """
        ...

    async def telemetry(self, subject: str, *, after: int = 0, since_ns: int = 0) -> list[Stored]:
        """The telemetry's next messages on a subject (wildcards allowed), in order, some hundred at most; empty when there are none.

        Next are those behind sequence `after`, or those that the bus took at `since_ns` or later (Unix time). What has faded
        away is passed over. `UnansweredError` when nobody answers.
        """
        ...

    def tail(self, after: int) -> AsyncGenerator[list[Stored]]:
        """Every ledger message after sequence `after`, as they are stored, in non-empty groups.

        It is a doorbell with a payload: a group may repeat, skip or reorder after a reconnection, and the
        one who reads (`events.bus.ledger`) puts it right. It survives a restart of the server, and begins again *at* the
        last message that it gave (at `after`, if it gave none): whoever has that one sees whether it is still the same.
        """
        ...

    async def serve(self, subject: str, queue: str, handler: Handler) -> None:
        """From now on messages on `subject` (wildcards allowed) are answered by `handler`, each in a task."""
        ...

    async def ask(self, subject: str, payload: bytes, timeout_seconds: float) -> bytes:
        """The answer of whoever serves the subject; `UnansweredError` when nobody does in time."""
        ...

    async def permit(self, grant: Grant) -> None:
        """Whoever is on the server that the grant names may append for some seconds. The sealer's word alone.

        Lost without a word while there is no connection: it is said again twice a second.
        """
        ...

    async def close(self) -> None:
        """The connection is gone and its tasks have ended."""
        ...
