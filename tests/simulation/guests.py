"""What guests of kept VMs have written: a number that only rises, which every later boot of theirs must find on the disk.

It is written as a guest starts, as it ends however it ends, and whenever somebody has it work.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from services.storage.volumes import Volume
from services.waker.port import DomainState, owner
from tests.simulation.shelf import Shelf

PLACE: Final = 1 << 20
"""Where on the disk the number lies."""


@dataclass(slots=True)
class Guests:
    """The guests of one host's kept VMs, and what each has written last."""

    shelf: Shelf
    breaks: Callable[[str], None]
    may_lose: Callable[[str, Volume], bool]
    """Whether the ledger has ordered that the volume is made anew from a copy (`restore`), or is gone (`gone`)."""
    written: dict[Volume, str] = field(default_factory=dict[Volume, str])
    _state: dict[Volume, DomainState] = field(default_factory=dict[Volume, DomainState])

    def __post_init__(self) -> None:
        made, gone, restored = self.shelf.made, self.shelf.gone, self.shelf.restored

        def appears(volume: Volume) -> None:
            made(volume)
            self.written[volume] = self.shelf.volumes[volume].now.at(PLACE)

        def vanishes(volume: Volume) -> None:
            gone(volume)
            self.written.pop(volume, None)
            if not self.may_lose("gone", volume):
                self.breaks(f"The disk of {volume} is gone, and nobody ordered that.")

        def returns(volume: Volume) -> None:
            restored(volume)
            self.written[volume] = self.shelf.volumes[volume].now.at(PLACE)
            if not self.may_lose("restore", volume):
                self.breaks(f"The disk of {volume} became what it was once, and nobody ordered that.")

        self.shelf.made, self.shelf.gone, self.shelf.restored = appears, vanishes, returns

    def changed(self, name: str, state: DomainState) -> None:
        """The domain is in this state now: a guest that boots reads its disk, and writes to it; so does one that ends."""
        key = owner(name)
        volume = Volume(*key) if key is not None else None
        if volume is None or volume not in self.shelf.volumes:
            return
        before, self._state[volume] = self._state.get(volume, "off"), state
        if state == "running" and before in {"off", "missing"}:
            self.must_be_whole(volume)
        if state in {"running", "off"}:
            self.work(volume)

    def work(self, volume: Volume) -> None:
        """The guest wrote the next number."""
        there = self.shelf.volumes[volume].now.at(PLACE)
        number = str(int(there) + 1 if there.isdecimal() else 1)
        self.shelf.write(volume, PLACE, number)
        self.written[volume] = number

    def must_be_whole(self, volume: Volume) -> None:
        """What the guest wrote last is on the disk."""
        there = self.shelf.volumes[volume].now.at(PLACE)
        if there != self.written.get(volume, there):
            self.breaks(f"The guest of {volume} wrote {self.written[volume]!r} last, and finds {there!r}.")
