"""One connection to nats-server that always comes back, with requests that never wait in vain.

Only the client's core is used. Its JetStream layer loses messages: the ordered consumer in silence when its
queue is full, and a fetch in flight while the server restarts waits out its whole timeout.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Final

import nats.errors
from nats.aio.msg import Msg

from events.bus import wire
from events.bus.answers import Answers
from events.bus.ear import Ear, OnMessage
from events.bus.outsiders import Tally, quoted
from events.bus.permit import Permits
from events.bus.port import BusError, DeniedError, TooLargeError, UnansweredError
from events.bus.steady import SteadyClient
from events.ids import derive

OLDEST: Final = (2, 15, 1)
"""Older servers could lose messages that they had acknowledged."""

CONNECT_SECONDS: Final = 2.0
LONGEST_PAUSE_SECONDS: Final = 0.25
FIRST_PAUSE_SECONDS: Final = 0.02
PING_SECONDS: Final = 5.0
"""A connection that does not answer is given up after three of these. The default is six minutes."""

WATCH_SECONDS: Final = 0.5
"""How often a connection that the client closed for good is looked for, when no callback told of it."""

_SPACE: Final = re.compile(r"\s")
_DENIED: Final = re.compile(r'permissions violation for (publish|subscription) to "([^"]+)"')


class Link:
    """The connection of one bus user.

    A request made while the server is away waits for it, within its time; one that is under way when the
    connection breaks ends at once as unanswered. Denials reach the request that caused them.
    """

    def __init__(
        self, url: str, name: str, seed: bytes | None, inbox: str, on_fault: Callable[[str], None]
    ) -> None:
        self.name = name
        self.inbox = inbox
        self.on_fault = on_fault
        self.returns = 0
        """How often the connection was made; whoever holds state on the server compares it."""
        self._url = url
        self._seed = seed
        self._client = SteadyClient(self._on_failure)
        self._up = asyncio.Event()
        self._ended = asyncio.Event()
        self._lost = asyncio.Event()
        """Set while there is no connection: what waits for an answer of it waits in vain."""
        self._pings: set[asyncio.Task[None]] = set()
        self._closing = False
        self._refused: asyncio.Future[BusError] = asyncio.get_running_loop().create_future()
        self._attempts = 0
        self._answers = Answers(name)
        self._reply = ""
        self._ears: dict[int, Ear] = {}
        self._silenced: set[str] = set()
        self._named = 0
        self._said = ""
        self._tally = Tally(on_fault)
        self._watcher: asyncio.Task[None] | None = None

    @property
    def max_payload_bytes(self) -> int:
        """The longest message the server takes, headers included."""
        return self._client.max_payload

    @property
    def server_id(self) -> str:
        """Of the server that answers, or did last; it has a new one at every start."""
        return self._client.server_id

    @property
    def closed(self) -> bool:
        """True once nothing can come or go any more."""
        return self._closing

    async def open(self, timeout_seconds: float) -> None:
        """The connection is made, and answers reach it; `Unanswered` or `Denied` when that cannot be."""
        dialing = asyncio.create_task(self._dial(), name=f"bus {self.name}: connect")
        try:
            await asyncio.wait(
                {dialing, self._refused}, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if dialing.done():
                dialing.result()
            if self._refused.done():
                raise self._refused.result()
            if not dialing.done():
                raise UnansweredError(
                    f"No bus answered {self.name} at {self._url} within {timeout_seconds:g} s; is it running?"
                )
        except BaseException:
            dialing.cancel()
            await asyncio.gather(dialing, return_exceptions=True)
            await self.close()
            raise
        self._watcher = asyncio.create_task(self._watch(), name=f"bus {self.name}: watch")

    async def close(self) -> None:
        """The connection is gone for good, and every request under way has ended."""
        self._closing = True
        self._up.clear()
        self._lost.set()
        self._answers.break_off("the connection was closed")
        self._tell_ears()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        await self._drop()

    async def send(self, subject: str, payload: bytes, reply: str = "") -> None:
        """The message is on its way; nobody promises more. Dropped while there is no connection."""
        command = self._command(subject, reply, payload, {})
        if self._up.is_set():
            await self._client.put([command])

    def _command(self, subject: str, reply: str, payload: bytes, fields: dict[str, str]) -> bytes:
        """What publishes the message; `TooLarge` for what the server would answer by closing the connection."""
        headers = wire.block(fields)
        size, most = len(headers) + len(payload), self._client.max_payload
        if size > most:
            raise TooLargeError(
                f"A message of {size} bytes on {subject} was not sent: the bus takes at most {most}. "
                "Split it, or say less."
            )
        if not subject or _SPACE.search(subject) or _SPACE.search(reply):
            raise UnansweredError(f"{subject!r} with an answer on {reply!r} is no subject; nothing was sent.")
        return wire.publish(subject, reply, headers, payload)

    async def request(self, subject: str, payload: bytes, timeout_seconds: float) -> Msg:
        """The one answer; its status may still be 503, when nobody serves the subject."""
        return (await self.collect([(subject, payload, {})], lambda _: True, timeout_seconds))[0]

    async def collect(
        self,
        messages: list[tuple[str, bytes, dict[str, str]]],
        done: Callable[[Msg], bool],
        timeout_seconds: float,
        permits: Permits | None = None,
    ) -> list[Msg]:
        """The answers to the last of `messages` until one is `done`; all are sent in one burst.

        With `permits` they are sent to a server on which one may append, or not at all.
        """
        *before, (last, payload, fields) = messages
        commands = [self._command(subject, "", payload, fields) for subject, payload, fields in before]
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._ready(last)
                while permits is not None and not permits.fresh:
                    await permits.wait()
                    await self._ready(last)
                with self._answers.expect([subject for subject, _, _ in messages], done) as (token, answer):
                    commands.append(self._command(last, f"{self._reply}.{token}", payload, fields))
                    await self._client.put(commands)
                    return await answer
        except nats.errors.Error as error:
            raise UnansweredError(f"{self.name} could not reach the bus on {last}: {error}.") from error
        except TimeoutError as error:
            if permits is not None and not permits.fresh:
                raise permits.missing(self.name, last) from error
            raise UnansweredError(
                f"The bus did not answer {self.name} on {last} within {timeout_seconds:g} s."
            ) from error

    async def _ready(self, subject: str) -> None:
        if self._closing:
            raise UnansweredError(f"{self.name} left the bus; nothing was sent on {subject}.")
        if not self._up.is_set():
            await self._up.wait()
        if self._refused.done():
            raise self._refused.result()

    async def listen(
        self,
        subject: str,
        on_message: OnMessage,
        *,
        queue: str = "",
        on_return: Callable[[], None] | None = None,
        timeout_seconds: float = 5.0,
    ) -> Ear:
        """Messages on `subject` reach `on_message`, in order, on this connection and every later one."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._ready(subject)
        except TimeoutError as error:
            raise UnansweredError(
                f"{self.name} could not listen on {subject}: no bus within {timeout_seconds:g} s."
            ) from error
        ear = Ear(subject, queue, on_message, on_return)
        self._ears[id(ear)] = ear
        try:
            await self._attach(ear)
            await self._ping()
        except nats.errors.Error as error:
            self._ears.pop(id(ear), None)
            raise UnansweredError(f"{self.name} could not listen on {subject}: {error}.") from error
        if subject.lower() in self._silenced:
            await self.unlisten(ear)
            raise DeniedError(f"The bus does not let {self.name} listen on {subject}.")
        return ear

    async def _ping(self) -> None:
        """The server has read all that was sent, and a denial has come; or there is no connection any more.

        The ping itself goes on in any case, since the client's reader dies of a pong that nobody waits for.
        """
        ping = asyncio.create_task(self._client.flush())
        self._pings.add(ping)
        ping.add_done_callback(self._heard)
        lost = asyncio.create_task(self._lost.wait())
        try:
            await asyncio.wait({ping, lost}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
        if not ping.done():
            raise nats.errors.ConnectionClosedError
        ping.result()

    def _heard(self, ping: asyncio.Task[None]) -> None:
        self._pings.discard(ping)
        if not ping.cancelled():
            ping.exception()  # whoever still waits is told; nobody else is to hear of it

    async def unlisten(self, ear: Ear) -> None:
        """No message reaches the ear any more."""
        self._ears.pop(id(ear), None)
        if ear.subscription is not None and not self._client.is_closed:
            try:
                await ear.subscription.unsubscribe()
            except nats.errors.Error as error:
                self.on_fault(f"{self.name} could not leave {ear.subject}: {error}.")

    def fresh(self) -> str:
        """A name for something on the server that nothing else has, on this connection or another."""
        self._named += 1
        return f"{self.name}-{self._reply.rpartition('.')[2]}-{self._named}"

    # ------------------------------------------------------------------------------------------ the connection

    async def _dial(self) -> None:
        client = self._client
        await client.connect(
            self._url,
            name=self.name,
            nkeys_seed_str=self._seed.decode() if self._seed is not None else None,
            inbox_prefix=self.inbox,
            connect_timeout=CONNECT_SECONDS,  # pyright: ignore[reportArgumentType] - seconds, handed to asyncio
            reconnect_time_wait=LONGEST_PAUSE_SECONDS,  # pyright: ignore[reportArgumentType] - the same
            max_reconnect_attempts=-1,
            ping_interval=PING_SECONDS,  # pyright: ignore[reportArgumentType] - the same
            reconnect_to_server_handler=lambda _servers, _info: (None, self._pause_seconds()),
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnect,
            reconnected_cb=self._on_return,
            closed_cb=self._on_close,
        )
        self._reply = client.new_inbox()
        answers = Ear(f"{self._reply}.*", "", self._answers.take)
        await self._attach(answers)
        for ear in list(self._ears.values()):
            await self._attach(ear)
        await asyncio.shield(client.flush())
        if answers.subject.lower() in self._silenced:
            raise DeniedError(f"The bus does not let {self.name} listen on its own inbox {self.inbox}.>.")
        await self._on_return()

    async def _attach(self, ear: Ear) -> None:
        ear.subscription = await self._client.hear(ear.subject, ear.queue, ear.on_message)

    def _on_failure(self, error: Exception) -> None:
        self._tally.add("error", f"{self.name} could not take a message: {quoted(repr(error))}.")

    def _pause_seconds(self) -> float:
        """Short, longer each time, and different for each worker: all come back, not all at once."""
        self._attempts += 1
        longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(self._attempts, 8))
        share = int(derive(self.name, self._attempts)[:4], 16) / 0xFFFF
        return longest * (0.5 + share / 2)

    async def _watch(self) -> None:
        """Make a new client whenever the old one gave up, which it does on most errors a server sends.

        It dials for ever, whatever went wrong: a worker that stopped would need a person, and every call ends
        within its own time meanwhile.
        """
        while True:
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    await self._ended.wait()
            except TimeoutError:
                pass  # look all the same: the client can end without telling
            self._ended.clear()
            if not self._client.is_closed:
                continue
            self._up.clear()
            self._lost.set()
            self._answers.break_off("the connection was closed by the bus")
            await asyncio.sleep(self._pause_seconds())
            self._client = SteadyClient(self._on_failure)
            try:
                await self._dial()
            except Exception as error:  # noqa: BLE001 - what answers on the port may be anything, and may go again
                said = (
                    str(error) if isinstance(error, nats.errors.Error | OSError | BusError) else repr(error)
                )
                self._fault(f"{self.name} is not back on the bus: {said}")
                await self._drop()
                self._ended.set()

    async def _drop(self) -> None:
        try:
            await self._client.close()
        except Exception as error:  # noqa: BLE001 - it is being thrown away, and the next one must be dialled
            self._fault(f"{self.name} left the bus with an error: {error!r}.")

    # ------------------------------------------------------------------------------------------- the callbacks

    async def _on_return(self) -> None:
        version = self._client.connected_server_version
        found = (version.major, version.minor, version.patch)
        if found < OLDEST:
            refusal = BusError(
                f"The bus at {self._url} is nats-server {'.'.join(map(str, found))}; the ledger needs at least "
                f"{'.'.join(map(str, OLDEST))}, which keeps what it acknowledged. Upgrade it."
            )
            if self._refused.done():
                self._fault(str(refusal))
            else:
                self._refused.set_result(refusal)
        self.returns += 1
        self._attempts = 0
        self._lost.clear()
        self._up.set()
        if self.returns > 1:
            self._fault(f"{self.name} is back on the bus.")
        self._tell_ears()

    def _tell_ears(self) -> None:
        for ear in list(self._ears.values()):
            if ear.on_return is not None:
                ear.on_return()

    async def _on_disconnect(self) -> None:
        self._up.clear()
        self._lost.set()
        self._answers.break_off("the connection broke")
        if not self._closing and self.returns:
            self._fault(f"{self.name} lost the bus at {self._url} and is trying to come back.")

    async def _on_close(self) -> None:
        self._ended.set()

    async def _on_error(self, error: Exception) -> None:
        text = str(error)
        denied = _DENIED.search(text.lower())
        if denied is not None:
            self._deny(denied.group(1), denied.group(2))
        elif "authorization violation" in text.lower():
            refusal = DeniedError(f"The bus at {self._url} does not know the key of {self.name}.")
            if self.returns:
                self._fault(str(refusal))
            elif not self._refused.done():
                self._refused.set_result(refusal)
        elif self._up.is_set() and not isinstance(error, OSError | nats.errors.UnexpectedEOF):
            # Those two mean that the connection broke, which is told once and in better words.
            self._tally.add("error", f"{self.name} on the bus: {quoted(text or type(error).__name__)}.")

    def _deny(self, verb: str, subject: str) -> None:
        if verb == "subscription":
            self._silenced.add(subject)
            self._fault(f"The bus does not let {self.name} listen on {subject}.")
            return
        if not self._answers.deny(subject):
            self._tally.add("denied", self._answers.denial(quoted(subject)))

    def _fault(self, sentence: str) -> None:
        """Tell it once: attempts that fail alike would otherwise say so four times a second."""
        if sentence != self._said:
            self._said = sentence
            self.on_fault(sentence)
