"""Domains of one host that are to go: ours that are deleted, and others' whose disk became ours; those of nobody's are said."""

from collections.abc import Callable, Sequence

from events.bus.ledger import Ledger
from events.clock import Clock
from projections.adoptions.fold import Adoptions
from projections.deletions.fold import Deletions
from projections.directory.fold import Directory
from projections.fleet.fold import Fleet
from services.waker.adopting import Adopting
from services.waker.erasing import Erasing
from services.waker.outcomes import Outcomes
from services.waker.port import Domain, Hypervisor, Unknown
from services.waker.state import Key
from services.waker.strangers import Strangers


class Farewells:
    """Which domains are to go now, and how each of them goes."""

    def __init__(
        self, ledger: Ledger, hypervisor: Hypervisor, outcomes: Outcomes, clock: Clock, host: str
    ) -> None:
        fleet, deletions, adoptions = ledger.fold(Fleet), ledger.fold(Deletions), ledger.fold(Adoptions)
        self._erasing = Erasing(hypervisor, outcomes, fleet, deletions, clock, host)
        self._adopting = Adopting(hypervisor, outcomes, adoptions, clock, host)
        self._strangers = Strangers(fleet, ledger.fold(Directory), host)

    def keys(self) -> list[tuple[str, str]]:
        """VMs of which a domain is to go now."""
        return [*self._erasing.keys(), *self._adopting.keys()]

    def is_due(self, key: Key) -> bool:
        """Whether a domain of this VM is to go now."""
        return self._erasing.order(key) is not None or self._adopting.order(key) is not None

    async def forget(self, listed: Sequence[Domain | Unknown], busy: Callable[[Key], bool]) -> None:
        """No domain at rest is left here of a VM that is erased, and of those that are nobody's it is said; errors of the hypervisor come through."""
        self._strangers.tell(listed)
        await self._erasing.forget(listed, busy)

    async def take(self, key: Key) -> None:
        """It is gone, and the ledger knows; an error is tried again by whoever called."""
        if (erase := self._erasing.order(key)) is not None:
            await self._erasing.erase(key, erase)
        elif (adopt := self._adopting.order(key)) is not None:
            await self._adopting.adopt(key, adopt)
