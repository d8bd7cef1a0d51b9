"""What storage does for a VM besides its boots, growths and sleeps; each kind of work in a module of its own."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol

from events.bus.ledger import Ledger
from events.bus.port import Bus
from events.clock import Clock
from projections.adoptions.fold import Adoptions
from projections.copies.fold import Copies
from projections.deletions.fold import Deletions
from projections.fleet.fold import Fleet
from projections.usage.fold import Usage
from projections.volumes.fold import Volumes
from services.storage.chores.adopting import Adopting
from services.storage.chores.drift import Comparing
from services.storage.chores.erasing import Erasing
from services.storage.copies.backups import Backups
from services.storage.copies.copying import Copying
from services.storage.copies.freezing import Still
from services.storage.copies.nightly import Nightly
from services.storage.copies.outcomes import CopyOutcomes
from services.storage.copies.unpinning import Unpinning
from services.storage.lane import Calls, Lane
from services.storage.outcomes import Outcomes
from services.storage.port import Hosts
from services.storage.state import Key
from services.storage.stores import Stores


class Chore(Protocol):
    """One kind of work. The worker has one task for a VM at a time, whatever it does for it."""

    def open(self) -> Iterable[Key]:
        """VMs that may want it; a VM may be named twice."""
        ...

    def has_work(self, key: Key) -> bool:
        """Whether something can be done for the VM now; it rings when that comes to be so without an event."""
        ...

    async def attend(self, key: Key) -> None:
        """One step is done for the VM. It raises nothing that a host's refusal could raise, and waits for no repetition."""
        ...

    async def work(self) -> None:
        """What is done beside the VMs' tasks, for ever."""
        ...


def chores(  # noqa: PLR0917 - what a worker is made from
    ledger: Ledger,
    bus: Bus,
    clock: Clock,
    stores: Stores,
    hosts: Hosts,
    ring: Callable[[], None],
    backups: str,
    calls: Calls | None,
    still: Still,
) -> tuple[Chore, ...]:
    """All kinds, in the order in which a VM gets them. `backups` is a directory, or empty; a thread of its own touches its files, unless
    `calls` do.
    """
    copies = ledger.fold(Copies)

    def known() -> Iterator[Path]:
        # Nobody looks at them where the directory has its mark: then they are not even gone through.
        for one in copies.all():
            if one.kind == "backup" and one.state != "ordered":
                yield Path(one.place)

    files = Backups(backups, calls or Lane("storage-backups").call, known)
    copying = Copying(
        stores,
        CopyOutcomes(ledger, bus, clock),
        (copies, ledger.fold(Fleet)),
        ring,
        Unpinning(Outcomes(ledger, bus, clock), (ledger.fold(Fleet), ledger.fold(Volumes))),
        files,
        still,
    )
    erasing = Erasing(
        hosts,
        Outcomes(ledger, bus, clock),
        clock,
        (ledger.fold(Deletions), copies, ledger.fold(Fleet), ledger.fold(Volumes)),
        ring,
        files,
    )
    adopting = Adopting(
        hosts,
        stores,
        Outcomes(ledger, bus, clock),
        clock,
        (ledger.fold(Adoptions), ledger.fold(Usage)),
        ring,
    )
    return (adopting, copying, erasing, Nightly(ledger, bus, clock), Comparing(ledger, bus, clock, hosts))
