"""Reading the ledger from a sequence on, group by group, with the next answer on its way while a group is folded."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from events.bus.limits import GROUP_MESSAGES
from events.bus.port import BusError, Stored, UnansweredError
from events.bus.reader.connection import Connection, dial
from events.bus.reader.frames import Ended
from events.bus.wire import END_OF_BATCH, NOT_FOUND

BATCH_MESSAGES: Final = 2048
BATCH_BYTES: Final = 1 << 20
"""What one answer may hold; the server ends it with the message that goes past. With the group that waits to be
taken, two megabytes at most are here or on their way."""

DIAL_SECONDS: Final = 2.0
FIRST_PAUSE_SECONDS: Final = 0.02
LONGEST_PAUSE_SECONDS: Final = 0.25

Dial = Callable[[str, float], Awaitable[Connection]]
"""A new connection that listens on a subject, within so many seconds."""


def dialler(url: str, name: str, seed: bytes | None) -> Dial:
    """How the user `name` reaches the bus at `url`."""
    return lambda subject, seconds: dial(url, name, seed, subject, seconds)


class Reader:
    """One position in the ledger, and the connection that reads on from there.

    It asks for an answer at a time, of bounded size, and for the next one when the one before has come and all but a
    group of it was taken: a slow caller makes the server wait, not the memory grow. Whatever happens to the
    connection, the next question begins behind the last message that was given.
    """

    def __init__(
        self, name: str, inbox: str, dial_bus: Dial, on_fault: Callable[[str], None], timeout_seconds: float
    ) -> None:
        self._name = name
        self._inbox = inbox
        self._dial = dial_bus
        self._on_fault = on_fault
        self._timeout_seconds = timeout_seconds
        self._alone = asyncio.Lock()
        self._closed = False
        self._connection: Connection | None = None
        self._waiting: list[Stored] = []
        self._next = 0
        """The sequence that follows all that came."""
        self._under_way = False
        self._fault: BusError | None = None
        """What is wrong behind the messages that wait."""
        self._said = ""

    async def read(self, first: int, last: int) -> list[Stored]:
        """The messages from `first` on, at least one, at most a group, none past `last`; see `Bus.read_ahead`."""
        async with self._alone:
            if first != self._next - len(self._waiting):
                self._start_at(first)
            await self._fill(last)
            most = min(GROUP_MESSAGES, last - first + 1)
            group, self._waiting = self._waiting[:most], self._waiting[most:]
            if group[-1].seq == last:
                self._hang_up()
            else:
                self._ask(last)
            return group

    def close(self) -> None:
        """Nothing is read any more; whoever waits hears that at once."""
        self._closed = True
        self._hang_up()

    async def _fill(self, last: int) -> None:
        """Something waits to be given; whatever can be tried again is, until the time is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_seconds
        pause = FIRST_PAUSE_SECONDS
        while not self._waiting:
            if self._fault is not None:
                fault, self._fault = self._fault, None
                self._hang_up()
                raise fault
            try:
                await self._receive(last, deadline)
            except UnansweredError as error:
                self._hang_up()
                if self._closed:
                    raise
                if loop.time() + pause >= deadline:
                    self._tell(error)
                    raise
                if not self._waiting:
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            except BaseException:
                self._hang_up()
                raise

    def _tell(self, error: BusError) -> None:
        """Once for each thing that is wrong: the caller asks again, for ever perhaps, and says nothing."""
        sentence = f"{self._name} cannot read the ledger from {self._next} on: {error}"
        if sentence != self._said:
            self._said = sentence
            self._on_fault(sentence)

    async def _receive(self, last: int, deadline: float) -> None:
        """Something more has come: messages, an end, or an error."""
        if self._closed:
            raise UnansweredError(f"{self._name} left the bus; nothing more is read.")
        if self._connection is None:
            subject = f"{self._inbox}.reader.{secrets.token_hex(8)}"
            left_seconds = max(0.1, deadline - asyncio.get_running_loop().time())
            self._connection = await self._dial(subject, min(DIAL_SECONDS, left_seconds))
        connection = self._connection
        self._ask(last)
        try:
            async with asyncio.timeout_at(deadline):
                await connection.news.wait()
        except TimeoutError as error:
            raise UnansweredError(
                f"The bus did not answer {self._name} on the ledger from {self._next} on within "
                f"{self._timeout_seconds:g} s."
            ) from error
        stored, ended = connection.take()
        self._sort_in(stored)
        if ended is not None:
            self._end(ended)
        if connection.broken is not None:
            raise connection.broken

    def _sort_in(self, stored: list[Stored]) -> None:
        """The messages wait to be given, up to the first that does not follow the one before it."""
        expected = self._next
        for place, message in enumerate(stored):
            if message.seq != expected:
                self._fault = self._fault or hole(expected, message.seq)
                del stored[place:]
                break
            expected += 1
        self._next = expected
        self._waiting += stored

    def _end(self, ended: Ended) -> None:
        self._under_way = False
        if self._fault is not None:
            return
        if ended.status not in {END_OF_BATCH, NOT_FOUND}:
            raise UnansweredError(f"The bus could not read the ledger from {self._next} on: {ended.status}.")
        if ended.status == END_OF_BATCH and ended.last != self._next - 1:
            raise UnansweredError(
                f"An answer of the bus ended with {ended.last} and brought {self._next - 1} last."
            )
        if ended.pending == 0:
            # Behind this there is nothing, or nothing yet: told once what came before it was given.
            self._fault = UnansweredError(f"The ledger holds no sequence {self._next} yet.")

    def _ask(self, last: int) -> None:
        """The next answer is on its way, unless one is, or enough waits, or no more is wanted."""
        connection = self._connection
        if connection is None or self._under_way or self._fault is not None:
            return
        if self._next <= last and len(self._waiting) <= GROUP_MESSAGES:
            connection.ask(self._next, min(BATCH_MESSAGES, last - self._next + 1), BATCH_BYTES)
            self._under_way = True

    def _start_at(self, first: int) -> None:
        """What came for another place is forgotten."""
        if self._under_way:
            self._hang_up()
        self._waiting = []
        self._fault = None
        self._next = first

    def _hang_up(self) -> None:
        """There is no connection; what came over it still waits."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._under_way = False


def hole(missing: int, found: int) -> BusError:
    """What a ledger that goes on with another sequence than the next is told as: it has holes only when it is damaged."""
    return BusError(
        f"The ledger holds no sequence {missing} and goes on with {found}: its store is damaged. "
        "Nothing may be decided on it; restore it."
    )
