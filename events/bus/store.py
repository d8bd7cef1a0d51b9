"""A stream's rules without a stream: what nats-server 2.15.1 stores, refuses and answers, in its order of checks.

Pure: the time is an argument. The oddities are kept on purpose, and each was seen at the real server:

- one message: the expectation is checked before the id, so a retry of a stored message is stale;
- a batch: member by member, and in each the id before the expectation;
- an id stands for itself alone: known, with another subject and payload, it is a duplicate and dropped;
- in a batch an expectation on a subject that an earlier member wrote to is stale, whatever it says.
"""

from bisect import bisect_left
from collections.abc import Sequence

from events.bus import wire
from events.bus.permissions import covers
from events.bus.port import Ack, FullError, KnownError, Outgoing, StaleError, Stored

RECORD_BYTES = 30
"""What the file store adds to a message: 22 before and 8 behind."""


class Store:
    """One stream in memory. `dedup_seconds=0` forgets every id at once; `max_bytes=None` is never full."""

    def __init__(self, *, dedup_seconds: float, max_bytes: int | None = None, first: int = 1) -> None:
        self.first: int = first
        """The sequence of its first message, whether it holds one yet or not."""
        self.messages: list[Stored] = []
        """In order; sequence n stands at index n - `first`."""
        self._last_on: dict[str, int] = {}
        self._known: dict[str, int] = {}
        self.dedup_seconds = dedup_seconds
        self._dedup_ns = int(dedup_seconds * 1_000_000_000)
        self.max_bytes = max_bytes
        self.bytes = 0
        """What the messages take, as the file store counts."""

    @property
    def last(self) -> int:
        """The last sequence; `first - 1` when empty."""
        return self.first - 1 + len(self.messages)

    def last_on(self, subject: str) -> Stored | None:
        """The last message on a literal subject."""
        seq = self._last_on.get(subject)
        return self.messages[seq - self.first] if seq is not None else None

    def read(self, first: int, last: int) -> list[Stored]:
        """The messages from `first` to `last`, as far as there are any."""
        return self.messages[max(first - self.first, 0) : max(last + 1 - self.first, 0)]

    def append(self, message: Outgoing, now_ns: int) -> Ack:
        """The message is stored, or was before."""
        self._expect(message)
        self._forget(now_ns)
        known = self._known.get(message.id)
        if known is not None:
            return Ack(known, duplicate=True)
        self._room((message,))
        return Ack(self._put(message, now_ns))

    def append_batch(self, messages: Sequence[Outgoing], now_ns: int) -> Ack:
        """All of the messages are stored, or none."""
        self._forget(now_ns)
        ids: set[str] = set()
        subjects: set[str] = set()
        for message in messages:
            if message.id in self._known or message.id in ids:
                raise KnownError(
                    f"The bus refused a batch of {len(messages)}: its id {message.id} is known; "
                    "none of it was stored now."
                )
            if message.expect is not None and message.subject in subjects:
                raise StaleError(
                    f"The bus refused a batch of {len(messages)} as stale: two of its members are on "
                    f"{message.subject}; read, fold and decide again."
                )
            self._expect(message)
            ids.add(message.id)
            subjects.add(message.subject)
        self._room(messages)
        return Ack([self._put(message, now_ns) for message in messages][-1])

    def _expect(self, message: Outgoing) -> None:
        last = self._last_on.get(message.subject, 0)
        if message.expect is not None and message.expect != last:
            raise StaleError(
                f"The bus refused an append on {message.subject} as stale: its last sequence is {last}, not "
                f"{message.expect}; read, fold and decide again."
            )

    def _forget(self, now_ns: int) -> None:
        while self._known:
            oldest, seq = next(iter(self._known.items()))
            if self.messages[seq - self.first].stored_ns + self._dedup_ns > now_ns:
                return
            del self._known[oldest]

    def _room(self, messages: Sequence[Outgoing]) -> None:
        size = sum(map(_size_bytes, messages))
        if self.max_bytes is not None and self.bytes + size > self.max_bytes:
            raise FullError(
                f"The bus has no room for {size} bytes: it holds {self.bytes} of at most {self.max_bytes}; "
                "nothing was stored. Give it more disk."
            )
        self.bytes += size

    def _put(self, message: Outgoing, now_ns: int) -> int:
        seq = self.last + 1
        self.messages.append(Stored(seq, now_ns, message.subject, message.id, message.payload))
        self._last_on[message.subject] = seq
        self._known[message.id] = seq
        return seq


class Fading(Store):
    """A stream that takes everything and lets its oldest messages go: past their age, or when newer ones need their room."""

    def __init__(self, *, dedup_seconds: float, age_seconds: float, most_bytes: int) -> None:
        super().__init__(dedup_seconds=dedup_seconds)
        self._age_ns = int(age_seconds * 1_000_000_000)
        self._most_bytes = most_bytes

    def append(self, message: Outgoing, now_ns: int) -> Ack:
        """The message is stored, or was just now; what must go for it is gone."""
        ack = super().append(message, now_ns)
        self.fade(now_ns)
        return ack

    def fade(self, now_ns: int) -> None:
        """What is too old by now, or too much, is gone."""
        gone = 0
        for message in self.messages:
            if message.stored_ns + self._age_ns > now_ns and self.bytes <= self._most_bytes:
                break
            self.bytes -= _size_bytes(Outgoing(message.subject, message.id, message.payload))
            self._known.pop(message.id, None)
            if self._last_on.get(message.subject) == message.seq:
                del self._last_on[message.subject]
            gone += 1
        if gone:
            del self.messages[:gone]
            self.first += gone

    def next(self, subject: str, after: int, since_ns: int, most: int) -> list[Stored]:
        """At most so many messages on a subject, behind `after` and not older than `since_ns`."""
        begin = bisect_left(self.messages, since_ns, key=_stored_ns) if since_ns else after + 1 - self.first
        found: list[Stored] = []
        for place in range(max(begin, 0), len(self.messages)):
            if len(found) == most:
                break
            if covers(subject, self.messages[place].subject):
                found.append(self.messages[place])
        return found


def _stored_ns(message: Stored) -> int:
    return message.stored_ns


def _size_bytes(message: Outgoing) -> int:
    return RECORD_BYTES + len(message.subject) + wire.size_bytes(message.payload, wire.headers(message))
