"""Where the same events are kept to be read back: our bus, our archive, and two event stores of others.

Each is a `replay.source.Source` for the reading, so that what is done with an event is the same code for all; only where its
bytes come from differs. `eventsourcing` keeps them in SQLite in the reader's own process, UmaDB is a server of its own.
"""

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final

from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore
from nacl.signing import SigningKey
from umadb import Client, Event

from bench.history import History
from events import keys
from events.bus import nats, permissions, streams
from events.bus.nats import NatsBus
from events.bus.port import Outgoing, Stored
from events.tlog import checkpoint
from events.tlog.checkpoint import Checkpoint
from events.tlog.files import DirectoryFiles
from events.tlog.leaf import entry
from events.tlog.note import Signer
from events.tlog.reader import Archive
from events.tlog.writer import TileWriter
from lab import bus as bus_part
from lab.bus import BusServer, BusUser
from lab.ports import free_ports
from replay.source import ArchiveSource, BusSource, Source

GROUP: Final = 256
BATCH: Final = 1000
BEGAN_NS: Final = 1_795_338_000_000_000_000
LEDGER_BYTES: Final = 12 * 1024**3
_NAME: Final = "ledger.bench/replay"
_READY_SECONDS: Final = 10.0


class Recorder:
    """`eventsourcing`'s SQLite recorder; a subject is an originator, and its version counts."""

    def __init__(self, path: Path) -> None:
        self._recorder = SQLiteApplicationRecorder(SQLiteDatastore(str(path), originator_id_type="text"))
        self._recorder.create_table()

    def fill(self, messages: Iterator[Outgoing], most: int) -> None:
        """So many messages are stored."""
        versions: Counter[str] = Counter()
        while most:
            batch = list(islice(messages, min(BATCH, most)))
            most -= len(batch)
            stored: list[StoredEvent] = []
            for one in batch:
                versions[one.subject] += 1
                stored.append(StoredEvent(one.subject, versions[one.subject], "event", one.payload))
            self._recorder.insert_events(stored)

    async def last(self) -> int:
        """The last notification's id."""
        return self._recorder.max_notification_id() or 0

    async def read(self, first: int, last: int) -> AsyncGenerator[list[Stored]]:
        """Notifications, as messages."""
        seq = first
        while seq <= last:
            found = self._recorder.select_notifications(seq, min(GROUP, last - seq + 1))
            yield [
                Stored(one.id, BEGAN_NS + one.id * 1_000_000, str(one.originator_id), "id", one.state)
                for one in found
            ]
            seq += len(found)


class Uma:
    """UmaDB over gRPC; a subject is a tag, its last two words the event's type."""

    def __init__(self, url: str) -> None:
        self._client: Any = Client(url, batch_size=GROUP)

    def fill(self, messages: Iterator[Outgoing], most: int) -> None:
        """So many messages are stored."""
        while most:
            batch = list(islice(messages, min(BATCH, most)))
            most -= len(batch)
            self._client.append(
                [Event(".".join(one.subject.rsplit(".", 2)[1:]), one.payload, [one.subject]) for one in batch]
            )

    async def last(self) -> int:
        """The head's position."""
        return self._client.head() or 0

    async def read(self, first: int, last: int) -> AsyncGenerator[list[Stored]]:
        """Events by position, as messages."""
        events: Any = iter(self._client.read(start=first, limit=last - first + 1))
        while group := list(islice(events, GROUP)):
            yield [
                Stored(
                    one.position,
                    BEGAN_NS + one.position * 1_000_000,
                    one.event.tags[0],
                    "id",
                    bytes(one.event.data),
                )
                for one in group
            ]


@asynccontextmanager
async def opened(spec: str) -> AsyncGenerator[Source]:
    """The store that `KIND=PLACE` names, for reading."""
    kind, _, place = spec.partition("=")
    if kind == "bus":
        url, _, key = place.partition("#")
        bus = await _connected(url, Path(key))
        try:
            yield BusSource(bus)
        finally:
            await bus.close()
    elif kind == "archive":
        yield ArchiveSource(Archive(DirectoryFiles(Path(place))))
    elif kind == "eventsourcing":
        yield Recorder(Path(place))
    else:
        yield Uma(place)


@asynccontextmanager
async def served_bus(directory: Path) -> AsyncGenerator[tuple[NatsBus, str, int]]:
    """A bus of its own: the admin's connection to it, how `opened` is told of it, and the server's pid."""
    permit = permissions.admin()
    path = keys.path_of(directory / "keys", permit.name)
    bus_part.MAX_FILE_STORE_BYTES = 2 * LEDGER_BYTES  # a house's bound is less than five million events need
    user = BusUser(permit.name, keys.create(path), permit.publish, permit.subscribe)
    server = BusServer(directory / "bus", free_ports(1)[0], [user])
    await server.start()
    try:
        bus = await _connected(server.url, path)
        try:
            # The ids of millions of events within ten minutes would be remembered all; nothing here needs them.
            await streams.establish(
                bus, ledger_bytes=LEDGER_BYTES, dedup_seconds=streams.SHORTEST_DEDUP_SECONDS
            )
            yield bus, f"bus={server.url}#{path}", server.part.pid or 0
        finally:
            await bus.close()
    finally:
        await server.stop()


async def _connected(url: str, key: Path) -> NatsBus:
    permit = permissions.admin()
    return await nats.connect(
        url, permit.name, seed=keys.read(key), inbox=permit.inbox, on_fault=_say, timeout_seconds=30.0
    )


@contextmanager
def served_uma(directory: Path) -> Generator[tuple[str, int]]:
    """UmaDB's own server, as it comes: how `opened` is told of it, and the server's pid."""
    port = free_ports(1)[0]
    directory.mkdir()
    program = Path(sys.executable).with_name("umadb")
    server = subprocess.Popen(
        [str(program), "--listen", f"127.0.0.1:{port}", "--db-path", str(directory / "uma.db")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield f"umadb=http://127.0.0.1:{port}", server.pid
    finally:
        server.terminate()
        server.wait(_READY_SECONDS)


async def fill_uma(spec: str, events: int) -> None:
    """UmaDB is up and holds the past."""
    url = spec.partition("=")[2]
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _READY_SECONDS
    while True:
        try:
            store = Uma(url)
            await store.last()
            break
        except Exception:  # whatever the client says while nobody listens yet; the deadline ends it
            if loop.time() > deadline:
                raise
            await asyncio.sleep(0.05)
    store.fill(History().messages(), events)


async def archive(source: Source, directory: Path, last: int) -> str:
    """The ledger up to `last` is sealed into tiles and bundles; how `opened` is told of them."""
    files = DirectoryFiles(directory)
    writer, signer = TileWriter(files), Signer(_NAME, SigningKey.generate())
    async for group in source.read(1, last):
        for stored in group:
            writer.add(entry(stored))
    writer.commit(checkpoint.signed(Checkpoint(_NAME, writer.size, writer.frontier.root()), signer))
    files.write("vkey", f"{signer.vkey}\n".encode())
    return f"archive={directory}"


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
