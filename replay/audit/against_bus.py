"""Whether the bus still holds what was sealed, message by message, and whether it reaches as far."""

from dataclasses import dataclass
from functools import partial
from typing import Final

from events.bus.port import Bus, BusError, DeniedError, Store, Stored, UnansweredError
from events.tlog.compare import Difference, compare
from events.tlog.reader import Archive
from events.tlog.tiles import TileError
from replay.audit.hashed import Told
from replay.audit.verify import SOUND, Verdict, verdict

_TRIES: Final = 3
"""How often a sequence is asked for that the bus says it holds and does not give."""


@dataclass(frozen=True, slots=True)
class _Read:
    """How far the bus could be read, and what stopped it."""

    to: int
    difference: Difference | None = None
    code: str = SOUND


async def against_bus(bus: Bus, archive: Archive, told: Told | None = None) -> tuple[Verdict, Verdict]:
    """Integrity and completeness of what the bus holds, by the archive, which should have been verified before.

    A bus whose ledger was rolled begins where its stream does; what lies before is in the archive alone. What was stored after
    the checkpoint is read for holes only: nobody sealed it yet. Raises `UnansweredError` when nobody answers.
    """
    size = archive.size
    store = await bus.store()
    read = await _read(bus, archive, store, told)
    return _integrity(store, size, read), _completeness(store, size, read)


async def _read(bus: Bus, archive: Archive, store: Store, told: Told | None) -> _Read:
    """Reads to the bus's end, or to the first message that is missing or not what was sealed."""
    seq, tries = store.first_seq - 1, 0
    while seq < store.last_seq:
        try:
            group = await bus.read_ahead(seq + 1, store.last_seq)
        except UnansweredError:
            tries += 1
            group = await _once_more(bus, seq + 1)
            if not group and tries >= _TRIES:
                says = f"The bus says that it holds sequences up to {store.last_seq:,}, and gives no {seq + 1:,}."
                return _Read(seq, Difference(seq + 1, says), "BusHole")
        except DeniedError:
            raise
        except BusError as error:
            return _Read(seq, Difference(seq + 1, str(error)), "BusHole")
        try:
            difference = compare(group, archive)
        except TileError as error:
            says = f"Sequence {seq + 1:,} and those behind it cannot be compared: {error}"
            return _Read(seq, Difference(seq + 1, says), "ArchiveUnreadable")
        if difference is not None:
            return _Read(difference.seq - 1, difference, "BusAltered")
        if group:
            seq, tries = group[-1].seq, 0
            if told is not None:
                told(seq - store.first_seq + 1, store.last_seq - store.first_seq + 1)
    return _Read(seq)


async def _once_more(bus: Bus, seq: int) -> list[Stored]:
    """The message, or nothing where the bus answers that it has none; `UnansweredError` when it does not answer."""
    try:
        return await bus.read(seq, seq)
    except UnansweredError:
        raise
    except BusError:
        return []


def _integrity(store: Store, size: int, read: _Read) -> Verdict:
    answer = partial(verdict, "integrity", "bus", trusted_to=min(read.to, size))
    compared = max(0, min(read.to, size) - store.first_seq + 1)
    if read.difference is not None:
        return answer(read.code, read.difference.sentence, read.difference.seq)
    before = f" What lies before {store.first_seq:,} is in the archive alone." if store.first_seq > 1 else ""
    says = f"All {compared:,} messages that the bus holds of those that were sealed are as they were sealed.{before}"
    return answer(SOUND, says)


def _completeness(store: Store, size: int, read: _Read) -> Verdict:
    first, last = store.first_seq, store.last_seq
    answer = partial(verdict, "completeness", "bus", trusted_to=min(read.to, size))
    if first > size + 1:
        says = f"The bus begins with sequence {first:,} and the archive ends with {size:,}: what lay between is nowhere."
        return answer("BeginsLate", says, size + 1)
    if last < size:
        says = (
            f"The bus ends with sequence {last:,} and {size:,} were sealed: its store is an older copy, or a part of it is lost. "
            "Nothing may be written to it; `virtscale ledger recover` goes on from the archive."
        )
        return answer("EndsEarly", says, last + 1)
    if read.code == "BusHole":
        says = f"The bus ends with sequence {last:,} and gives all before {read.to + 1:,}."
        return answer("BusHole", says, read.to + 1)
    behind = last - size
    unsealed = f" {behind:,} behind it {'is' if behind == 1 else 'are'} not sealed yet." if behind else ""
    return answer(SOUND, f"The bus reaches the checkpoint's {size:,} sequences.{unsealed}")
