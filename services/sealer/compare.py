"""What the bus holds against what was sealed: its end, quickly, or all of it. Both find the first event that differs."""

import asyncio
from collections.abc import Sequence
from typing import Final

from events.bus.port import Bus, Stored
from events.tlog.compare import compare
from events.tlog.leaf import leaf_hash
from events.tlog.reader import Archive
from events.tlog.tiles import LEVELS, WIDTH, TileError
from events.tlog.tree import complete
from services.sealer.halt import ArchiveAlteredError, LedgerAlteredError
from services.sealer.reading import between

END_EVENTS: Final = 256
"""So many at the end of what was sealed are compared before a permit."""

_BREATH_SECONDS: Final = 0.002
"""After each group of a scrub in the background: at most half of a core goes into it."""


async def compare_end(bus: Bus, archive: Archive, first_seq: int, unsealed: Sequence[Stored]) -> None:
    """The last events that were sealed, and those `unsealed` that were read since, are what the bus holds.

    Raises `LedgerAlteredError`, `LedgerShorterError` for a bus that ends before them, or `BusError` for one that counts them and
    does not give them.
    """
    first = max(first_seq, archive.size - END_EVENTS + 1)
    if first <= archive.size:
        _meet(await _held(bus, first, archive.size), archive)
    for start in range(0, len(unsealed), END_EVENTS):
        known = unsealed[start : start + END_EVENTS]
        for one, other in zip(known, await _held(bus, known[0].seq, known[-1].seq), strict=True):
            if one != other:
                raise _altered(
                    f"Event {one.seq} as the bus holds it now is not the one that was read before."
                )


async def scrub(bus: Bus, archive: Archive, first_seq: int, *, background: bool) -> None:
    """Every event that was sealed is what the bus holds, and the archive's tiles agree with each other to the top.

    What lies before the bus's `first_seq` lies in the archive alone, and is compared with its own entries. Raises
    `LedgerAlteredError` or `ArchiveAlteredError` with the first event that differs, and `LedgerShorterError`.
    """
    pause = _BREATH_SECONDS if background else 0.0
    old = min(first_seq - 1, archive.size)
    for index in range(-(-old // WIDTH)):
        _check_bundle(archive, index, old)
        await asyncio.sleep(pause)
    if old < archive.size:
        async for group in between(bus, old + 1, archive.size):
            _meet(group, archive)
            await asyncio.sleep(pause)
    level = 0
    while above := archive.size >> (LEVELS * (level + 1)):
        for index in range(above):
            _check_tile(archive, level, index)
            if index % WIDTH == 0:
                await asyncio.sleep(pause)
        level += 1


def _meet(group: Sequence[Stored], archive: Archive) -> None:
    try:
        difference = compare(group, archive)
    except TileError as error:
        raise _unreadable(error) from error
    if difference is not None:
        raise _altered(difference.sentence)


def _check_bundle(archive: Archive, index: int, old: int) -> None:
    """The archive's own entries are those that were sealed, as far as the bus holds them no more."""
    try:
        entries, hashes = archive.bundle(index), archive.tile(0, index)
    except TileError as error:
        raise _unreadable(error) from error
    for seq, (entry, sealed) in enumerate(zip(entries, hashes, strict=True), start=index * WIDTH + 1):
        if seq <= old and leaf_hash(entry) != sealed:
            raise ArchiveAlteredError(
                f"The archive's entry of event {seq} is not the one that was sealed. Nobody may append. Put the file back "
                "from a backup of the archive; `virtscale ledger verify` says what is still trusted."
            )


def _check_tile(archive: Archive, level: int, index: int) -> None:
    """A full tile hashes to what the tile above it says."""
    try:
        agree = complete(archive.tile(level, index)) == archive.hash(LEVELS * (level + 1), index)
    except TileError as error:
        raise _unreadable(error) from error
    if not agree:
        raise ArchiveAlteredError(
            f"The archive's tile {index} of level {level}, which begins with event {(index << (LEVELS * (level + 1))) + 1}, "
            "does not hash to what the tile above it says. Nobody may append. Put both back from a backup of the archive."
        )


async def _held(bus: Bus, first: int, last: int) -> list[Stored]:
    return [stored async for group in between(bus, first, last) for stored in group]


def _altered(what: str) -> LedgerAlteredError:
    return LedgerAlteredError(
        f"{what} The events before it were compared and are as they were. Nobody may append. `virtscale ledger verify` says "
        "which of the two is to be trusted; put the store back, or run `virtscale ledger recover`."
    )


def _unreadable(error: TileError) -> ArchiveAlteredError:
    return ArchiveAlteredError(
        f"The archive is not as it was sealed: {error} Nobody may append. Put the file back from a backup of the archive."
    )
