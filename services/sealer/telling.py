"""What the ledger itself says was sealed: the sealer's own event, told apart from noise on its subject."""

from dataclasses import dataclass
from typing import Final

from events.bus.port import Bus, Stored
from events.envelope import read
from events.ledger import LedgerSealed
from events.registry import UnknownEventError
from schemas.names import PLATFORM
from services.sealer.reading import last_on, read_surely

OWN: Final = f"vs.{PLATFORM}.sealer.org.{PLATFORM}.ledger.sealed"
"""Where `ledger.sealed` stands."""

_GROUP: Final = 256


@dataclass(frozen=True, slots=True)
class Said:
    """What stands last where `ledger.sealed` does: `newest_seq` of any message, noise included, and the last that is one."""

    newest_seq: int
    """0 when nothing stands there."""
    sealed: Stored | None
    fact: LedgerSealed | None


def is_own(stored: Stored) -> bool:
    """Whether it is a `ledger.sealed`; what has no id was written by no pen, wherever it stands."""
    return stored.subject == OWN and stored.id != ""


async def last_said(bus: Bus, first_seq: int) -> Said:
    """The last `ledger.sealed` of a stream that begins with `first_seq`, once the bus answers.

    Whoever may read can have the bus write an answer where it stands: noise, which must not hide that the ledger was sealed. The
    true one behind it is looked for message by message; it is written hourly, so it is not far. What cannot be read as one is
    passed over as well. Raises `BusError` for a hole on the way.
    """
    newest = await last_on(bus, OWN)
    if newest is None:
        return Said(0, None, None)
    fact, end = _fact(newest), newest.seq
    if fact is not None:
        return Said(newest.seq, newest, fact)
    while end > first_seq:
        begin = max(first_seq, end - _GROUP)
        for stored in reversed(await read_surely(bus, begin, end - 1)):
            fact = _fact(stored)
            if fact is not None:
                return Said(newest.seq, stored, fact)
        end = begin
    return Said(newest.seq, None, None)


def _fact(stored: Stored) -> LedgerSealed | None:
    if not is_own(stored):
        return None
    try:
        fact = read(stored.seq, stored.stored_ns, stored.payload, stored.subject).fact
    except UnknownEventError:
        return None
    return fact if isinstance(fact, LedgerSealed) else None
