"""The disks of every host of the house, also of hosts that are added while we run."""

from pathlib import Path

from events.clock import Clock
from schemas.house import HostPlace, House, HouseError, load
from schemas.pool import Storage
from schemas.template import has_disk, has_seed
from services.storage.directory import Directory
from services.storage.port import Volumes
from services.storage.qcow2 import Qcow2
from services.storage.volumes import Store


class Places:
    """One driver for each host that has a directory for disks."""

    def __init__(self, house: House, clock: Clock) -> None:
        self._house = house
        self._clock = clock
        self._known: dict[HostPlace, Qcow2] = {}
        self._stores: dict[HostPlace, Directory] = {}

    def has_disk(self, template: str) -> bool:
        """Whether VMs of the template have a disk."""
        return has_disk(Path(self._house.templates) / template)

    def has_seed(self, template: str) -> bool:
        """Whether VMs of the template have a seed disk."""
        return has_seed(Path(self._house.templates) / template)

    def store(self, host: str, storage: Storage) -> Store | None:
        """A directory of that host; no house knows of a Ceph cluster yet."""
        if storage != "local" or self.at(host) is None:
            return None
        place = self._place(host)
        assert place is not None, host
        if place not in self._stores:
            self._stores[place] = Directory(place, Path(self._house.templates), self._clock)
        return self._stores[place]

    def at(self, host: str) -> Volumes | None:
        """The disks of a host; one that is new to us is looked up in the house's description as it is by now."""
        place = self._place(host)
        if place is None:
            try:
                self._house = load(Path(self._house.directory))
            except HouseError:
                return None
            place = self._place(host)
        if place is None or not place.volumes:
            return None
        if place not in self._known:
            self._known[place] = Qcow2(place, Path(self._house.templates))
        return self._known[place]

    def _place(self, host: str) -> HostPlace | None:
        return next((place for place in self._house.hosts if place.name == host), None)
