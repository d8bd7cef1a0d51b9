"""A sealer on a bus in memory, in virtual time, with files that outlive it and may fail."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest

from events.bus.memory import MemoryBus
from events.bus.permissions import worker
from events.bus.port import BusError, Outgoing, Stored, UnpermittedError
from events.envelope import Recorded, read
from events.tlog.checkpoint import Checkpoint, opened
from events.tlog.files import Files
from events.tlog.leaf import entry, leaf_hash
from events.tlog.note import Signer
from events.tlog.tree import Frontier
from events.tlog.writer import TileWriter
from services.sealer.halt import SealerError
from services.sealer.telling import OWN
from services.sealer.worker import Sealer
from tests.archive_files import SIGNER, MemoryFiles, sealed
from tests.rules.desk import Desk
from tests.simulation.clock import pause

T = TypeVar("T")

OVERDUE = "vs.acme.gate.vm.{}.order.overdue"
LAG_SECONDS = 5.0
PATIENCE_SECONDS = 2.0
HALT_SECONDS = 5.0


class AtOnce:
    """In the place of a thread: the call is made where it is asked for."""

    async def call(self, work: Callable[[], T]) -> T:
        return work()

    def end(self) -> None:
        pass


def sealer_of(desk: Desk, files: Files, key: Signer = SIGNER) -> Sealer:
    return Sealer(desk.worker_bus("sealer"), desk.clock, files, lambda _: key, AtOnce())


@asynccontextmanager
async def sealer(desk: Desk, files: Files) -> AsyncGenerator[Sealer]:
    """A sealer at work; it is asked to end when the block ends, and must have lived until then."""
    one = sealer_of(desk, files)
    task = asyncio.create_task(one.work())
    await pause(0.1)
    try:
        yield one
    finally:
        lived = not task.done()
        task.cancel()
        await asyncio.wait([task])
        if not (lived and task.cancelled()):
            await task


async def killed(desk: Desk, files: Files, seconds: float) -> None:
    """A sealer worked for a while, and was ended without a chance to leave anything in order."""
    one = sealer_of(desk, files)
    one._leave = lambda: None  # a killed process does nothing more
    task = asyncio.create_task(one.work())
    await pause(seconds)
    task.cancel()
    await asyncio.wait([task])


def writer(desk: Desk, *, permit_seconds: float = LAG_SECONDS) -> MemoryBus:
    return MemoryBus(
        desk.server, worker("gate"), timeout_seconds=PATIENCE_SECONDS, permit_seconds=permit_seconds
    )


def fill(desk: Desk, count: int) -> None:
    """So many further messages are in the ledger."""
    for _ in range(count):
        number = desk.server.ledger.last + 1
        desk.server.put(
            [Outgoing(OVERDUE.format(f"v{number % 7}"), f"id-{number}", b'{"n":%d}' % number)], batch=False
        )


def checkpoint(files: MemoryFiles) -> Checkpoint:
    return opened(files.held["checkpoint"], SIGNER.verifier)


def root_of(messages: list[Stored]) -> bytes:
    """The root over these messages, from nothing but them."""
    frontier = Frontier()
    for one in messages:
        frontier.add(leaf_hash(entry(one)))
    return frontier.root()


def said(desk: Desk) -> list[Recorded]:
    """What the ledger itself says was sealed."""
    return [read(one.seq, one.stored_ns, one.payload) for one in desk.stored() if one.subject == OWN]


@asynccontextmanager
async def halted(desk: Desk, files: Files, error: type[Exception], match: str = "") -> AsyncGenerator[Sealer]:
    """A sealer at work, which the block gives reason to halt: a moment after it, the sealer has, with this error."""
    one = sealer_of(desk, files)
    task = asyncio.create_task(one.work())
    await pause(0.1)
    yield one
    await asyncio.wait([task], timeout=HALT_SECONDS)
    assert task.done(), "the sealer goes on"
    with pytest.raises(ExceptionGroup) as ended:
        await task
    assert ended.group_contains(error, match=match), ended.value.exceptions


def archive_over(messages: list[Stored]) -> MemoryFiles:
    """An archive of these messages, the ledger's first, as its sealer would have left it when killed then."""
    files = MemoryFiles()
    writer = TileWriter(files)
    for one in messages:
        writer.add(entry(one))
    writer.commit(sealed(writer))
    return files


async def past(count: int = 300) -> tuple[Desk, MemoryFiles]:
    """A ledger with a sealed past, and no sealer at work."""
    desk, files = Desk(), MemoryFiles()
    fill(desk, count)
    await killed(desk, files, 3)
    return desk, files


async def halts(
    desk: Desk, files: MemoryFiles, error: type[SealerError | BusError], match: str, key: Signer = SIGNER
) -> None:
    """A sealer that starts now stops with this error, and permits nothing."""
    gate = writer(desk)
    with pytest.raises(error, match=match):
        await sealer_of(desk, files, key).work()
    with pytest.raises(UnpermittedError):
        await gate.append(Outgoing(OVERDUE.format("v"), "after a halt", b"{}"))


def disturb(desk: Desk, count: int, id: str = "") -> None:
    """So many messages that say nothing stand where the sealer says what it sealed, behind its own."""
    for number in range(count):
        desk.server.put([Outgoing(OWN, id and f"{id}-{number}", b"{}")], batch=False)


def flipped(files: MemoryFiles, path: str, at: int = 0) -> None:
    data = bytearray(files.held[path])
    data[at] ^= 1
    files.held[path] = bytes(data)
