"""The events that a new stream begins with: that it goes on, and under which checkpoint; written in the sealer's name."""

import datetime as dt
from dataclasses import dataclass

from events.envelope import address
from events.fact import Fact
from events.ids import derive
from events.ledger import LedgerRecovered, LedgerRolled, LedgerSealed
from replay.keeping.intent import Line, line
from schemas.names import PLATFORM
from services.sealer.archive import Sealed

RECOVERED: str = f"vs.{PLATFORM}.sealer.org.{PLATFORM}.ledger.recovered"
"""Where `ledger.recovered` stands."""


@dataclass(frozen=True, slots=True)
class Word:
    """Who says that the ledger goes on, why, and when."""

    actor: str
    reason: str
    now: dt.datetime


def rolled(origin: str, last: Sealed, word: Word) -> Line:
    """All that came before is archived under this checkpoint."""
    fact = LedgerRolled(
        org=PLATFORM,
        origin=origin,
        size=last.size,
        root=last.root.hex(),
        checkpoint=last.note,
        actor=word.actor,
        reason=word.reason,
        rolled_at=word.now,
    )
    return _line(fact, "ledger.rolled", origin, last.size, word.now)


def recovered(origin: str, last: Sealed, epoch: int, lost: tuple[int, int], word: Word) -> Line:
    """What came behind this checkpoint is lost, as far as it is known: the first and last of it, or 0 and 0."""
    fact = LedgerRecovered(
        org=PLATFORM,
        epoch=epoch,
        origin=origin,
        size=last.size,
        root=last.root.hex(),
        checkpoint=last.note,
        lost_first=lost[0],
        lost_last=lost[1],
        actor=word.actor,
        reason=word.reason,
        recovered_at=word.now,
    )
    return _line(fact, "ledger.recovered", origin, last.size, word.now)


def sealed(origin: str, last: Sealed, now: dt.datetime) -> Line:
    """The checkpoint is signed by the key that the house has now, whoever signed before."""
    fact = LedgerSealed(
        org=PLATFORM,
        origin=origin,
        size=last.size,
        root=last.root.hex(),
        checkpoint=last.note,
        sealed_at=now,
    )
    return _line(fact, "ledger.sealed", origin, last.size, now)


def _line(fact: Fact, name: str, origin: str, size: int, now: dt.datetime) -> Line:
    own = derive(name, origin, size, now.isoformat())
    return line(address(fact, writer="sealer", id=own, time=now, cause=None, correlation=own))
