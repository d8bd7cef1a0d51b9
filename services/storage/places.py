"""The disks of every host of the house, also of hosts that are added while we run."""

from pathlib import Path

from schemas.house import HostPlace, House, HouseError, load
from schemas.template import has_disk
from services.storage.port import Volumes
from services.storage.qcow2 import Qcow2


class Places:
    """One driver for each host that has a directory for disks."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._known: dict[HostPlace, Qcow2] = {}

    def has_disk(self, template: str) -> bool:
        """Whether VMs of the template have a disk."""
        return has_disk(Path(self._house.templates) / template)

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
