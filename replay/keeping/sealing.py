"""What the bus still holds sealed into the archive: all of it before a roll, what is left of it after a disaster."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from events.bus.mark import Mark, mark_of
from events.bus.port import Bus, BusError, Stored
from events.envelope import read
from events.registry import UnknownEventError
from events.tlog.compare import compare
from events.tlog.files import Files
from events.tlog.leaf import EntryError, entry, leaf_hash
from events.tlog.note import Signer
from events.tlog.tiles import TileError
from events.tlog.tree import Frontier
from replay.audit.verify import verify
from replay.keeping.intent import KeepingError
from services.sealer import decide, key
from services.sealer.archive import SealedArchive, is_empty
from services.sealer.compare import scrub
from services.sealer.halt import LedgerAlteredError
from services.sealer.reading import between
from services.sealer.telling import last_said

Told = Callable[[int, int], None]
"""Hears how many events are done, and how many there are."""

_GROUP: Final = 256
_AT_ONCE: Final = 16_384
"""Events that one checkpoint covers here, some megabytes: each takes a few dozen milliseconds of fsync."""


def signer_of(key_file: Path, origin: str, files: Files) -> Signer:
    """The house's key of the log; made now where nothing was ever sealed: that the bus says so too is `require_first_key`."""
    return key.opened(key_file, origin, first=is_empty(files))


def wants_key(key_file: Path, files: Files) -> bool:
    """Whether `signer_of` would make a key."""
    return is_empty(files) and not key_file.exists()


async def require_first_key(bus: Bus, files: Files, key_file: Path, *, anew: bool = False) -> None:
    """Of a log that `wants_key` a first one may be made: the ledger was never sealed.

    Or it was, both are lost, and `anew` says that it shall go on under another key: then the bus holds every event of the
    last checkpoint that it speaks of, and they make its root. Raises `KeepingError` otherwise, before there is a key.
    """
    store = await bus.store()
    if store.first_seq > 1:
        raise KeepingError(
            "NothingToRecover",
            f"The archive {files} is empty, its key is missing, and the bus begins with event {store.first_seq}. Nothing was "
            "done. Put the archive and the key back, or a backup with `virtscale ledger restore`.",
        )
    said = (await last_said(bus, store.first_seq)).fact
    if said is None:
        return
    if not anew:
        raise KeepingError(
            "KeyLost",
            f"{said.size} events were sealed, and both the archive {files} and the key {key_file} are gone. Nothing was done. "
            "Put the key back from a backup, and run `virtscale ledger recover`. If it is lost for good, `virtscale ledger "
            "recover --new-key` begins a log of the same events under another key: proofs that were handed out hold under the old "
            "public key alone, and witnesses have to be told.",
        )
    tree = Frontier()
    async for group in between(bus, 1, said.size):
        for stored in group:
            tree.add(leaf_hash(entry(stored)))
    if tree.root().hex() != said.root:
        raise KeepingError(
            "LedgerAltered",
            f"Events 1 to {said.size} are not what was sealed: the ledger's own checkpoint gives them the root {said.root}, and "
            f"they come to {tree.root().hex()}. Nothing was done. Put a backup back with `virtscale ledger restore`.",
        )


async def seal_to_the_end(bus: Bus, files: Files, signer: Signer, told: Told | None = None) -> SealedArchive:
    """The archive holds all that the bus does, and each event there is the one here; else the error that says which not.

    Errors are the sealer's own, who does the same while the house is up.
    """
    archive = SealedArchive(files, signer)
    store = await bus.store()
    said = await last_said(bus, store.first_seq)
    told_seq = said.sealed.seq if said.sealed is not None else None
    decide.check_start(archive.last.size, store.first_seq, store.last_seq, told_seq, str(files))
    # What was sealed before anything new is: a store that went on from an older copy must not be signed for.
    await scrub(bus, archive.reader(), store.first_seq, background=False)
    if said.fact is not None:
        archive.expect(said.fact.checkpoint)
    fresh = archive.last.size + 1
    waiting: list[Stored] = []
    async for group in between(bus, fresh, store.last_seq):
        waiting += group
        if len(waiting) >= _AT_ONCE or group[-1].seq == store.last_seq:
            archive.seal(waiting)
            waiting = []
        if told is not None:
            told(group[-1].seq, store.last_seq)
    reader = archive.reader()
    async for group in between(bus, fresh, store.last_seq):
        difference = compare(group, reader)
        if difference is not None:
            raise LedgerAlteredError(
                f"{difference.sentence} It was sealed a moment ago. Nothing more was done."
            )
    return archive


def require_sound(files: Files, signer: Signer, told: Told | None = None) -> None:
    """Every entry of the archive leads up to the signed root; `KeepingError` with the verdict when one does not."""
    verified = verify(files, signer.verifier, told=told)
    wrong = next((verdict for verdict in verified.verdicts if not verdict.ok), None)
    if wrong is not None:
        raise KeepingError(
            "ArchiveUnsound",
            f"The archive {files} is not as it was sealed: {wrong.says} Nothing was done. Put it back from a backup.",
        )


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What a broken bus still gave: `taken` events were sealed, and `seen` is the last sequence that it named."""

    taken: int
    seen: int
    why: str
    """Why no more was taken; empty when that was all."""


async def salvage(
    bus: Bus,
    archive: SealedArchive,
    marks: Iterable[Mark] = (),
    told: Told | None = None,
    *,
    another_key: bool = False,
) -> Salvaged:
    """Whatever the bus holds beyond the archive, in order and without a hole, is sealed, if what it holds before is intact.

    A store that went on from an older copy differs from the archive before its end, or from what the `marks` say that
    somebody acted on: nothing of it is taken. Each event must be one that a worker could read, or every worker would stop
    at it. With `another_key` what the ledger says was sealed was signed by a former one, and was compared before
    (`require_first_key`).
    """
    store = await bus.store()
    size, last = archive.last.size, store.last_seq
    if store.first_seq > size + 1:
        return Salvaged(
            0, last, f"the bus's stream begins with event {store.first_seq}, behind the archive's end"
        )
    if last <= size:
        return Salvaged(0, last, "" if last == size else f"the bus's ledger ends with event {last}")
    for mark in marks:
        if size < mark.seq <= last:
            group, why = await _readable(bus, mark.seq, mark.seq)
            if not group or mark_of(group[0]) != mark:
                return Salvaged(
                    0, last, why or f"somebody acted on another event {mark.seq} than the bus holds"
                )
    reader = archive.reader()
    said = (await last_said(bus, store.first_seq)).fact
    if said is not None and not another_key:
        archive.expect(said.checkpoint)
    taken, at = 0, store.first_seq
    waiting: list[Stored] = []
    while at <= last:
        group, why = await _readable(bus, at, min(at + _GROUP - 1, last))
        if at <= size:
            try:
                difference = compare([one for one in group if one.seq <= size], reader)
            except TileError as error:
                raise KeepingError(
                    "ArchiveUnsound", f"{error} Put the archive back from a backup."
                ) from error
            if difference is not None:
                return Salvaged(0, last, difference.sentence)
            if why and (not group or group[-1].seq < size):
                return Salvaged(0, last, why)
        waiting += [one for one in group if one.seq > size]
        if waiting and (len(waiting) >= _AT_ONCE or why or group[-1].seq == last):
            try:
                archive.seal(waiting)
            except LedgerAlteredError as error:
                return Salvaged(taken, last, str(error))
            taken, waiting = taken + len(waiting), []
        if told is not None and group:
            told(group[-1].seq, last)
        if why:
            return Salvaged(taken, last, why)
        at = group[-1].seq + 1
    return Salvaged(taken, last, "")


async def _readable(bus: Bus, first: int, last: int) -> tuple[list[Stored], str]:
    """The messages from `first` on up to the first that cannot be had or understood, and why that one cannot."""
    try:
        group = await bus.read(first, last)
    except BusError:
        group = []
    found: list[Stored] = []
    for seq in range(first, last + 1):
        try:
            [stored] = [group[seq - first]] if group else await bus.read(seq, seq)
            if stored.id:
                read(stored.seq, stored.stored_ns, stored.payload, stored.subject)
        except (BusError, EntryError, UnknownEventError) as error:
            return found, str(error)
        except (IndexError, ValueError):
            return found, f"the bus does not give event {seq}"
        found.append(stored)
    return found, ""
