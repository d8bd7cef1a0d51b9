"""The bus in memory: the same manners as NATS, no threads, no wall clock, and faults on demand.

Time is the loop's: under a loop with virtual time a timeout of five seconds costs nothing, and equal seeds give
equal runs. What is stored and refused stands in `events.bus.store`.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from events.bus import port, wire
from events.bus.limits import (
    GROUP_MESSAGES,
    LEAST_BATCH,
    MOST_BATCH,
    MOST_SERVED,
    OVERLOADED,
    TELEMETRY_MESSAGES,
    TIMEOUT_SECONDS,
)
from events.bus.memory_server import MemoryServer, Service
from events.bus.memory_tail import MemoryTail
from events.bus.permissions import (
    CONSUMER_CREATE,
    DIRECT_GET,
    LEDGER,
    MESSAGE_GET,
    PERMIT,
    STREAM_INFO,
    TELEMETRY,
    Permit,
    covers,
)
from events.bus.permit import Permits, replaced
from events.bus.port import (
    Ack,
    BusError,
    DeniedError,
    Grant,
    Handler,
    Outgoing,
    Stored,
    TooLargeError,
    UnansweredError,
)
from events.envelope import SUBJECTS


class MemoryBus:
    """One worker's connection to a `MemoryServer`; `events.bus.port.Bus` says what its methods promise."""

    def __init__(
        self,
        server: MemoryServer,
        permit: Permit,
        *,
        on_fault: Callable[[str], None] = lambda _: None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        permit_seconds: float = 0.0,
    ) -> None:
        """With `permit_seconds` it appends only while the sealer's permit is not older than that."""
        self.name = permit.name
        self._server = server
        self._permit = permit
        self._on_fault = on_fault
        self._timeout_seconds = timeout_seconds
        self._closed = False
        self._waiting: list[asyncio.Future[Ack | BusError]] = []
        self._tails: list[MemoryTail] = []
        self._asked: list[asyncio.Future[bytes]] = []
        self._permitted: dict[str, bool] = {}
        """Whether it may publish on a subject; there are few, and each is asked about all the time."""
        self._created = server.created
        self.permits: Permits | None = (
            Permits(permit_seconds, lambda: server.server_id) if permit_seconds else None
        )
        server.buses.append(self)

    # --------------------------------------------------------------------------------------------- append, read

    async def append(self, message: Outgoing) -> Ack:
        """The message is stored for good, in the stream that its subject belongs to."""
        return await self._send((message,), batch=False)

    async def append_batch(self, messages: Sequence[Outgoing]) -> Ack:
        """All of them are stored, next to each other, or none."""
        assert LEAST_BATCH <= len(messages) <= MOST_BATCH, len(messages)
        return await self._send(tuple(messages), batch=True)

    async def last(self) -> int:
        """The ledger's last sequence."""
        await self._call(STREAM_INFO.format(LEDGER))
        return self._server.ledger.last

    async def store(self) -> port.Store:
        """Where the ledger's stream stands."""
        await self._call(STREAM_INFO.format(LEDGER))
        ledger = self._server.ledger
        return port.Store(
            first_seq=ledger.first,
            last_seq=ledger.last,
            bytes=ledger.bytes,
            max_bytes=ledger.max_bytes or 0,
            created=self._server.created,
            server_id=self._server.server_id,
        )

    async def last_on(self, subject: str) -> Stored | None:
        """The ledger's last message on a literal subject."""
        await self._call(MESSAGE_GET.format(LEDGER))
        return self._server.last_on(subject)

    async def read(self, first: int, last: int) -> list[Stored]:
        """The ledger's messages from `first` to `last`, or to its end."""
        await self._call(DIRECT_GET.format(LEDGER))
        return self._server.read(first, last)

    async def read_ahead(self, first: int, last: int) -> list[Stored]:
        """The next messages from `first` on, at most as many as a group of the real reader."""
        await self._call(DIRECT_GET.format(LEDGER))
        group = self._server.read(first, min(last, first + GROUP_MESSAGES - 1))
        if not group:
            raise UnansweredError(f"The ledger holds no sequence {first} yet.")
        return group

    async def telemetry(self, subject: str, *, after: int = 0, since_ns: int = 0) -> list[Stored]:
        """The telemetry's next messages on a subject."""
        await self._call(DIRECT_GET.format(TELEMETRY))
        stream = self._server.telemetry
        stream.fade(self._server.clock_ns())
        return stream.next(subject, after, since_ns, TELEMETRY_MESSAGES)

    async def _send(self, messages: tuple[Outgoing, ...], *, batch: bool) -> Ack:
        for message in messages:
            fields = wire.batch_headers(message, "0" * 32, 1, 0) if batch else wire.headers(message)
            self._require(message.subject, wire.size_bytes(message.payload, fields))
        await self._ready(messages[0].subject, self._timeout_seconds)
        if self.permits is not None and covers(SUBJECTS, messages[0].subject):
            await self._permitted_now(self.permits, messages[0].subject)
        self._look()
        if (begin := self._server.ledger.first) > 1:
            messages = tuple(
                replace(message, expect=0) if message.expect and message.expect < begin else message
                for message in messages
            )
        passage = self._server.faults.before(self.name, messages)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Ack | BusError] = loop.create_future()

        def arrive() -> None:
            outcome = self._arrive(messages, batch=batch)
            if passage.fate == "answered" and outcome is not None:
                loop.call_later(passage.ack_seconds, _settle, answer, outcome)

        if passage.fate == "stored-late":
            loop.call_later(passage.late_seconds, arrive)
        elif passage.fate != "request-lost":
            loop.call_later(passage.request_seconds, arrive)
        patience = passage.patience_seconds
        heard = await self._hear(
            answer, self._timeout_seconds if patience is None else patience, messages[-1].subject
        )
        self._server.faults.after(self.name, messages, heard)
        if isinstance(heard, BusError):
            raise heard
        return heard

    async def _permitted_now(self, permits: Permits, subject: str) -> None:
        """One may append, to the server as it is now."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                while not permits.fresh:
                    await permits.wait()
                    await self._ready(subject, self._timeout_seconds)
        except TimeoutError as error:
            raise permits.missing(self.name, subject) from error

    async def permit(self, grant: Grant) -> None:
        """Whoever is on that server may append, for as long as each believes; lost while the server is away."""
        self._require(PERMIT, 0)
        await asyncio.sleep(0)
        if self._closed or not self._server.up.is_set():
            return
        for bus in self._server.buses:
            if bus.permits is not None:
                bus.permits.hear(msgspec.json.encode(grant))

    def _arrive(self, messages: tuple[Outgoing, ...], *, batch: bool) -> Ack | BusError | None:
        if not self._server.up.is_set():
            return None
        try:
            return self._server.put(messages, batch=batch)
        except BusError as error:
            return error

    async def _hear(
        self, answer: "asyncio.Future[Ack | BusError]", seconds: float, subject: str
    ) -> Ack | BusError:
        self._waiting.append(answer)
        silence = UnansweredError(f"The bus did not answer {self.name} on {subject} within {seconds:g} s.")
        patience = asyncio.get_running_loop().call_later(seconds, _settle, answer, silence)
        try:
            return await answer
        finally:
            patience.cancel()
            self._waiting.remove(answer)

    def _require(self, subject: str, size: int) -> None:
        permitted = self._permitted.get(subject)
        if permitted is None:
            permitted = self._permitted[subject] = self._permit.may_publish(subject)
        if not permitted:
            raise DeniedError(f"The bus does not let {self.name} publish on {subject}; nothing was stored.")
        if size > self._server.max_payload_bytes:
            raise TooLargeError(
                f"A message of {size} bytes on {subject} was not sent: the bus takes at most "
                f"{self._server.max_payload_bytes}. Split it, or say less."
            )

    async def _ready(self, subject: str, seconds: float) -> None:
        if self._closed:
            raise UnansweredError(f"{self.name} left the bus; nothing was sent on {subject}.")
        if self._server.up.is_set():
            return
        try:
            async with asyncio.timeout(seconds):
                await self._server.up.wait()
        except TimeoutError as error:
            raise UnansweredError(
                f"The bus did not answer {self.name} on {subject} within {seconds:g} s."
            ) from error

    async def _call(self, subject: str) -> None:
        """One trip to the server and back, so that others may act before the answer is looked at."""
        self._require(subject, 0)
        await self._ready(subject, self._timeout_seconds)
        await asyncio.sleep(0)
        if self._closed or not self._server.up.is_set():
            raise UnansweredError(f"{self.name} has no answer on {subject}: the connection broke.")
        self._look()

    def _look(self) -> None:
        """The ledger is the one that was there when this connection was made; `AnotherLedger` when it was made anew."""
        if self._created != self._server.created:
            raise replaced(self._created, self._server.created)

    # ------------------------------------------------------------------------------------------------- the tail

    async def tail(self, after: int) -> AsyncGenerator[list[Stored]]:
        """Every ledger message after sequence `after`, as they are stored."""
        self._require(CONSUMER_CREATE.format(LEDGER, self.name), 0)
        await asyncio.sleep(0)
        if self._closed:
            return
        tail = MemoryTail(self.name, self._server.ledger, self._server.faults, self._server.up, after)
        self._tails.append(tail)
        try:
            while group := await tail.take():
                yield group
            self._look()
        finally:
            self._tails.remove(tail)
            tail.end()

    def ring(self) -> None:
        """Something was stored."""
        for tail in self._tails:
            tail.ring()

    # ------------------------------------------------------------------------------------------------ the intake

    async def serve(self, subject: str, queue: str, handler: Handler) -> None:
        """From now on `handler` answers what comes on `subject`; here there is one queue for everybody."""
        del queue
        await self._ready(subject, self._timeout_seconds)
        if not self._permit.may_subscribe(subject):
            raise DeniedError(f"The bus does not let {self.name} listen on {subject}.")
        self._server.services.append(Service(self, subject, handler))

    async def ask(self, subject: str, payload: bytes, timeout_seconds: float) -> bytes:
        """The answer of whoever serves the subject, or `Unanswered`: at once when nobody is there."""
        self._require(subject, wire.size_bytes(payload, {}))
        await self._ready(subject, timeout_seconds)
        await asyncio.sleep(0)
        service = self._server.service_for(subject)
        if service is None:
            raise UnansweredError(f"Nobody serves {subject}.")
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        try:
            service.bus.take(service, self._permit, (subject, payload), answer)
            async with asyncio.timeout(timeout_seconds):
                return await answer
        except TimeoutError as error:
            raise UnansweredError(
                f"The bus did not answer {self.name} on {subject} within {timeout_seconds:g} s."
            ) from error
        finally:
            self._asked.remove(answer)

    def take(
        self,
        service: Service,
        asker: Permit,
        message: tuple[str, bytes],
        answer: "asyncio.Future[bytes]",
    ) -> None:
        """The message is being answered, in a task of this connection."""
        if len(service.running) >= MOST_SERVED:
            _settle(answer, OVERLOADED)
            return
        task = asyncio.create_task(self._answer(service, asker, message, answer), name=f"serve {message[0]}")
        service.running.add(task)
        task.add_done_callback(service.running.discard)

    async def _answer(
        self,
        service: Service,
        asker: Permit,
        message: tuple[str, bytes],
        answer: "asyncio.Future[bytes]",
    ) -> None:
        subject, payload = message
        try:
            reply = await service.handler(subject, payload)
        except Exception as error:  # noqa: BLE001 - one message must not end the intake; its asker hears nothing
            self._on_fault(f"A message on {subject} was not answered: {error!r}.")
            return
        if self._permit.allow_responses or self._permit.may_publish(f"{asker.inbox}.answer"):
            _settle(answer, reply)
        else:
            self._on_fault(f"The bus does not let {self.name} answer {asker.name} on {subject}.")

    # ---------------------------------------------------------------------------------------------- the connection

    def lose(self, why: str) -> None:
        """What was under way is unanswered, at once."""
        for answer in self._waiting:
            _settle(answer, UnansweredError(f"{self.name} has no answer: {why}."))
        for asked in self._asked:
            if not asked.done():
                asked.set_exception(UnansweredError(f"{self.name} has no answer: {why}."))
        for tail in self._tails:
            tail.restart()

    def resume(self) -> None:
        """The tails go on behind what they handed on last, unless the ledger is another one."""
        for tail in self._tails:
            if self._created == self._server.created:
                tail.restart()
            else:
                tail.end()

    def cut(self) -> None:
        """The connection is gone this instant, as when its process was killed."""
        if self._closed:
            return
        self._closed = True
        self._server.buses.remove(self)
        for service in [one for one in self._server.services if one.bus is self]:
            self._server.services.remove(service)
            for task in list(service.running):
                task.cancel()
        self.lose("the connection was closed")
        for tail in self._tails:
            tail.end()

    async def close(self) -> None:
        """The connection is gone and its tasks have ended."""
        running = [task for one in self._server.services if one.bus is self for task in one.running]
        self.cut()
        await asyncio.gather(*running, return_exceptions=True)


def _settle(future: "asyncio.Future[Any]", value: object) -> None:
    if not future.done():
        future.set_result(value)
