"""The bus over NATS JetStream: what the port promises, kept with the client's core and JetStream's own API."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

import msgspec
from nats.aio.msg import Msg

from events.bus import doorbell, wire
from events.bus.limits import (
    GROUP_MESSAGES,
    LEAST_BATCH,
    MOST_BATCH,
    MOST_SERVED,
    OVERLOADED,
    TELEMETRY_MESSAGES,
    TIMEOUT_SECONDS,
)
from events.bus.link import Link
from events.bus.outsiders import Tally, quoted
from events.bus.past import Past, PastUnreadableError
from events.bus.permissions import (
    DIRECT_GET,
    LEDGER,
    MESSAGE_GET,
    PERMIT,
    STREAM_INFO,
    TELEMETRY,
    asker,
    covers,
    inbox,
)
from events.bus.permit import Permits, replaced
from events.bus.port import Ack, Grant, Handler, Outgoing, Store, Stored, UnansweredError
from events.bus.reader.ahead import Reader, dialler, hole
from events.envelope import SUBJECTS
from events.ids import derive


async def connect(
    url: str,
    name: str,
    *,
    seed: bytes | None,
    inbox: str,
    on_fault: Callable[[str], None],
    timeout_seconds: float = TIMEOUT_SECONDS,
    permit_seconds: float = 0.0,
    past: Past | None = None,
) -> "NatsBus":
    """A connection of the user `name` that comes back whenever it is lost.

    `seed` is an nkey's, `inbox` a prefix that this user may subscribe to. `on_fault` hears one sentence about
    whatever no call can be told. Raises `Unanswered` when nobody answers within `timeout_seconds`, which
    also bounds every later call, and `Denied` for an unknown key.
    With `permit_seconds` it appends only while the sealer's permit is not older than that; such a user must be one
    that may listen to permits. What lies before the stream's first message is read from `past`.
    """
    link = Link(url, name, seed, inbox, on_fault)
    await link.open(timeout_seconds)
    reader = Reader(name, inbox, dialler(url, name, seed), on_fault, timeout_seconds)
    bus = NatsBus(link, reader, timeout_seconds, past)
    if permit_seconds:
        try:
            await bus.obey(permit_seconds)
        except BaseException:
            await bus.close()
            raise
    return bus


class NatsBus:
    """One worker's connection to nats-server; `events.bus.port.Bus` says what its methods promise."""

    def __init__(self, link: Link, reader: Reader, timeout_seconds: float, past: Past | None = None) -> None:
        self._link = link
        self._reader = reader
        self._timeout_seconds = timeout_seconds
        self._past = past
        self._created = ""
        """The stream that this process reads, by the time at which it was made; it must not become another one."""
        self._first_seq = 1
        """Where the stream was made to begin, as it was when the bus was last asked; what lies before is past."""
        self._looked = 0
        """On which of our connections, counted from 1, the bus was asked for these two."""
        self._served: set[asyncio.Task[None]] = set()
        self._tally = Tally(link.on_fault)
        self._permits: Permits | None = None

    async def obey(self, seconds: float) -> None:
        """From now on nothing is appended to the ledger without a permit of the sealer, at most so many seconds old."""
        permits = Permits(seconds, lambda: self._link.server_id)

        def hear(message: Msg) -> None:
            # The server gives whoever may read a stored message with the subject that they name for the answer. Such
            # a one has headers, or the reply of a consumer's delivery; the sealer says its word with neither.
            if message.headers or message.reply:
                self._tally.add(
                    "forged",
                    f"A message on {PERMIT} counted for nothing: it is an answer of the bus that somebody had sent there, "
                    "and not the sealer's word.",
                )
            else:
                permits.hear(message.data)

        await self._link.listen(PERMIT, hear, timeout_seconds=self._timeout_seconds)
        self._permits = permits

    async def permitted(self) -> None:
        """The sealer has said that one may append to the server that this connection is with; at once where nobody needs it."""
        while self._permits is not None and not self._permits.fresh:
            await self._permits.wait()

    async def permit(self, grant: Grant) -> None:
        """Whoever is on that server may append, for as long as each believes; lost while there is no connection."""
        await self._link.send(PERMIT, msgspec.json.encode(grant))

    async def append(self, message: Outgoing) -> Ack:
        """The message is stored for good; one durable write, 0.4 ms where fsync takes 0.2."""
        if message.expect and self._unsure(message.expect):
            message = await self._expecting(message, message.expect)
        sent = (message.subject, message.payload, wire.headers(message))
        permits = self._needed(message.subject)
        answer = await self._link.collect([sent], _at_once, self._timeout_seconds, permits)
        return self._ack(answer[0], f"an append of {self._link.name} on {message.subject}")

    async def append_batch(self, messages: Sequence[Outgoing]) -> Ack:
        """All of them are stored, next to each other, or none: four fsyncs, cheaper from about ten on."""
        size = len(messages)
        assert LEAST_BATCH <= size <= MOST_BATCH, size
        messages = [
            await self._expecting(message, message.expect)
            if message.expect and self._unsure(message.expect)
            else message
            for message in messages
        ]
        batch = derive(self._link.fresh())
        sent = [
            (message.subject, message.payload, wire.batch_headers(message, batch, place, size))
            for place, message in enumerate(messages, start=1)
        ]
        permits = self._needed(messages[0].subject)
        answer = await self._link.collect(sent, _at_once, self._timeout_seconds, permits)
        return self._ack(answer[0], f"a batch of {size} by {self._link.name}")

    def _unsure(self, expect: int) -> bool:
        """Whether an expected sequence may lie before the stream's first, as far as can be said without asking."""
        return expect < self._first_seq or self._looked != self._link.returns

    async def _expecting(self, message: Outgoing, expect: int) -> Outgoing:
        """The message with what the stream can compare: on a subject whose last message is past it holds none, which is 0."""
        return replace(message, expect=0) if expect < await self._begin() else message

    def _needed(self, subject: str) -> Permits | None:
        """The permits that an append on the subject waits for: dead letters need none."""
        return self._permits if covers(SUBJECTS, subject) else None

    def _ack(self, answer: Msg, what: str) -> Ack:
        if _status(answer) == wire.NO_RESPONDERS:
            raise UnansweredError(f"No stream of the bus took {what}; is it still starting?")
        return wire.ack(answer.data, what)

    async def last(self) -> int:
        """The ledger's last sequence, asked of the stream's leader."""
        return (await self._info()).state.last_seq

    async def store(self) -> Store:
        """Where the ledger's stream stands, and the server that said so: a request ends with its connection."""
        return wire.store(await self._info(), self._link.server_id)

    async def _info(self) -> wire.StreamInfo:
        info = wire.stream_info((await self._api(STREAM_INFO.format(LEDGER), b"")).data)
        if info.error is not None:
            raise wire.refusal(info.error, "a look at the ledger's end")
        if self._created not in {"", info.created}:
            raise replaced(self._created, info.created)
        self._created, self._first_seq = info.created, wire.began(info)
        return info

    async def _begin(self) -> int:
        """Where the stream begins; asked once on each connection, since a bus that comes back may hold another ledger.

        Raises `AnotherLedger` then: only a process that starts anew folds all that came before.
        """
        connection = self._link.returns
        if self._looked != connection:
            await self._info()
            self._looked = connection
        return self._first_seq

    async def look(self) -> None:
        """The stream is the one that it was; `AnotherLedger` when it was made anew, on whatever connection."""
        await self._info()

    async def last_on(self, subject: str) -> Stored | None:
        """The ledger's last message on a literal subject, asked of the stream's leader."""
        begin = await self._begin()
        body = msgspec.json.encode({"last_by_subj": subject})
        found = wire.message_on((await self._api(MESSAGE_GET.format(LEDGER), body)).data, subject)
        if found is None and begin > 1:
            return await self._before(begin).last_on(subject, begin - 1)
        return found

    def _before(self, begin: int) -> Past:
        if self._past is None:
            raise PastUnreadableError(
                f"The bus's stream begins at {begin}, and {self._link.name} knows of no archive with what came before. "
                "Name the house's archive as `audit` in its house.json."
            )
        return self._past

    async def _api(self, subject: str, body: bytes) -> Msg:
        answer = await self._link.request(subject, body, self._timeout_seconds)
        if _status(answer) == wire.NO_RESPONDERS:
            raise UnansweredError(f"The bus has no ledger that answers {subject}; is it still starting?")
        return answer

    async def read(self, first: int, last: int) -> list[Stored]:
        """The messages from `first` to `last`, or to the ledger's end; never one without those before it.

        Raises `BusError` for a hole, which a ledger has only when its store is damaged: a bit that flipped on
        the disk makes the server leave a message out without a word.
        """
        begin = await self._begin()
        found: list[Stored] = []
        if first < begin:
            found = await self._before(begin).read(first, min(last, begin - 1))
        while first + len(found) <= last:
            after = first + len(found)
            part = await self._read_some(after, last)
            if not part:
                break
            for place, message in enumerate(part, start=after):
                if message.seq != place:
                    raise hole(place, message.seq)
            found.extend(part)
        return found

    async def _read_some(self, first: int, last: int) -> list[Stored]:
        # The server may end an answer before the batch is full, when its bytes would be too many.
        body = msgspec.json.encode({"seq": first, "batch": last - first + 1})
        parts = await self._link.collect(
            [(DIRECT_GET.format(LEDGER), body, {})], _has_status, self._timeout_seconds
        )
        status = _status(parts[-1])
        if status not in (wire.END_OF_BATCH, wire.NOT_FOUND):
            raise UnansweredError(f"The bus could not read the ledger from {first} to {last}: {status}.")
        return [
            stored
            for part in parts[:-1]
            if (stored := wire.direct(part.headers or {}, part.data)).seq <= last
        ]

    async def read_ahead(self, first: int, last: int) -> list[Stored]:
        """The next messages from `first` on, over a connection of their own that ends with `last`."""
        begin = await self._begin()
        if first < begin:
            return await self._before(begin).read(first, min(last, begin - 1, first + GROUP_MESSAGES - 1))
        return await self._reader.read(first, last)

    async def telemetry(self, subject: str, *, after: int = 0, since_ns: int = 0) -> list[Stored]:
        """The telemetry's next messages on a subject; one question, whose answers come in one burst."""
        where = {"start_time": wire.instant(since_ns)} if since_ns else {"seq": after + 1}
        body = msgspec.json.encode(where | {"next_by_subj": subject, "batch": TELEMETRY_MESSAGES})
        place = DIRECT_GET.format(TELEMETRY)
        parts = await self._link.collect([(place, body, {})], _has_status, self._timeout_seconds)
        status = _status(parts[-1])
        if status not in (wire.END_OF_BATCH, wire.NOT_FOUND):
            raise UnansweredError(f"The bus could not read the telemetry on {subject}: {status}.")
        return [wire.direct(part.headers or {}, part.data) for part in parts[:-1]]

    def tail(self, after: int) -> AsyncGenerator[list[Stored]]:
        """Every message after sequence `after`, within 0.3 ms of being stored; ended with `aclose`."""
        return doorbell.tail(self._link, after, self.look)

    async def serve(self, subject: str, queue: str, handler: Handler) -> None:
        """From now on `handler` answers what comes on `subject` of the intake, one member of `queue` each message."""

        async def refuse(subject: str, payload: bytes) -> bytes:
            del subject, payload
            return OVERLOADED

        def take(message: Msg) -> None:
            full = len(self._served) >= MOST_SERVED
            task = asyncio.create_task(
                self._answer(message, refuse if full else handler), name=f"serve {message.subject}"
            )
            self._served.add(task)
            task.add_done_callback(self._served.discard)

        await self._link.listen(subject, take, queue=queue, timeout_seconds=self._timeout_seconds)

    async def _answer(self, message: Msg, handler: Handler) -> None:
        try:
            await self._reply(message, await handler(message.subject, message.data))
        except Exception as error:  # noqa: BLE001 - one message must not end the intake; its asker hears nothing
            self._tally.add(
                "failed", f"A message on {quoted(message.subject)} was not answered: {quoted(repr(error))}."
            )

    async def _reply(self, message: Msg, answer: bytes) -> None:
        # `allow_responses` would let an asker have the answer written anywhere: into the ledger, or as an answer
        # that somebody else waits for.
        if message.reply.startswith(f"{inbox(asker(message.subject))}."):
            await self._link.send(message.reply, answer)
        elif message.reply:
            self._tally.add(
                "astray",
                f"An answer on {quoted(message.subject)} was asked for on {quoted(message.reply)}, which is no inbox "
                "of the asker; not given.",
            )

    async def ask(self, subject: str, payload: bytes, timeout_seconds: float) -> bytes:
        """The answer of whoever serves the subject, or `Unanswered`: at once when nobody is there."""
        answer = await self._link.request(subject, payload, timeout_seconds)
        if _status(answer) == wire.NO_RESPONDERS:
            raise UnansweredError(f"Nobody serves {subject}.")
        return answer.data

    async def close(self) -> None:
        """The connection is gone, and what was being answered is not answered any more."""
        self._reader.close()
        served = list(self._served)
        for task in served:
            task.cancel()
        await asyncio.gather(*served, return_exceptions=True)
        await self._link.close()


def _status(message: Msg) -> str | None:
    return message.headers.get(wire.STATUS) if message.headers else None


def _at_once(_: Msg) -> bool:
    return True


def _has_status(message: Msg) -> bool:
    return _status(message) is not None
