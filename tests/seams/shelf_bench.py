"""A bench for the volumes of the simulation, which are asked what the real drivers are asked."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from events.clock import SystemClock
from lab.hypervisor import Hypervisor
from schemas.volume import Source
from services.storage.volumes import Volume
from tests.seams.stores import BYTES, MIB, TEMPLATE, TEMPLATE_MIB, Bench
from tests.simulation.shelf import Contents, Shelf
from tests.simulation.shelves import ShelfLink

KIND = "shelf"


@dataclass
class ShelfBench(Bench):
    """It looks into the shelf itself."""

    shelf: Shelf = field(kw_only=True)
    holders: dict[str, str] = field(default_factory=dict[str, str], kw_only=True)
    """By the file that each has open."""

    def write(self, volume: Volume, letter: str, at: int = 0) -> None:
        """The letter is there."""
        assert at % BYTES == 0, at
        self.shelf.write(volume, at, letter)

    def reads(self, volume: Volume, letter: str, at: int = 0) -> bool:
        """Whether it is."""
        return self.shelf.volumes[volume].now.at(at) == letter

    @contextmanager
    def asleep(self, source: Source, name: str = "sleeper") -> Generator[Any]:
        """A domain of that name has the volume open."""
        file = cast("Any", source).path
        self.holders[file] = name
        try:
            yield _Sleeper(self.shelf, file)
        finally:
            del self.holders[file]


@dataclass(frozen=True)
class _Sleeper:
    """A domain that has one volume open."""

    shelf: Shelf
    file: str

    def blockInfo(self, target: str) -> tuple[int]:  # noqa: N802 - libvirt's word
        """The size that its guest sees."""
        assert target == "vda"
        found = next(one for one in self.shelf.volumes if self.shelf.place(one) == self.file)
        return (self.shelf.volumes[found].now.size_bytes,)


def shelf_bench(bench: Bench) -> ShelfBench:
    """A bench of its own, beside the real one whose directory it may use for copies."""
    holders: dict[str, str] = {}
    shelf = Shelf(
        "h1",
        SystemClock(),
        {TEMPLATE: Contents(TEMPLATE_MIB * MIB, {0: "T"})},
        open_by=lambda volume: holders.get(shelf.place(volume)),
    )
    machine: Hypervisor = bench.machine
    return ShelfBench(
        KIND,
        ShelfLink(shelf),
        lambda: ShelfLink(shelf),
        machine,
        bench.directory,
        bench.conf,
        bench.numbers,
        shelf=shelf,
        holders=holders,
    )
