"""How far a process has acted on the ledger, kept off the bus's disk: a bus that went back in time is noticed.

The sealer notices what it had sealed. What came in the last second before a power cut may be sealed by nobody yet, and
a process may have acted on it all the same: it halts when the ledger is another one than that.
"""

import asyncio
from pathlib import Path
from typing import Final

import msgspec

from events import durable
from events.bus.ledger import Ledger
from events.bus.port import Bus, LedgerDiffersError, Stored, UnansweredError
from events.tlog.leaf import entry, leaf_hash

EVERY_SECONDS: Final = 1.0
"""What was acted on in the last second may be without a mark; each mark is an fsync."""

_AGAIN_SECONDS: Final = 0.2


class Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A process acted on the ledger up to `seq`, whose leaf hash (hexadecimal) was `leaf`."""

    seq: int
    leaf: str


def path_of(directory: str | Path, name: str) -> Path:
    """Where the process `name` of a house keeps its mark."""
    return Path(directory) / f"{name}.json"


def mark_of(stored: Stored) -> Mark:
    """The mark of whoever acted up to this message."""
    return Mark(stored.seq, leaf_hash(entry(stored)).hex())


def read(path: Path) -> Mark | None:
    """The mark in the file, None where there is none; `LedgerDiffers` for a file that is no mark."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Mark)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise LedgerDiffersError(
            f"{path} should say how far this process had read the ledger, and cannot be read: {error}. Compare the "
            "ledger with `virtscale ledger verify`, then remove the file."
        ) from error


def write(path: Path, mark: Mark) -> None:
    """The mark is on the disk, whole, in place of the one before."""
    durable.write(path, msgspec.json.encode(mark))


async def compare(bus: Bus, path: Path) -> None:
    """The ledger still holds what this process acted on last; `LedgerDiffers` when it ends before, or is another one.

    To be asked before anything is done. Waits for a bus that does not answer.
    """
    mark = read(path)
    if mark is None:
        return
    found = await _held(bus, mark.seq)
    if found is None:
        raise LedgerDiffersError(
            f"The ledger ends at sequence {await _last(bus)}, and this process had acted on {mark.seq}: the bus came "
            "back with an older copy of its store. Nothing was done. Put the newer store back, or run "
            "`virtscale ledger recover`."
        )
    if mark_of(found) != mark:
        raise LedgerDiffersError(
            f"Sequence {mark.seq} of the ledger is not what this process had acted on: the bus came back with an "
            "older copy of its store and went on from there. Nothing was done. Run `virtscale ledger verify`, then "
            "`virtscale ledger recover`."
        )


async def keep(ledger: Ledger, path: Path) -> None:
    """The mark follows the ledger for ever, a second behind at most, and not at all once this is cancelled.

    A reader that halts since the ledger differs cancels it: the process that is started in its place must halt as well.
    """
    await ledger.live.wait()
    bell, noted = ledger.bell(), 0
    writing: asyncio.Task[None] | None = None
    try:
        while True:
            await bell.wait()
            newest = ledger.newest
            if newest is not None and newest.seq != noted:
                noted = newest.seq
                writing = asyncio.create_task(asyncio.to_thread(write, path, mark_of(newest)))
                await asyncio.shield(writing)
            await asyncio.sleep(EVERY_SECONDS)
    finally:
        if writing is not None:
            await asyncio.wait({writing})  # a thread is not cancelled, and must not write over what follows
        newest = ledger.newest
        if newest is not None and newest.seq != noted:
            write(path, mark_of(newest))


async def _held(bus: Bus, seq: int) -> Stored | None:
    while True:
        try:
            return next(iter(await bus.read(seq, seq)), None)
        except UnansweredError:
            await asyncio.sleep(_AGAIN_SECONDS)


async def _last(bus: Bus) -> int:
    while True:
        try:
            return await bus.last()
        except UnansweredError:
            await asyncio.sleep(_AGAIN_SECONDS)
