"""How long a gate takes to start over a long ledger, and where the time goes: bytes, decoding, folds.

One ledger, written through the real bus with `sync_interval: always`, is read by nats-py's own fetch loop and by the
reader of the workers, alone and with what follows it, each a part of it; then a gate's ledger starts over all of it. Prints a table and, as its
last line, one JSON object.
"""

import argparse
import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nats as client
import uvloop
from nats.js.api import AckPolicy, ConsumerConfig

from bench import history
from events import keys
from events.bus import nats, permissions, streams
from events.bus.ledger import Ledger
from events.bus.nats import NatsBus
from events.bus.reader.ahead import BATCH_BYTES, BATCH_MESSAGES
from events.bus.reader.connection import dial
from events.bus.reader.frames import Frames
from events.envelope import SUBJECTS, read
from events.fold import Fold
from lab.bus import BusServer, BusUser
from lab.ports import free_ports
from projections.activations.fold import Activations
from projections.fleet.fold import Fleet
from projections.keeper import Keeper
from projections.usage.fold import Usage
from services.gate.state import Docket
from services.signal.state import Intake

EVENTS: Final = 1_000_000
FETCHED: Final = 100_000
"""Messages that the client's own loop reads: it would need half a minute for all of them."""

PART: Final = 200_000
"""Messages of the readings that show where the time goes; the starts are over all."""

FETCH: Final = 500
GATE: Final[tuple[type[Fold], ...]] = (Docket, Usage, Fleet)
CREW: Final[tuple[type[Fold], ...]] = (*GATE, Intake, Activations)


@dataclass(frozen=True, slots=True)
class Row:
    """One way through the ledger."""

    name: str
    messages: int
    seconds: float
    cpu_seconds: float

    @property
    def cpu_us(self) -> float:
        """Microseconds of this process's CPU for each message."""
        return self.cpu_seconds * 1e6 / self.messages


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured over `events` events; `start` is the whole start of a gate's ledger."""

    events: int
    rows: tuple[Row, ...]
    start: Row

    def row(self, name: str) -> Row:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)

    def summary(self) -> dict[str, float]:
        """The figures by the names under which benches report them."""
        client_us, reader_us = self.row("nats-py fetch").cpu_us, self.row("reader").cpu_us
        parse_us = self.row("parser alone").cpu_us
        return {
            "events": self.events,
            "start_1m_s": round(self.start.seconds * EVENTS / self.events, 2),
            "start_cpu_us": round(self.start.cpu_us, 2),
            "parse_cpu_us": round(parse_us, 2),
            "reader_cpu_us": round(reader_us, 2),
            "decode_cpu_us": round(self.row("reader, decode").cpu_us, 2),
            "client_cpu_us": round(client_us, 2),
            "ratio": round(client_us / reader_us, 1),
            "parse_ratio": round(client_us / parse_us, 1),
        }


async def measure(
    events: int = EVENTS, say: Callable[[str], None] = lambda _: None, *, views: bool = False
) -> Figures:
    """The figures over a ledger of so many events, a minute or two for a million; with `views` their start too."""
    with tempfile.TemporaryDirectory(prefix="vs-start-") as directory:
        async with _bus(Path(directory)) as (bus, url, seed):
            say(f"writing {events} events")
            await history.write(bus, events)
            part = min(events, PART)
            rows = [
                await _clocked("nats-py fetch", min(events, FETCHED), lambda most: _fetch(url, seed, most)),
                await _parsed(url, seed, part),
                await _clocked("reader", part, lambda most: _ahead(bus, most)),
                await _clocked("reader, decode", part, lambda most: _decoded(bus, most, ())),
                await _clocked("reader, decode, gate's folds", part, lambda most: _decoded(bus, most, GATE)),
                await _clocked("reader, decode, all folds", part, lambda most: _decoded(bus, most, CREW)),
            ]
            start = await _clocked("start of a gate's ledger", events, lambda most: _start(bus, most))
            rows.append(start)
            if views:
                path = Path(directory) / "views.db"
                rows.append(await _clocked("start of the views", events, lambda most: _keep(bus, path, most)))
            return Figures(events, tuple(rows), start)


async def _parsed(url: str, seed: bytes, messages: int) -> Row:
    """The parser alone, over the bytes of so many messages as they came."""
    subject = f"{permissions.admin().inbox}.reader.bench"
    connection = await dial(url, "admin", seed, subject, 5.0)
    inner, tape = connection._frames, list[bytes]()  # noqa: SLF001 - the bytes as they came, and nothing else, are wanted
    feed = inner.feed

    def record(data: bytes) -> None:
        tape.append(data)
        feed(data)

    inner.feed = record
    seq = 0
    while seq < messages:
        connection.ask(seq + 1, min(BATCH_MESSAGES, messages - seq), BATCH_BYTES)
        ended = None
        while ended is None:
            await asyncio.wait_for(connection.news.wait(), 30.0)
            stored, ended = connection.take()
            seq = stored[-1].seq if stored else seq
    connection.close()
    frames = Frames(subject)

    async def parse(_: int) -> int:
        for data in tape:
            frames.feed(data)
        return len(frames.stored)

    return await _clocked("parser alone", messages, parse)


async def _clocked(name: str, messages: int, work: Callable[[int], Awaitable[int]]) -> Row:
    gc.collect()
    began, began_cpu = time.perf_counter(), time.process_time()
    done = await work(messages)
    row = Row(name, messages, time.perf_counter() - began, time.process_time() - began_cpu)
    assert done == messages, (name, done, messages)
    return row


async def _fetch(url: str, seed: bytes, most: int) -> int:
    connection: Any = await client.connect(url, nkeys_seed_str=seed.decode())
    try:
        config = ConsumerConfig(ack_policy=AckPolicy.NONE, mem_storage=True)
        puller = await connection.jetstream().pull_subscribe(
            SUBJECTS, stream=permissions.LEDGER, config=config
        )
        got = 0
        while got < most:
            got += len(await puller.fetch(min(FETCH, most - got), timeout=10))
        return got
    finally:
        await connection.close()


async def _ahead(bus: NatsBus, last: int) -> int:
    seq = 0
    while seq < last:
        seq = (await bus.read_ahead(seq + 1, last))[-1].seq
    return seq


async def _decoded(bus: NatsBus, last: int, kinds: tuple[type[Fold], ...]) -> int:
    folds, seq = [kind() for kind in kinds], 0
    while seq < last:
        for stored in await bus.read_ahead(seq + 1, last):
            recorded = read(stored.seq, stored.stored_ns, stored.payload, stored.subject)
            for fold in folds:
                fold.apply(recorded)
            seq = stored.seq
    return seq


async def _start(bus: NatsBus, last: int) -> int:
    ledger = Ledger(bus)
    for kind in GATE:
        ledger.fold(kind)
    following = asyncio.create_task(ledger.follow())
    try:
        await asyncio.wait(
            {following, asyncio.create_task(ledger.live.wait())}, return_when=asyncio.FIRST_COMPLETED
        )
        if following.done():
            following.result()
        fleet = ledger.fold(Fleet)
        assert last < 20_000 or all(vm.since_seq > last - 20_000 for vm in fleet.vms.values())
        return ledger.seq
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _keep(bus: NatsBus, path: Path, last: int) -> int:
    ledger = Ledger(bus)
    keeper = Keeper(ledger, path)
    work = [asyncio.create_task(keeper.work()), asyncio.create_task(ledger.follow())]
    try:
        # The file is there once it includes the whole ledger.
        while not await asyncio.to_thread(path.exists):
            done, _ = await asyncio.wait(work, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        assert ledger.seq == last
        return ledger.seq
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


@asynccontextmanager
async def _bus(directory: Path) -> AsyncGenerator[tuple[NatsBus, str, bytes]]:
    """A bus of its own, and the admin's connection to it: the one user who may write and read everything."""
    permit = permissions.admin()
    path = keys.path_of(directory / "keys", permit.name)
    user = BusUser(permit.name, keys.create(path), permit.publish, permit.subscribe)
    server = BusServer(directory / "bus", free_ports(1)[0], [user])
    await server.start()
    try:
        seed = keys.read(path)
        bus = await nats.connect(
            server.url, permit.name, seed=seed, inbox=permit.inbox, on_fault=_say, timeout_seconds=30.0
        )
        try:
            # The ids of a million events within ten minutes would be remembered all; nothing here needs them.
            await streams.establish(
                bus, ledger_bytes=3 * 1024**3, dedup_seconds=streams.SHORTEST_DEDUP_SECONDS
            )
            yield bus, server.url, seed
        finally:
            await bus.close()
    finally:
        await server.stop()


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def main() -> None:
    """Measures, prints the table, and the JSON line last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--views", action="store_true", help="the start of the views as well")
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(measure(arguments.events, _say, views=arguments.views))
    print(f"{'':<32}{'messages':>12}{'seconds':>10}{'per second':>12}{'CPU us each':>13}")
    for row in figures.rows:
        print(
            f"{row.name:<32}{row.messages:>12}{row.seconds:>10.2f}{row.messages / row.seconds:>12.0f}"
            f"{row.cpu_us:>13.2f}"
        )
    print(json.dumps(figures.summary()))


if __name__ == "__main__":
    main()
