"""The disks of every host of the house, also of hosts that are added while we run."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from events.clock import Clock
from schemas.house import HostPlace, House, HouseError, load
from schemas.pool import Storage
from schemas.template import BASE, has_disk, has_seed
from services.storage.ceph.cluster import Cluster
from services.storage.ceph.rbd import Rbd
from services.storage.ceph.survey import Images, Surveying
from services.storage.ceph.tenants import Tenants
from services.storage.claims import directories
from services.storage.errors import StorageError
from services.storage.files.directory import Directory
from services.storage.files.qcow2 import Qcow2, size_of
from services.storage.port import Volumes
from services.storage.volumes import Store

_NO_CLUSTER: Final = "The house knows no Ceph cluster: name one as `ceph` in its description."


class Places:
    """The drivers of each host: of its directory, where it has one, and of the house's cluster."""

    def __init__(self, house: House, clock: Clock) -> None:
        self._house = house
        self._clock = clock
        self._known: dict[HostPlace, Qcow2] = {}
        self._stores: dict[tuple[HostPlace, Storage], Store] = {}
        ceph = house.ceph
        self._cluster = Cluster(Path(ceph.conf), ceph.user) if ceph is not None else None
        self._tenants = Tenants(self._cluster) if self._cluster is not None else None
        self._surveying = Surveying(self._cluster) if self._cluster is not None else None

    def has_disk(self, template: str) -> bool:
        """Whether VMs of the template have a disk."""
        return has_disk(Path(self._house.templates) / template)

    def has_seed(self, template: str) -> bool:
        """Whether VMs of the template have a seed disk."""
        return has_seed(Path(self._house.templates) / template)

    def template_bytes(self, template: str) -> int:
        """What the template's disk has."""
        return size_of(Path(self._house.templates) / template / BASE)

    async def enrol(self, org: str, quota_bytes: int) -> None:
        """The org has its pool and its user in the house's cluster."""
        if self._tenants is None:
            raise StorageError(_NO_CLUSTER, final=True)
        await self._tenants.enrol(org, quota_bytes)

    @property
    def has_cluster(self) -> bool:
        """Whether the house names one."""
        return self._surveying is not None

    async def images(self, org: str, wanted: Iterable[str]) -> Images:
        """All images of the org in the house's cluster."""
        if self._surveying is None:
            raise StorageError(_NO_CLUSTER, final=True)
        return await self._surveying.images(org, wanted)

    def store(self, host: str, storage: Storage) -> Store | None:
        """A directory of that host, or the house's cluster as that host's domains reach it."""
        place, templates = self.place(host), Path(self._house.templates)
        if place is None:
            return None
        known = self._stores.get((place, storage))
        if known is None and storage == "local" and place.volumes:
            known = Directory(place, templates, self._clock, self._ours)
        if known is None and storage == "ceph" and self._cluster is not None:
            known = Rbd(place, templates, self._cluster, self._ours)
        if known is not None:
            self._stores[place, storage] = known
        return known

    async def close(self) -> None:
        """No child of a driver is left."""
        for store in self._stores.values():
            await store.close()
        if self._tenants is not None:
            await self._tenants.close()
        if self._surveying is not None:
            await self._surveying.close()

    def at(self, host: str) -> Volumes | None:
        """The disks in a host's own directory."""
        place = self.place(host)
        if place is None or not place.volumes:
            return None
        if place not in self._known:
            self._known[place] = Qcow2(place, Path(self._house.templates))
        return self._known[place]

    def _ours(self) -> tuple[Path, ...]:
        return directories(self._house)

    def place(self, host: str) -> HostPlace | None:
        """Where the host is; one that is new to us is looked up in the house's description as it is by now."""
        for fresh in (False, True):
            if fresh:
                try:
                    self._house = load(Path(self._house.directory))
                except HouseError:
                    return None
            found = next((place for place in self._house.hosts if place.name == host), None)
            if found is not None:
                return found
        return None
