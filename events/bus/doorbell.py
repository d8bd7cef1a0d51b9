"""The tail of the ledger over NATS: a consumer without acks, two standing pull requests, messages in order.

The consumer is a doorbell: it may vanish with the server's memory at any time and is then made anew at the last
message that was handed on, which comes once more. Why there are no acks: docs/adr/0002-tail-without-acks.md.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final

import msgspec
from nats.aio.msg import Msg

from events.bus import wire
from events.bus.link import Ear, Link
from events.bus.permissions import CONSUMER_CREATE, CONSUMER_NEXT, LEDGER
from events.bus.port import AnotherLedgerError, BusError, DeniedError, Stored, UnansweredError

PULL_MESSAGES: Final = 256
"""Messages that one request may bring. Two stand at the server, so 512 bound what waits in memory here."""

EXPIRES_SECONDS: Final = 30
HEARTBEAT_SECONDS: Final = 5
SILENCE_SECONDS: Final = 2 * HEARTBEAT_SECONDS + 1
"""Two heartbeats missed: the consumer or the connection is dead without having said so."""

FORGET_SECONDS: Final = 60
"""The server forgets a consumer that nobody asked anything for so long."""

CREATE_TIMEOUT_SECONDS: Final = 5.0
RETRY_SECONDS: Final = 0.05

_NS: Final = 1_000_000_000


async def tail(link: Link, after: int, look: Callable[[], Awaitable[None]]) -> AsyncGenerator[list[Stored]]:
    """Every message of the ledger after sequence `after`; see `events.bus.port.Bus.tail`.

    Before each consumer `look` is asked whether the ledger is still the one that was followed, and raises `AnotherLedger`.
    An older copy of its store is the same stream by all that it says: only a message that is another one now tells.
    """
    position, first = after, after + 1
    said = ""
    while True:
        consumer = _Consumer(link)
        try:
            await look()
            await consumer.open(first)
            said = ""
            while True:
                group = await consumer.take()
                position = max(position, group[-1].seq)
                yield group
        except (AnotherLedgerError, DeniedError):
            raise
        except BusError as error:
            if link.closed:
                return
            if str(error) != said:
                said = str(error)
                link.on_fault(f"{link.name} follows the ledger anew after sequence {position}: {error}")
            await asyncio.sleep(RETRY_SECONDS)
        finally:
            await consumer.close()
        first = max(position, 1)


class _Consumer:
    """One consumer from its making to its end."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._name = link.fresh()
        self._subject = f"{link.inbox}.tail.{self._name}"
        self._loop = asyncio.get_running_loop()
        self._got: list[Stored] = []
        self._news = asyncio.Event()
        self._asked = 0
        """Messages asked for and not yet handed on; what the server may still send, and what waits here."""
        self._requests = 0
        self._seen = 0
        self._heard_at = self._loop.time()
        self._over = ""
        self._ear: Ear | None = None

    async def open(self, first: int) -> None:
        """The consumer delivers from sequence `first` on."""
        self._ear = await self._link.listen(
            f"{self._subject}.*",
            self._on_message,
            on_return=lambda: self.wake("the connection was made anew"),
        )
        self._seen = first - 1
        config = {
            "name": self._name,
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": first,
            "ack_policy": "none",
            "replay_policy": "instant",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": FORGET_SECONDS * _NS,
        }
        answer = await self._link.request(
            CONSUMER_CREATE.format(LEDGER, self._name),
            msgspec.json.encode({"stream_name": LEDGER, "config": config}),
            CREATE_TIMEOUT_SECONDS,
        )
        if not answer.data:
            raise UnansweredError("The bus has no JetStream that answers.")
        error = wire.api_error(answer.data)
        if error is not None:
            raise wire.refusal(error, "a consumer of the ledger")
        self._heard_at = self._loop.time()
        await self._ask(EXPIRES_SECONDS)
        # Half as long, so that the two never expire together and one always stands.
        await self._ask(EXPIRES_SECONDS // 2)

    async def take(self) -> list[Stored]:
        """Whatever has come, at least one message; `Unanswered` when nothing can come any more."""
        while not self._got:
            if self._over:
                raise UnansweredError(self._over)
            await self._renew()
            self._news.clear()
            try:
                async with asyncio.timeout_at(self._heard_at + SILENCE_SECONDS):
                    await self._news.wait()
            except TimeoutError as error:
                if self._loop.time() - self._heard_at >= SILENCE_SECONDS:
                    raise UnansweredError(f"nothing was heard for {SILENCE_SECONDS} s") from error
        group, self._got = self._got, []
        self._asked -= len(group)
        if not self._over:
            await self._renew()
        return group

    def wake(self, why: str) -> None:
        """The consumer is over, for this reason."""
        self._over = self._over or why
        self._news.set()

    async def close(self) -> None:
        """Nothing is listened to; the server forgets the consumer by itself."""
        if self._ear is not None:
            await self._link.unlisten(self._ear)

    async def _renew(self) -> None:
        while self._asked <= PULL_MESSAGES:
            await self._ask(EXPIRES_SECONDS)

    async def _ask(self, expires_seconds: int) -> None:
        self._requests += 1
        self._asked += PULL_MESSAGES
        body = (
            f'{{"batch":{PULL_MESSAGES},"expires":{expires_seconds * _NS},'
            f'"idle_heartbeat":{HEARTBEAT_SECONDS * _NS}}}'
        )
        await self._link.send(
            CONSUMER_NEXT.format(LEDGER, self._name), body.encode(), f"{self._subject}.{self._requests}"
        )

    def _on_message(self, message: Msg) -> None:
        self._heard_at = self._loop.time()
        fields = message.headers
        status = fields.get(wire.STATUS) if fields else None
        if fields is None or status is None:
            stored = wire.delivered(message.subject, message.reply, fields, message.data)
            self._seen = stored.seq
            self._got.append(stored)
            self._news.set()
        elif status == wire.HEARTBEAT:
            if int(fields.get("Nats-Last-Stream", "0")) > self._seen:
                self.wake("a message was sent and did not arrive")
        elif status == wire.EXPIRED:
            self._asked -= int(fields.get("Nats-Pending-Messages", "0"))
            self._news.set()
        else:  # 409: the consumer was deleted or its server is stopping; 503: it is gone
            self.wake(f"the consumer ended ({status})")
