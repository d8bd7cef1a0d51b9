"""Freezes in force, folded from the ledger. When one is over is for the reader's clock to say."""

import datetime as dt
from dataclasses import dataclass, replace
from typing import Final

from events.envelope import Recorded
from events.fact import Fact
from events.freeze import ScalingFrozen, ScalingThawed


@dataclass(frozen=True, slots=True)
class Freeze:
    """One pool, or with `pool` None every pool of the org, stands still until an instant."""

    org: str
    pool: str | None
    actor: str
    reason: str
    frozen_at: dt.datetime
    until: dt.datetime
    thawed: bool = False
    """It was ended before its time: that holds whatever time it is by whose clock."""


class Freezes:
    """The newest freeze of each pool and of each org as a whole."""

    TAKES: Final[frozenset[type[Fact]]] = frozenset({ScalingFrozen, ScalingThawed})

    def __init__(self) -> None:
        self.freezes: dict[tuple[str, str | None], Freeze] = {}

    def over(self, org: str, pool: str, now: dt.datetime) -> Freeze | None:
        """The freeze that holds the pool at this time, the one that lasts longest; None when nothing does."""
        found = [self.freezes.get((org, pool)), self.freezes.get((org, None))]
        holding = [freeze for freeze in found if freeze is not None and _holds(freeze, now)]
        return max(holding, key=lambda freeze: freeze.until, default=None)

    def of(self, org: str, pool: str | None, now: dt.datetime) -> Freeze | None:
        """The freeze of exactly this pool, or of exactly the whole org, if it has not ended."""
        freeze = self.freezes.get((org, pool))
        return freeze if freeze is not None and _holds(freeze, now) else None

    def apply(self, recorded: Recorded) -> None:
        """The freezes now include the event."""
        match recorded.fact:
            case ScalingFrozen() as fact:
                self.freezes[fact.org, fact.pool] = Freeze(
                    fact.org, fact.pool, fact.actor, fact.reason, fact.frozen_at, fact.until
                )
            case ScalingThawed(org=org, pool=pool, thawed_at=thawed_at):
                freeze = self.freezes.get((org, pool))
                if freeze is not None:
                    self.freezes[org, pool] = replace(freeze, until=min(freeze.until, thawed_at), thawed=True)
            case _:
                pass


def _holds(freeze: Freeze, now: dt.datetime) -> bool:
    return not freeze.thawed and now < freeze.until
