"""The fast reader and a server that follows a script: what it asks, when, and what it makes of bad answers."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

from events.bus.limits import GROUP_MESSAGES
from events.bus.port import BusError, DeniedError, Stored, UnansweredError
from events.bus.reader import ahead
from events.bus.reader.ahead import Reader, dialler
from tests.rules.reader_bytes import ended, message
from tests.support import eventually

Answer = Callable[[int, int], bytes | None]
"""What the server says to the question for so many messages from a sequence on; None breaks the connection."""


class Server:
    """Speaks as nats-server does, and answers by the script."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[int, int]] = []
        self.connections = 0
        self.faults: list[str] = []
        self.greeting = b'INFO {"server_id":"x"}\r\n'
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self.connections += 1
        writer.write(self.greeting)
        subject = ""
        try:
            while line := await reader.readline():
                words = line.split()
                if words[0] == b"SUB":
                    subject = words[1].decode()
                elif words[0] == b"PING":
                    writer.write(b"PONG\r\nPING\r\n")
                elif words[0] == b"PUB":
                    body = json.loads((await reader.readexactly(int(words[3]) + 2)).strip())
                    self.asked.append((body["seq"], body["batch"]))
                    said = self.answer(body["seq"], body["batch"])
                    if said is None:
                        break
                    writer.write(re.sub(rb"_INBOX_view\.reader\.[0-9a-f]+", subject.encode(), said))
        except ConnectionError:
            pass  # the reader hangs up without a word
        finally:
            writer.close()


@asynccontextmanager
async def reading(answer: Answer, *, timeout_seconds: float = 5.0) -> AsyncGenerator[tuple[Reader, Server]]:
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = f"nats://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    reader = Reader("view", "_INBOX_view", dialler(url, "view", None), server.faults.append, timeout_seconds)
    try:
        yield reader, server
    finally:
        reader.close()
        listening.close()
        await asyncio.wait_for(asyncio.gather(*server.tasks), 5)


def honest(total: int, most: int = 10**9) -> Answer:
    """A ledger of so many messages, of which at most so many are given at a time."""

    def answer(first: int, batch: int) -> bytes:
        if first > total:
            return ended(b"404 Message Not Found")
        last = min(total, first + min(batch, most) - 1)
        messages = b"".join(message(seq, b"%d" % seq) for seq in range(first, last + 1))
        return messages + ended(last=last, pending=total - last)

    return answer


async def all_of(reader: Reader, first: int, last: int) -> list[Stored]:
    found: list[Stored] = []
    while first <= last:
        group = await reader.read(first, last)
        assert 1 <= len(group) <= GROUP_MESSAGES
        found += group
        first = group[-1].seq + 1
    return found


async def test_everything_is_read_in_order_and_the_connection_ends_with_it() -> None:
    async with reading(honest(5000)) as (reader, server):
        found = await all_of(reader, 3, 4900)
        assert [one.seq for one in found] == list(range(3, 4901))
        assert [one.payload for one in found] == [b"%d" % seq for seq in range(3, 4901)]
        assert sum(batch for _, batch in server.asked) == 4898
        assert reader._connection is None
        assert [one.seq for one in await all_of(reader, 4901, 5000)] == list(range(4901, 5001))
        assert server.connections == 2


async def test_short_answers_are_asked_on_behind_their_end() -> None:
    async with reading(honest(100, most=7)) as (reader, server):
        assert [one.seq for one in await all_of(reader, 1, 100)] == list(range(1, 101))
        assert [first for first, _ in server.asked] == list(range(1, 101, 7))
        assert server.connections == 1


async def test_a_slow_caller_makes_the_server_wait() -> None:
    async with reading(honest(20_000)) as (reader, server):
        group = await reader.read(1, 20_000)
        await eventually(lambda: len(server.asked) == 1)
        # All of the first answer is here or on its way; nothing more is asked, however long the caller takes.
        while group[-1].seq < ahead.BATCH_MESSAGES - GROUP_MESSAGES:
            assert server.asked == [(1, ahead.BATCH_MESSAGES)]
            group = await reader.read(group[-1].seq + 1, 20_000)
        await all_of(reader, group[-1].seq + 1, 20_000)
        assert max(batch for _, batch in server.asked) == ahead.BATCH_MESSAGES


async def test_a_hole_is_told_after_what_stands_before_it() -> None:
    def answer(first: int, batch: int) -> bytes:
        return b"".join(message(seq) for seq in range(first, first + batch) if seq != 5) + ended(last=9)

    async with reading(answer) as (reader, _):
        assert [one.seq for one in await reader.read(1, 9)] == [1, 2, 3, 4]
        with pytest.raises(BusError, match="holds no sequence 5 and goes on with 6") as caught:
            await reader.read(5, 9)
        assert type(caught.value) is BusError
        with pytest.raises(BusError, match="holds no sequence 5"):
            await reader.read(5, 9)


async def test_a_connection_that_breaks_in_mid_message_is_made_anew_behind_the_last_whole_one() -> None:
    broken: list[int] = []

    def answer(first: int, batch: int) -> bytes | None:
        whole = honest(50)(first, batch)
        if len(broken) < 3:
            broken.append(first)
            # Said in part, and then a line that makes the reader give the connection up.
            return b"".join(message(seq, b"%d" % seq) for seq in range(first, first + 10)) + b"HMSG x\r\n"
        return whole

    async with reading(answer) as (reader, server):
        assert [one.payload for one in await all_of(reader, 1, 50)] == [b"%d" % seq for seq in range(1, 51)]
        assert broken == [1, 11, 21]
        assert server.connections == 4


async def test_a_server_that_hangs_up_is_asked_again_until_the_time_is_over() -> None:
    async with reading(lambda *_: None, timeout_seconds=0.5) as (reader, server):
        async with asyncio.timeout(3):
            with pytest.raises(UnansweredError):
                await reader.read(1, 9)
        assert server.connections > 2
        assert server.faults == [
            "view cannot read the ledger from 1 on: view has no answer: the connection broke."
        ]
        server.answer = honest(9)
        assert len(await all_of(reader, 1, 9)) == 9


async def test_a_server_that_says_nothing_is_given_up_in_time() -> None:
    async with reading(lambda *_: b"", timeout_seconds=0.3) as (reader, server):
        async with asyncio.timeout(3):
            with pytest.raises(UnansweredError, match=r"from 1 on within 0\.3 s"):
                await reader.read(1, 9)
        server.greeting = b""
        async with asyncio.timeout(3):
            with pytest.raises(UnansweredError, match="in time"):
                await reader.read(1, 9)


async def test_a_ledger_that_ends_before_is_told_once_what_it_holds_was_given() -> None:
    async with reading(honest(5)) as (reader, server):
        assert len(await reader.read(1, 9)) == 5
        with pytest.raises(UnansweredError, match="no sequence 6 yet"):
            await reader.read(6, 9)
        # The answer had said that nothing more was there: nobody asked for it.
        assert server.asked == [(1, 9)]
        with pytest.raises(UnansweredError, match="no sequence 6 yet"):
            await reader.read(6, 9)
        server.answer = honest(9)
        assert [one.seq for one in await all_of(reader, 6, 9)] == [6, 7, 8, 9]


async def test_an_answer_that_lost_its_end_is_asked_again() -> None:
    def answer(first: int, batch: int) -> bytes:
        # It says that it held all, and brought all but the last.
        return b"".join(message(seq) for seq in range(first, first + batch - 1)) + ended(last=9, pending=1)

    async with reading(answer, timeout_seconds=1.0) as (reader, server):
        assert [one.seq for one in await reader.read(1, 9)] == list(range(1, 9))
        server.answer = honest(9)
        assert [one.seq for one in await reader.read(9, 9)] == [9]
        assert [first for first, _ in server.asked] == [1, 9]


async def test_reading_can_begin_anywhere_again() -> None:
    async with reading(honest(9000)) as (reader, _):
        for first in (1, 300, 1, 5000, 2):
            assert (await reader.read(first, 9000))[0].seq == first


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            b"-ERR 'Permissions Violation for Publish to \"$JS.API.DIRECT.GET.LEDGER\"'\r\n",
            "does not let view publish",
        ),
        (b"-ERR 'Permissions Violation for Subscription to \"_INBOX_x.y\"'\r\n", "does not let view listen"),
        (b"-ERR 'Authorization Violation'\r\n", "does not know the key of view"),
    ],
)
async def test_a_denial_is_raised_at_once(said: bytes, sentence: str) -> None:
    async with reading(lambda *_: said) as (reader, _):
        async with asyncio.timeout(1):
            with pytest.raises(DeniedError, match=sentence):
                await reader.read(1, 9)


async def test_a_bus_that_wants_tls_is_refused_and_not_asked_for_ever() -> None:
    async with reading(honest(9)) as (reader, server):
        server.greeting = b'INFO {"tls_required":true}\r\n'
        async with asyncio.timeout(1):
            with pytest.raises(BusError, match="wants TLS") as caught:
                await reader.read(1, 9)
        assert not isinstance(caught.value, UnansweredError)


async def test_a_reader_that_is_closed_reads_no_more_and_whoever_waits_hears_it() -> None:
    async with reading(lambda *_: b"") as (reader, server):
        waiting = asyncio.create_task(reader.read(1, 9))
        await eventually(lambda: server.asked)
        reader.close()
        async with asyncio.timeout(1):
            with pytest.raises(UnansweredError, match="left the bus"):
                await waiting
