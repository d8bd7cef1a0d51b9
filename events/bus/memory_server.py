"""The server of the bus in memory: what all connections share."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from events.bus.faults import Faults, NoFaults
from events.bus.limits import MOST_MESSAGE_BYTES
from events.bus.permissions import DEAD_LETTERS, TELEMETRY_OF, Permit, covers
from events.bus.permit import Permits
from events.bus.port import Ack, Handler, Outgoing, Stored, UnansweredError
from events.bus.store import Fading, Store
from events.envelope import SUBJECTS


@dataclass(slots=True, eq=False)
class Service:
    """Who serves a subject, and what it is answering."""

    bus: "Client"
    subject: str
    handler: Handler
    running: set["asyncio.Task[None]"] = field(default_factory=set["asyncio.Task[None]"])


class Client(Protocol):
    """A connection, as the server sees it."""

    permits: Permits | None

    def lose(self, why: str) -> None:
        """What was under way is unanswered."""
        ...

    def resume(self) -> None:
        """The server is there again."""
        ...

    def ring(self) -> None:
        """Something was stored."""
        ...

    def take(
        self, service: Service, asker: Permit, message: tuple[str, bytes], answer: "asyncio.Future[bytes]"
    ) -> None:
        """The message is being answered."""
        ...


class MemoryServer:
    """What all connections share: the ledger, the dead letters, who listens, and whether the server is there.

    `clock_ns` gives Unix time in nanoseconds and must not run backwards.
    """

    def __init__(
        self,
        clock_ns: Callable[[], int],
        *,
        dedup_seconds: float = 600.0,
        max_payload_bytes: int = MOST_MESSAGE_BYTES,
        ledger_bytes: int | None = None,
        telemetry_bytes: int = 1024**3,
        faults: Faults | None = None,
    ) -> None:
        self.ledger = Store(dedup_seconds=dedup_seconds, max_bytes=ledger_bytes)
        self.dead = Store(dedup_seconds=dedup_seconds)
        self.telemetry = Fading(dedup_seconds=0.1, age_seconds=8 * 24 * 3600, most_bytes=telemetry_bytes)
        self.faults = faults if faults is not None else NoFaults()
        self.max_payload_bytes = max_payload_bytes
        self.up = asyncio.Event()
        self.up.set()
        self.buses: list[Client] = []
        self.services: list[Service] = []
        self.clock_ns = clock_ns
        self.created = str(clock_ns())
        self.past: list[Stored] = []
        """What came before the ledger's first message, as an archive has it."""
        self._starts = 1
        self._stores: dict[str, Store] = {}

    @property
    def server_id(self) -> str:
        """Another one at every start."""
        return f"memory-{self._starts}"

    def stop(self) -> None:
        """The server is gone without a goodbye; what it stored stays. Requests under way are unanswered."""
        self.up.clear()
        for bus in self.buses:
            bus.lose("the connection broke")

    def start(self) -> None:
        """The server is there again, with what it had stored."""
        self._starts += 1
        self.up.set()
        for bus in self.buses:
            bus.resume()

    def begin_anew(self, size: int | None = None) -> None:
        """The ledger goes on in a stream of its own behind its first `size` events, all by default, which are past now.

        To be done while the server is stopped. Whoever was connected finds another ledger when it is back.
        """
        former = self.ledger
        held = [*self.past, *former.messages]
        self.past = held if size is None else held[:size]
        self.ledger = Store(
            dedup_seconds=former.dedup_seconds, max_bytes=former.max_bytes, first=len(self.past) + 1
        )
        self.created = f"{self.clock_ns()} behind {len(self.past)}"
        self._stores.clear()

    def read(self, first: int, last: int) -> list[Stored]:
        """The ledger's messages from `first` to `last`, those that are past included."""
        if first >= self.ledger.first:
            return self.ledger.read(first, last)
        return [*self.past[max(first, 1) - 1 : last], *self.ledger.read(self.ledger.first, last)]

    def last_on(self, subject: str) -> Stored | None:
        """The last message on a subject, however long ago."""
        found = self.ledger.last_on(subject)
        if found is None:
            return next((one for one in reversed(self.past) if covers(subject, one.subject)), None)
        return found

    def store_of(self, subject: str) -> Store | None:
        """The stream that takes a subject."""
        known = self._stores.get(subject)
        if known is None:
            streams = (
                (SUBJECTS, self.ledger),
                (DEAD_LETTERS, self.dead),
                (TELEMETRY_OF.format("*"), self.telemetry),
            )
            for pattern, store in streams:
                if covers(pattern, subject):
                    known = self._stores[subject] = store
        return known

    def put(self, messages: Sequence[Outgoing], *, batch: bool) -> Ack:
        """The messages are stored by the rules; raises what the rules refuse."""
        store = self.store_of(messages[0].subject)
        if store is None:
            raise UnansweredError(f"No stream of the bus takes {messages[0].subject}.")
        assert all(self.store_of(message.subject) is store for message in messages)
        now_ns = self.clock_ns()
        ack = store.append_batch(messages, now_ns) if batch else store.append(messages[0], now_ns)
        for bus in self.buses:
            bus.ring()
        return ack

    def service_for(self, subject: str) -> Service | None:
        """Whose turn it is to answer on `subject`; all who serve it take turns, as one queue."""
        for service in self.services:
            if covers(service.subject, subject):
                self.services.remove(service)
                self.services.append(service)
                return service
        return None
